#!/bin/sh
# Install Debian packages without letting their services start: scripts/packages.sh PACKAGE...
#
# Does nothing, and needs neither root nor a network, if all of them are installed.
set -eu

say() { printf '%s\n' "$*" >&2; }

missing=
for package in "$@"; do
    # shellcheck disable=SC2016  # the format is dpkg's, not the shell's
    state=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) || state=absent
    [ "$state" = installed ] || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

if ! command -v apt-get >/dev/null 2>&1; then
    say "missing:$missing. There is no apt-get here to install them with: use Debian 12 or 13," \
        "or install what they contain yourself and run the commands of the Makefile by hand."
    exit 1
fi
if [ "$(id -u)" -ne 0 ]; then
    say "missing:$missing. Installing them needs root: run this as root, or first" \
        "'apt-get install$missing'."
    exit 1
fi

# policy-rc.d tells Debian's package scripts whether a service may start.  An existing one is renamed
# meanwhile, and restored even if an earlier run was interrupted.
policy=/usr/sbin/policy-rc.d
kept=$policy.kept-by-anycastd
restore() {
    if [ -e "$kept" ]; then mv -f "$kept" "$policy"; else rm -f "$policy"; fi
}
[ ! -e "$kept" ] || restore
trap restore EXIT
trap 'exit 1' HUP INT TERM
[ ! -e "$policy" ] || mv "$policy" "$kept"
printf '#!/bin/sh\nexit 101\n' >"$policy"
chmod 755 "$policy"

export DEBIAN_FRONTEND=noninteractive DEBIAN_PRIORITY=critical
export APT_LISTCHANGES_FRONTEND=none NEEDRESTART_SUSPEND=1 UCF_FORCE_CONFFOLD=1
apt() {
    apt-get -q -y -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 \
        -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold "$@" </dev/null
}

say "installing:$missing"
apt update || say "the list of packages could not be brought up to date; trying with the old one"
# shellcheck disable=SC2086  # a list of words
if ! apt install --no-install-recommends $missing; then
    say "could not install:$missing. The messages of apt-get above say why; are its sources" \
        "(/etc/apt) reachable from here?"
    exit 1
fi

# Otherwise they would start at the next boot, with Debian's own settings.
if command -v systemctl >/dev/null 2>&1; then
    for package in $missing; do
        case $package in
            haproxy) systemctl --quiet disable haproxy.service || true ;;
            bird2) systemctl --quiet disable bird.service || true ;;
            frr | gobgpd | keepalived | prometheus) systemctl --quiet disable "$package.service" || true ;;
        esac
    done
fi
