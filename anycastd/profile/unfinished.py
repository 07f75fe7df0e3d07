"""Find what in a sound profile looks as if its author was not finished; for `check` alone (pure).

A start and a reload do not ask for this: such a profile can run.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from ipaddress import ip_network

from anycastd.profile.document import Problem
from anycastd.profile.key_paths import Path, find_line, format_key
from anycastd.profile.model import Address, Network, Platform, Profile

_DOCUMENTATION = tuple(
    ip_network(text)
    for text in (
        *("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24"),  # RFC 5737
        *("2001:db8::/32", "3fff::/20"),  # RFC 3849, RFC 9637
    )
)
_PRIVATE_ASNS = ((64512, 65534), (4200000000, 4294967294))  # RFC 6996
_EDIT = re.compile(r"#\s*EDIT\b")
_MAX_SHOWN = 4


def find_unfinished(
    file: str, profile: Profile, lines: Mapping[Path, int], text: str, examples: Iterable[str]
) -> Iterator[Problem]:
    """Yield warnings: addresses for documentation, lines as shipped, no ``networks`` on a cloud.

    ``lines`` is key path -> line, ``text`` the text of the profile.  ``examples``: the texts of
    the shipped profiles.
    """
    yield from _check_edits(file, text, examples)
    yield from _check_addresses(file, profile, lines)
    if profile.platform is not Platform.PLAIN and not profile.networks:
        line = find_line(lines, ("platform",))
        yield Problem(
            file,
            line,
            "networks",
            f"is missing, so nothing shows whether a VIP is inside this {_NET[profile.platform]}",
            "add networks: [10.0.0.0/16], with its own prefixes",
            warning=True,
        )


_NET = {Platform.AZURE: "VNet", Platform.AWS: "VPC"}


def _check_edits(file: str, text: str, examples: Iterable[str]) -> Iterator[Problem]:
    """Warn once of the lines that are marked EDIT and are as shipped."""
    shipped = {
        line.strip() for example in examples for line in example.splitlines() if _EDIT.search(line)
    }
    left = [number for number, line in enumerate(text.splitlines(), 1) if line.strip() in shipped]
    if left:
        more = ", ..." if len(left) > _MAX_SHOWN else ""
        shown = ", ".join(map(str, left[:_MAX_SHOWN]))
        what = "line is" if len(left) == 1 else "lines are"
        yield Problem(
            file,
            left[0],
            format_key(()),
            f"{len(left)} {what} as shipped and marked EDIT ({shown}{more})",
            "write this region's values, and remove the mark where the value is right",
            warning=True,
        )


def _check_addresses(file: str, profile: Profile, lines: Mapping[Path, int]) -> Iterator[Problem]:
    """Warn once of addresses for documentation, at the first of them."""
    found = [
        (path, value)
        for path, value in _iter_addresses(profile)
        if any(value.version == net.version and _is_inside(value, net) for net in _DOCUMENTATION)
    ]
    if found:
        path, value = found[0]
        others = dict.fromkeys(str(other) for _, other in found if other != value)
        more = f", like {', '.join(list(others)[:_MAX_SHOWN])}" if others else ""
        yield Problem(
            file,
            find_line(lines, path),
            format_key(path),
            f"{value} is an address for documentation (RFC 5737), which no network routes{more}",
            "write your own address",
            warning=True,
        )


def _is_inside(value: Address | Network, net: Network) -> bool:
    first = getattr(value, "network_address", value)
    return first in net


def _iter_addresses(profile: Profile) -> Iterator[tuple[Path, Address | Network]]:
    for name, service in profile.services.items():
        yield ("services", name, "vip"), service.vip.network_address
    yield ("bgp", "local_address"), profile.bgp.local_address
    yield ("bgp", "router_id"), profile.bgp.router_id
    for index, neighbor in enumerate(profile.bgp.neighbors):
        yield ("bgp", "neighbors", index, "address"), neighbor.address


def find_notes(profile: Profile, lines: Mapping[Path, int]) -> Iterator[str]:
    """Yield what an operator should know of a sound profile, one sentence each."""
    asn = profile.bgp.local_as
    private = any(first <= asn <= last for first, last in _PRIVATE_ASNS)
    steer: Path = ("bgp", "prepends_steer")
    if profile.platform is Platform.AZURE and private and steer not in lines:
        yield (
            f"AS {asn} is private: ExpressRoute removes it, and on-premises routers see 12076 "
            "alone. Behind one circuit prepends steer, since the MSEE compares the paths; behind "
            "two circuits write bgp.prepends_steer: false (circuit.yaml is an example)"
        )
