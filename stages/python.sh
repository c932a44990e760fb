#!/bin/sh
# Run Python with the interpreter that runs DVC: `sh stages/python.sh -m stages.fetch`.
# DVC starts a stage through a shell, and `python` on PATH is another interpreter where the environment of
# `.venv/bin/dvc` is not activated. If DVC is installed elsewhere, without the packages of the project, the
# project's .venv is taken, or else `python` on PATH.
use() { # runs the interpreter $1 with the other arguments, if it has the packages
    program=$1
    shift
    packages='import sys, importlib.util as u; sys.exit(not all(map(u.find_spec, ("hydra", "torch"))))'
    "$program" -c "$packages" 2>/dev/null && exec "$program" "$@"
}
pid=$PPID
while [ "${pid:-1}" -gt 1 ]; do
    if [ -r "/proc/$pid/cmdline" ]; then
        above=$(tr '\0' '\n' < "/proc/$pid/cmdline" | head -n 1)
        pid=$(sed -n 's/^PPid:[[:space:]]*//p' "/proc/$pid/status")
    else # not Linux
        above=$(ps -o comm= -p "$pid")
        pid=$(ps -o ppid= -p "$pid" | tr -d ' ')
    fi
    case ${above##*/} in python*) use "$above" "$@"; break ;; esac
done
use "${DVC_ROOT:-.}/.venv/bin/python" "$@"
use python "$@"
echo "error: no Python has the packages of this project; run make repro, which installs them in .venv" >&2
exit 1
