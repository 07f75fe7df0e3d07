"""Check the way to the neighbors, other BGP speakers, and settings of the kernel (pure)."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address

from anycastd.evidence.machine.facts import Machine, MachineProblem, Process, Socket
from anycastd.evidence.machine.proc import ESTABLISHED, LISTENING, find_route
from anycastd.profile.model import Address, Profile

BGP_PORT = 179
"""TCP port of BGP (RFC 4271 section 3)."""
_STRICT = 1  # rp_filter, RFC 3704 section 2.2
_FULL = 0.9


def check_routes(profile: Profile, machine: Machine) -> Iterator[MachineProblem]:
    """Find neighbors to which the kernel has no route."""
    for neighbor in profile.bgp.neighbors:
        if why := machine.unroutable.get(neighbor.address):
            yield MachineProblem(
                f"neighbor {neighbor.address}: there is no route to it from here ({why})",
                "add a route to it (ip route get shows what the kernel uses), or correct the "
                "address",
            )


def check_speakers(profile: Profile, machine: Machine) -> Iterator[MachineProblem]:
    """Find other programs that speak BGP here: to our neighbors, or waiting for them.

    Two that speak to the same neighbor from the same address take the session from each other
    (RFC 4271 section 6.8).  Our speaker only dials, so it needs no port of its own.
    """
    neighbors = {neighbor.address for neighbor in profile.bgp.neighbors}
    reported: set[str] = set()
    for socket in machine.tcp or ():
        owner = machine.owners.get(socket.inode)
        if owner is not None and owner.ours:
            continue
        found = _describe_speaker(socket, owner, neighbors)
        if found is not None and found.message not in reported:
            reported.add(found.message)
            yield found


def _describe_speaker(
    socket: Socket, owner: Process | None, neighbors: set[Address]
) -> MachineProblem | None:
    who = "another process" if owner is None else str(owner)
    if socket.state == LISTENING and socket.port == BGP_PORT:
        return MachineProblem(
            f"{who} listens on port {BGP_PORT} of {socket.local}: a second BGP speaker",
            "see that it does not announce these VIPs or have these neighbors, or stop it",
        )
    if (
        owner is not None
        and socket.state == ESTABLISHED
        and BGP_PORT in {socket.port, socket.remote_port}
        and socket.remote in neighbors
    ):
        return MachineProblem(
            f"{owner} has a BGP session with neighbor {socket.remote}, and is not our speaker",
            "remove the neighbor there: the two take the session from each other",
        )
    return None


def check_reverse_path(profile: Profile, machine: Machine) -> Iterator[MachineProblem]:
    """Find an interface that drops packets of clients because the way back is another one.

    That is what a strict rp_filter does (RFC 3704 section 2.2), and IPv4 alone has it.
    """
    if machine.interfaces is None or machine.routes is None:
        return
    defaults = {each.interface for each in machine.routes if each.destination.prefixlen == 0}
    arrive = {
        name
        for neighbor in profile.bgp.neighbors
        if isinstance(neighbor.address, IPv4Address)
        and (name := find_route(machine.routes, neighbor.address)) is not None
    }
    for link in machine.interfaces:
        if link.name not in arrive or link.is_loopback or link.rp_filter != _STRICT:
            continue
        if link.name not in defaults and defaults:
            through = ", ".join(sorted(defaults))
            yield MachineProblem(
                f"{link.name} has a strict rp_filter (1), and the default route is through "
                f"{through}: what a client sends by {link.name} is dropped, unless a route to it "
                f"leads through {link.name}",
                f"sysctl -w net.ipv4.conf.{link.name}.rp_filter=2, also in /etc/sysctl.d",
            )


def check_kernel(machine: Machine) -> Iterator[MachineProblem]:
    """Find a clock that is not synchronised, and a full table of connections."""
    if machine.clock_in_step is False:
        yield MachineProblem(
            "the clock of this machine is not synchronised, so times in logs and drains cannot be "
            "compared with those of other regions",
            "install chrony or systemd-timesyncd; timedatectl shows the state",
        )
    if machine.conntrack is not None:
        entries, most = machine.conntrack
        if entries >= _FULL * most:
            yield MachineProblem(
                f"the firewall tracks {entries} connections of {most} at most; with more the "
                "kernel drops packets, those of BGP too",
                "raise net.netfilter.nf_conntrack_max, or do not track the VIPs' traffic",
            )
