#!/bin/sh
# Rewrite the locks in requirements/ with the newest versions that are allowed.
set -eu

cd "$(dirname "$0")/.."
tools=$(mktemp -d)
trap 'rm -rf "$tools"' EXIT
trap 'exit 1' HUP INT TERM
"${PYTHON:-/usr/bin/python3}" -m venv "$tools"
"$tools/bin/python" -m pip --disable-pip-version-check install --quiet uv </dev/null

lock() {
    name=$1
    shift
    "$tools/bin/uv" --quiet pip compile --upgrade --universal --python-version 3.11 --generate-hashes \
        --no-annotate --custom-compile-command 'make update' --output-file "$tools/$name.txt" "$@" >/dev/null
    mv "$tools/$name.txt" "requirements/$name.txt"
}

lock build requirements/build.in
lock newest pyproject.toml --extra test
lock oldest pyproject.toml requirements/oldest.in
lock runtime pyproject.toml
lock tools requirements/tools.in
lock docs requirements/docs.in
lock compare requirements/compare.in
git --no-pager diff --stat -- requirements || true
