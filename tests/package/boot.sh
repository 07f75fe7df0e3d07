#!/bin/sh
# Boot a Debian system with systemd as PID 1 in the network namespace that we are called in:
#
#   boot.sh boot NAME BASE     BASE is a directory with a whole system; it is not changed
#   boot.sh sweep NAME         remove its cgroups after its end
#   boot.sh probe NAME         exit with 0 if this machine allows the cgroups that it needs
#
# The system has its own processes, mounts, IPC, host name and cgroup tree; what it writes is kept
# in memory.  It ends with the process that started it.  A reboot inside starts it again with its
# files and with the loopback of a fresh boot; a power-off ends this script.
set -eu

action=$1
name=$2

# Its cgroup: a new group in the cgroup2 hierarchy, wherever this machine has that.
tree=$(mktemp -d)
mount -t cgroup2 cgroup2 "$tree"
group=$tree/$name
sweep() {
    if [ -d "$group" ]; then find "$group" -depth -type d -exec rmdir {} +; fi
}
if [ "$action" = sweep ]; then
    sweep
    umount "$tree"
    rmdir "$tree"
    exit 0
fi
mkdir "$group"
if [ "$action" = probe ]; then
    # shellcheck disable=SC2016
    sh -c 'echo $$ >"$1/cgroup.procs"; exec unshare --cgroup --mount --pid --fork true' sh "$group"
    sweep
    umount "$tree"
    rmdir "$tree"
    exit 0
fi

room=$(mktemp -d)
mount -t tmpfs -o mode=755 tmpfs "$room"
mkdir "$room/upper" "$room/work" "$room/root"
mount -t overlay overlay -o "lowerdir=$3,upperdir=$room/upper,workdir=$room/work" "$room/root"

# shellcheck disable=SC2016  # expanded inside
inside='
set -eu
hostname "$1"
cd "$2"
mount --rbind . .
cd "$2"
mount -t proc proc proc
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys          # its sysctls belong to the whole machine
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=755 tmpfs dev
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs -o mode=1777 tmpfs tmp
for device in null zero full random urandom tty; do
    : >dev/$device
    mount --bind /dev/$device dev/$device
done
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts dev/pts
ln -s pts/ptmx dev/ptmx
mount -t tmpfs -o mode=1777 tmpfs dev/shm
ln -s /proc/self/fd dev/fd
if pivot_root . mnt 2>/dev/null; then
    umount -l /mnt
else
    mount --move . /                       # in a chroot
fi
chroot . mount --make-rshared /            # the container manager has to do it
exec chroot . setpriv \
    --bounding-set=-sys_module,-sys_time,-sys_rawio,-syslog,-audit_control,-audit_write,-mac_admin,-mac_override \
    env -i container=other PATH=/usr/sbin:/usr/bin:/sbin:/bin /sbin/init
'

while :; do
    # A real reboot removes the addresses on the loopback, and their routes.
    ip address flush dev lo scope global 2>/dev/null || true
    ip -4 route flush type unreachable 2>/dev/null || true
    ip -6 route flush type unreachable 2>/dev/null || true
    status=0
    # The shell joins the group first, so that the group is the root of the cgroup namespace.
    # shellcheck disable=SC2016
    sh -c 'echo $$ >"$1/cgroup.procs"; shift; exec "$@"' sh "$group" \
        unshare --cgroup --mount --pid --ipc --uts --fork --kill-child --propagation private \
        sh -c "$inside" sh "$name" "$room/root" || status=$?
    echo "boot.sh: $name ended with status $status"
    # A reboot in a PID namespace ends its first process by SIGHUP, a power-off by SIGINT.
    [ "$status" -eq 129 ] || break
done
sweep
[ "$status" -eq 130 ]
