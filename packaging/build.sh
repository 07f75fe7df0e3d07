#!/bin/sh
# Build the Debian packages: packaging/build.sh OUTPUT-DIRECTORY [VERSION]
#
# The same commit gives the same bytes, wherever and whenever it is built on one Debian release.
# VERSION is for rehearsing upgrades: packages of this tree that say they are VERSION.
# What packaging/vendor.txt lists is fetched with the pip of .venv.
set -eu

say() { printf '%s\n' "$*" >&2; }

cd "$(dirname "$0")/.."
out=$1
version=${2-}

# Third-party code in the packages: downloaded once, checked by its hash, kept outside the source.
fetched=build/vendor
if ! (cd $fetched 2>/dev/null && sed -n 's/^\([^#=]*\)==\([^ ]*\) --hash=sha256:\(.*\)$/\3  \1-\2.tar.gz/p' \
    ../../packaging/vendor.txt | sha256sum --check --quiet 2>/dev/null); then
    mkdir -p $fetched
    if ! .venv/bin/python -m pip --disable-pip-version-check --quiet download --no-deps --require-hashes \
        --no-build-isolation --no-binary haproxyadmin --dest $fetched --requirement packaging/vendor.txt </dev/null; then
        say "could not fetch what packaging/vendor.txt lists; is your package index reachable?"
        exit 1
    fi
fi

stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
trap 'exit 1' HUP INT TERM
source=$stage/anycastd
mkdir "$source"
# Committed files and new ones that are not ignored; without git (a source archive) all files.
if git rev-parse --is-inside-work-tree >/dev/null 2>&1; then
    git ls-files -z --cached --others --exclude-standard
else
    find . -path './.*' -prune -o -path ./build -prune -o -path ./dist -prune -o \
        -name __pycache__ -prune -o -name '*.egg-info' -prune -o -type f -print0
fi | tar --create --null --files-from=- --ignore-failed-read 2>/dev/null |
    tar --extract --directory="$source"
cp -a "$source/packaging/debian" "$source/debian"
mkdir "$source/vendor"
for archive in $fetched/*.tar.gz; do
    tar --extract --file="$archive" --directory="$source/vendor" --strip-components=1 \
        --wildcards '*/haproxyadmin/*.py'
done

cd "$source"
date=$(dpkg-parsechangelog -S Date)
if [ -n "$version" ]; then
    sed -i "s/^__version__ = .*/__version__ = \"$version\"/" anycastd/__init__.py
    sed -i "1s/(.*)/($version)/" debian/changelog
fi
# The packages must not depend on the times and modes of this checkout.
chmod -R u=rwX,go=rX .
chmod 755 debian/rules
find . -exec touch --no-dereference --date="$date" {} +
# Without the build-essential packages (-I): nothing is compiled here.
dpkg-checkbuilddeps -I
if ! env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME="$stage" LC_ALL=C.UTF-8 \
    dpkg-buildpackage --build=binary --no-sign --no-check-builddeps >"$stage/log" 2>&1; then
    cat "$stage/log" >&2
    exit 1
fi
cd - >/dev/null
mkdir -p "$out"
for file in "$stage"/*.deb "$stage"/*.changes "$stage"/*.buildinfo; do
    cp "$file" "$out/"
    case $file in *.deb) printf '%s\n' "$out/${file##*/}" ;; esac
done
