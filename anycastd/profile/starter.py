"""Write a pair of profiles to begin with, from a few answers (pure).

The first region is preferred, the second one takes over.  What is not known yet is marked EDIT.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Site:
    """One region: its name, its appliance's address, its BGP neighbors' addresses.

    ``known`` is False where the addresses are only those of the other region, to be changed.
    """

    region: str
    local_address: str
    neighbors: tuple[str, ...]
    known: bool = True


@dataclass(frozen=True, slots=True)
class Names:
    """The names of HAProxy in a profile; ``ring`` is None where it has none."""

    frontend: str = "web"
    backend: str = "web"
    socket: str = "/run/haproxy/anycastd.sock"
    ring: str | None = "anycastd"


@dataclass(frozen=True, slots=True)
class Answers:
    """Everything that a pair of profiles is made of; texts that `check` judges."""

    platform: str
    vip: str
    here: Site
    other: Site
    local_as: int
    peer_as: int
    names: Names = Names()
    service: str = "web"
    networks: tuple[str, ...] = ()


def write_pair(answers: Answers) -> tuple[str, str]:
    """Return the texts of the two profiles: of this region, then of the other one."""
    second = replace(answers, here=answers.other, other=answers.here)
    return _write(answers, preferred=True), _write(second, preferred=False)


def quote_scalar(text: str) -> str:
    """Return a text as a YAML scalar, in quotes where it could be read as something else."""
    plain = _PLAIN.fullmatch(text) and text.lower() not in _KEYWORDS
    return text if plain else json.dumps(text)


_PLAIN = re.compile(r"[A-Za-z/][-A-Za-z0-9_./]*|[0-9]+(?:\.[0-9]+){3}(?:/[0-9]+)?")
_KEYWORDS = {"y", "n", "yes", "no", "on", "off", "true", "false", "null"}


def _write(answers: Answers, *, preferred: bool) -> str:
    here, names = answers.here, answers.names
    edit = "" if here.known else "     # EDIT: of this region's own appliance"
    neighbors = "\n".join(
        f"    - {{address: {quote_scalar(each)}, peer_as: {answers.peer_as}}}{edit}"
        for each in here.neighbors
    )
    address = quote_scalar(here.local_address)
    role = _PREFERRED if preferred else _SECOND
    return f"""\
# The profile of the appliance in {here.region}, written by `anycastd init`.  It belongs to
# /etc/anycastd/profile.yaml there; docs/profile.md explains every key.  Compare both regions with
# `anycastd check` after each change.

region: {quote_scalar(here.region)}
platform: {answers.platform}
{_write_networks(answers)}
lease: {{ttl: 5}}                     # seconds that routes stay after the agent died

bgp:
  local_as: {answers.local_as}
  router_id: {_router_id(here.local_address)}{edit or _router_hint(here.local_address)}
  local_address: {address}{edit}
  hold_time: 9                      # seconds until a dead host is noticed
  neighbors:{_NEIGHBORS[answers.platform]}
{neighbors}

haproxy:
  main:
    socket: {quote_scalar(names.socket)}
{_write_ring(names)}
services:
  {quote_scalar(answers.service)}:
    vip: {quote_scalar(_vip_prefix(answers.vip))}
{role[0]}    # All of this must be true to be announced at all.
    serve: {{all: [{{backend: {quote_scalar(names.backend)}, usable: 1}}, \
{{frontend: {quote_scalar(names.frontend)}}}]}}
    # This must be true to be preferred.  Else the path is longer, and the other region takes over.
    healthy: {{backend: {quote_scalar(names.backend)}, usable: 50%}}
{role[1]}    # Seconds.  During these waits the route is announced at standby, so no wait removes
    # the VIP from all regions.
    return: {{rise: 10, hold_down: 60, hold_down_max: 900, spacing: 35}}
"""


_PREFERRED = (
    """\
    # Prepends: none without trouble, more at each worse level.  The shortest path that is
    # announced wins, so the numbers of both regions must differ.
    prepend: 0
""",
    """\
    degraded: {prepend: 3, fall: 5}     # fall: seconds; a rolling deployment changes no route
    standby: {prepend: 6, after: 1}     # after: seconds of proof before it is announced at all
    # If no backend can serve, the route is withdrawn: traffic leaves this region in any case.
    failed: withdraw
""",
)
_SECOND = (
    """\
    # Prepends: this region wins where the first one is degraded (3), but not where it is
    # preferred (0).
    prepend: 2
""",
    """\
    degraded: {prepend: 4, fall: 5}     # fall: seconds; a rolling deployment changes no route
    standby: {prepend: 7, after: 1}     # after: seconds of proof before it is announced at all
    # If no backend can serve, the longest path stays while HAProxy lives.  It never wins against a
    # region that serves; if none serves, users get HAProxy's 503 page instead of a time-out.
    failed: standby
""",
)
_NEIGHBORS = {
    "azure": "                        # both instances of the route server",
    "aws": "                        # the route server's endpoints, two for each subnet",
    "plain": "                        # the routers of this region",
}


def _write_networks(answers: Answers) -> str:
    """Write the networks of a cloud; a VIP has to be outside of them."""
    if answers.networks:
        listed = ", ".join(map(quote_scalar, answers.networks))
        return f"networks: [{listed}]              # the VIP must be outside\n"
    if answers.platform == "plain":
        return ""
    return "# networks: [10.0.0.0/16]         # EDIT: this network's prefixes; the VIP is outside\n"


def _write_ring(names: Names) -> str:
    if names.ring is None:
        return (
            "    # HAProxy has no ring for its events, so it is polled.  With the `ring` section\n"
            "    # of the shipped haproxy.cfg it wakes the agent: then add `ring: anycastd` here.\n"
        )
    return f"    ring: {quote_scalar(names.ring)}                  # its events wake the agent\n"


def _vip_prefix(vip: str) -> str:
    return f"{vip}/128" if ":" in vip else f"{vip}/32"


def _router_id(address: str) -> str:
    """Return an IPv4 address as BGP identifier; one of IPv6 is none (RFC 6286)."""
    return "10.255.255.1" if ":" in address else address


def _router_hint(address: str) -> str:
    return "           # EDIT: 32 bits of your own, as an IPv4 address" if ":" in address else ""
