#!/bin/sh
# Make a virtual environment with this checkout in it: scripts/venv.sh DIRECTORY LOCK
#                                                  or: scripts/venv.sh DIRECTORY --newest
#                      or, without this checkout: scripts/venv.sh DIRECTORY LOCK --alone
#                 or, where a package has no wheel: scripts/venv.sh DIRECTORY LOCK --built
#
# LOCK is a file of requirements/ with exact versions and hashes; nothing else is installed, and the
# tools that build packages are locked too.  --newest installs the newest versions each time.
# PYTHON is the interpreter to use.  A stamp in the environment says what it was made from; if none
# of that has changed, nothing is done.
set -eu

say() { printf '%s\n' "$*" >&2; }

directory=$1
lock=$2
alone=${3-}
python=${PYTHON:-/usr/bin/python3}
build=requirements/build.txt

if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    say "$python is missing or older than Python 3.11: use Debian 12 or 13, or name another" \
        "interpreter, as in 'make PYTHON=/usr/local/bin/python3.12 lab'."
    exit 1
fi
if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    say "$python cannot make virtual environments: install its package python3-venv."
    exit 1
fi

stamp=$directory/anycastd.stamp
if [ "$lock" = --newest ]; then
    rm -rf "$directory"
    made_of=newest
else
    made_of=$({ "$python" -VV; pwd; cat "$lock" "$build" pyproject.toml scripts/venv.sh; } |
        sha256sum | cut -d ' ' -f 1)
    if [ -x "$directory/bin/python" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$made_of" ]; then
        exit 0
    fi
fi

say "setting up $directory (what Python packages it needs comes from your package index)"
# An older environment may contain other packages.
rm -rf "$directory"
"$python" -m venv "$directory"
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1 PIP_ROOT_USER_ACTION=ignore

install() {
    if ! "$directory/bin/python" -m pip install --quiet --use-pep517 "$@" </dev/null; then
        say "could not install the Python packages into $directory. The messages of pip above say why;" \
            "is your package index reachable from here?"
        exit 1
    fi
}

if [ "$lock" = --newest ]; then
    install --editable '.[test]'
    "$directory/bin/python" -m pip list
elif [ "$alone" = --alone ]; then
    install --require-hashes --only-binary :all: --requirement "$lock"
else
    install --require-hashes --requirement "$build"
    install --require-hashes --no-build-isolation --requirement "$lock"
    [ "$alone" = --built ] || install --no-build-isolation --no-deps --editable .
fi
printf '%s\n' "$made_of" >"$stamp"
