#!/bin/sh
# Make a virtual environment with this checkout in it: scripts/venv.sh DIRECTORY PIP-ARGUMENT...
#
# PYTHON is the interpreter to make it from.  A stamp in the environment says what it was made of;
# when nothing of that has changed, nothing is done.
set -eu

say() { printf '%s\n' "$*" >&2; }

directory=$1
shift
python=${PYTHON:-/usr/bin/python3}

if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    say "$python is missing or older than Python 3.11: use Debian 12 or 13, or name another" \
        "interpreter, as in 'make PYTHON=/usr/local/bin/python3.12 lab'."
    exit 1
fi
if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    say "$python cannot make virtual environments: install its package python3-venv."
    exit 1
fi

made_of=$({ "$python" -VV; pwd; echo "$*"; cat pyproject.toml; } | sha256sum | cut -d ' ' -f 1)
stamp=$directory/anycastd.stamp
if [ -x "$directory/bin/python" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$made_of" ]; then
    exit 0
fi

say "setting up $directory (what Python packages it needs comes from your package index)"
rm -f "$stamp"
# One that was made from another interpreter is of no use.
same='import os, sys; sys.exit(not os.path.samefile(sys.argv[1], sys.argv[2]))'
"$python" -c "$same" "$python" "$directory/bin/python" 2>/dev/null || rm -rf "$directory"
[ -x "$directory/bin/python" ] || "$python" -m venv "$directory"
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1 PIP_ROOT_USER_ACTION=ignore
if ! "$directory/bin/python" -m pip install --quiet --use-pep517 "$@" </dev/null; then
    say "could not install the Python packages into $directory. The messages of pip above say why;" \
        "is your package index reachable from here?"
    exit 1
fi
printf '%s\n' "$made_of" >"$stamp"
