#!/bin/sh
# Check that this machine can create the network namespaces of the lab, and say what is missing.
set -eu

if [ "$(id -u)" -ne 0 ]; then
    echo "the rehearsal network is made of network namespaces: run this as root." >&2
    exit 1
fi
if ! why=$(unshare --net --mount ip link add anycastd0 type veth peer name anycastd1 2>&1); then
    echo "this machine does not let root make network namespaces with veth pairs ($why)." \
        "In a container they need CAP_NET_ADMIN and CAP_SYS_ADMIN; a virtual machine has them." >&2
    exit 1
fi
