#!/bin/sh
# Run Python with the interpreter that runs DVC: `sh stages/python.sh -m stages.fetch`.
# DVC starts a stage through a shell, and `python` on PATH is another interpreter where the environment of
# `.venv/bin/dvc` is not activated. Without a DVC above this process, `python` on PATH is taken.
pid=$PPID
while [ "${pid:-1}" -gt 1 ]; do
    if [ -r "/proc/$pid/cmdline" ]; then
        program=$(tr '\0' '\n' < "/proc/$pid/cmdline" | head -n 1)
        above=$(sed -n 's/^PPid:[[:space:]]*//p' "/proc/$pid/status")
    else # not Linux
        program=$(ps -o comm= -p "$pid")
        above=$(ps -o ppid= -p "$pid" | tr -d ' ')
    fi
    case ${program##*/} in python*) exec "$program" "$@" ;; esac
    pid=$above
done
exec python "$@"
