# Says in one line what is missing before anything is installed. $1: the Python to use.
fail() { echo "error: $1" >&2; exit 1; }
command -v git >/dev/null || fail "git is missing; install it (Debian: apt install git)"
"${1:-false}" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null ||
  fail "Python 3.11 or newer is missing; install it (Debian 12: apt install python3 python3-venv), or name it: make PYTHON=/path/to/python"
"$1" -c 'import ensurepip, venv' 2>/dev/null ||
  fail "$1 has no venv module; install it (Debian: apt install python3-venv)"
reason=$(git rev-parse --is-inside-work-tree 2>&1) ||
  fail "$PWD: $(echo "$reason" | head -n 1); DVC needs a git repository, so clone the project with git"
