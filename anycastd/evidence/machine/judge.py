"""Facts of this machine and a profile -> everything that does not fit (pure)."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from itertools import chain

from anycastd.evidence.machine import addresses, firewall, network
from anycastd.evidence.machine.facts import Machine, MachineProblem
from anycastd.profile.model import Platform, Profile

_UNSEEN = {
    Platform.AZURE: (
        "IP forwarding of the network interface in Azure (on)",
        "branch-to-branch of the route server (on, for ExpressRoute)",
    ),
    Platform.AWS: (
        "source/destination check of the network interface in AWS (off)",
        "persist-routes of the route server (off: with it routes stay when no session is left)",
    ),
}


def judge_machine(
    profile: Profile, machine: Machine, running: Collection[str] = ()
) -> Iterator[MachineProblem]:
    """Yield what does not fit; ``running`` are the services whose HAProxy answers now."""
    services = [profile.services[name] for name in running]
    yield from chain(
        addresses.check_local_addresses(profile, machine),
        addresses.check_vips(profile, machine),
        addresses.check_listeners(services, machine),
        network.check_routes(profile, machine),
        network.check_speakers(profile, machine),
        network.check_reverse_path(profile, machine),
        firewall.check_firewall(profile, machine),
        network.check_kernel(machine),
    )


def list_unseen(profile: Profile, machine: Machine) -> list[str]:
    """Return what was not looked at: what could not be read, and what only the cloud knows.

    A VIP's packets have another destination than the network interface's own address, and end
    here: they need the cloud's permission, and no IP forwarding of the kernel.
    """
    return [*machine.unread, *_UNSEEN.get(profile.platform, ())]
