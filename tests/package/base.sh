#!/bin/sh
# Make a small Debian system for boot.sh, once: base.sh SUITE DIRECTORY PACKAGE-FILE...
#
# It comes from the mirror of this machine's own packages.  The dependencies of the package files are
# downloaded into it, so that they can be installed in a system without a network.
set -eu

say() { printf '%s\n' "$*" >&2; }

suite=$1
base=$2
shift 2

# shellcheck source=/dev/null
. /etc/os-release
# shellcheck disable=SC2016  # apt expands these, not the shell
mirror=$(apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(CODENAME)' 'Created-By: Packages' \
    'Component: main' | awk -v here="$VERSION_CODENAME" '$2 == here || $3 == here { print $1; exit }')
if [ -z "$mirror" ]; then
    say "apt's sources name no mirror for $VERSION_CODENAME: cannot make a Debian system to boot."
    exit 1
fi

if [ ! -e "$base/made" ]; then
    say "making a $suite system to boot, from $mirror"
    rm -rf "$base"
    mkdir -p "$base"
    if ! debootstrap --variant=minbase "$suite" "$base/root" "$mirror" >"$base/log" 2>&1; then
        tail -n 20 "$base/log" >&2
        exit 1
    fi
fi
root=$base/root

# Its commands use this machine's network and nothing else of it.
inside() {
    unshare --mount --propagation private sh -c '
        root=$1
        shift
        mount -t proc proc "$root/proc"
        exec chroot "$root" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 \
            DEBIAN_FRONTEND=noninteractive "$@"
    ' sh "$root" "$@" </dev/null >>"$base/log" 2>&1 || {
        tail -n 20 "$base/log" >&2
        exit 1
    }
}

if [ ! -e "$base/made" ]; then
    for file in /etc/apt/apt.conf.d/*; do
        case $file in */docker-*) ;; *) cp -L "$file" "$root/etc/apt/apt.conf.d/" ;; esac
    done
    cp -L /etc/resolv.conf /etc/hosts "$root/etc/" 2>/dev/null || true
    for folder in /etc/ssl/certs /usr/local/share/ca-certificates /etc/apt/auth.conf.d; do
        if [ -d "$folder" ]; then
            mkdir -p "$root$folder"
            cp -RL "$folder/." "$root$folder/" 2>/dev/null || true
        fi
    done
    echo "deb $mirror $suite main" >"$root/etc/apt/sources.list"
    printf 'APT::Install-Recommends "false";\n' >"$root/etc/apt/apt.conf.d/99small"
    printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
    chmod 755 "$root/usr/sbin/policy-rc.d"
    inside apt-get -q update
    inside apt-get -q -y install systemd-sysv dbus iproute2 procps
    inside apt-get clean
    rm "$root/usr/sbin/policy-rc.d"
    rm -f "$root/etc/machine-id"
    : >"$root/etc/machine-id"
    touch "$base/made"
fi

# Everything apart, in a folder that the installation sees.
mkdir -p "$root/packages"
rm -f "$root"/packages/*.deb
cp "$@" "$root/packages/"
needs=$(for file; do dpkg-deb --field "$file" Depends Recommends; done | sort -u | sha256sum)
if [ "$needs" != "$(cat "$base/needs" 2>/dev/null)" ]; then
    inside apt-get -q update
    inside sh -c 'apt-get -q -y --download-only install haproxy bird2 && for file in /packages/anycastd_*.deb; do
        apt-get -q -y --download-only install haproxy bird2 "$file"; done'
    echo "$needs" >"$base/needs"
fi
