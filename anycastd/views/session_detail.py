"""Explain why a session is down, with the values of the profile (pure)."""

from __future__ import annotations

import re

from anycastd.bgp.session import NO_CONNECTION
from anycastd.profile.model import Neighbor, Profile

_NOTIFICATION = re.compile(r"closed (by the neighbor|from here): .*?\((\d+)/(\d+)\)")


def explain_session(
    profile: Profile, neighbor: Neighbor, why: str, *, routes: int, is_local: bool
) -> str:
    """Return ``why`` with the values of the profile that it is about.

    ``why`` is the lease's text (``bgp.session``); it may be empty.  ``routes``: number of routes
    for this neighbor.  ``is_local``: its local address is one of this machine.
    """
    if not is_local:
        return (
            f"{neighbor.local_address} is not an address of this machine: correct "
            "`local_address`, or add it to an interface"
        )
    if why.startswith(NO_CONNECTION):
        md5 = (
            f"`md5_file` is {neighbor.md5_file}" if neighbor.md5_file else "there is no `md5_file`"
        )
        ttl = f"`multihop` is {neighbor.multihop}" if neighbor.multihop else "no `multihop`"
        here = f"here `local_address` is {neighbor.local_address}, {md5}, and {ttl}"
        return f"{NO_CONNECTION}; {here}{why.removeprefix(NO_CONNECTION)}"
    found = _NOTIFICATION.match(why)
    if found is None:
        return why
    values = _list_values(profile, neighbor, routes)
    value = values.get((found[1] == "from here", int(found[2]), int(found[3])))
    return f"{why}; {value}" if value else why


def _list_values(
    profile: Profile, neighbor: Neighbor, routes: int
) -> dict[tuple[bool, int, int], str]:
    """Return the values: (sent from here, code, subcode of the NOTIFICATION) -> text."""
    bgp, families = profile.bgp, ", ".join(neighbor.families)
    here = f"here `local_address` is {neighbor.local_address} and `local_as` is {bgp.local_as}"
    return {
        (True, 2, 2): f"here `peer_as` is {neighbor.peer_as}",
        (False, 2, 2): f"here `local_as` is {bgp.local_as}, `peer_as` {neighbor.peer_as}",
        (True, 2, 3): f"here `router_id` is {bgp.router_id}",
        (False, 2, 3): f"here `router_id` is {bgp.router_id}",
        (True, 2, 6): f"here `hold_time` is {neighbor.hold_time} s",
        (False, 2, 6): f"here `hold_time` is {neighbor.hold_time} s",
        (False, 2, 7): f"here `families` is [{families}]",
        (True, 4, 0): f"here `hold_time` is {neighbor.hold_time} s",
        (False, 6, 1): f"number of routes announced to it: {routes}",
        (False, 6, 5): here,
        (False, 6, 7): here,
    }
