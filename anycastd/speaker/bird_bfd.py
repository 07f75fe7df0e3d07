"""Profile -> the configuration of a BIRD that speaks BFD and nothing else (pure).

ExaBGP has no BFD.  With BFD a neighbor notices sooner than by its hold time that this host is dead
or cut off.  All other failures are noticed sooner without it.
"""

from __future__ import annotations

from collections.abc import Iterator

from anycastd.profile.model import Bfd, Neighbor, Profile


def build_bird_config(profile: Profile, bfd: Bfd) -> str:
    """Build the text of bird.conf: BFD sessions, without BGP, kernel protocol and routes.

    A neighbor that the profile reaches over several hops gets a multihop session (RFC 5883), any
    other a single-hop session (RFC 5881).  The keywords are those of BIRD's manual, "BFD".
    """
    return "\n".join(_lines(profile, bfd)) + "\n"


def _lines(profile: Profile, bfd: Bfd) -> Iterator[str]:
    times = f"interval {round(bfd.interval * 1000)} ms; multiplier {bfd.multiplier};"
    yield "# Written by `anycastd bfd` from its profile at each start; edit the profile."
    yield f"router id {profile.bgp.router_id};"
    yield "log stderr all;"
    yield "protocol device { }"
    yield "protocol bfd {"
    yield f'    interface "*" {{ {times} }};'
    yield f"    multihop {{ {times} }};"
    for neighbor in profile.bgp.neighbors:
        yield f"    {_session(neighbor)}"
    yield "}"


def _session(neighbor: Neighbor) -> str:
    """Format a session: single-hop (RFC 5881), or multihop (RFC 5883) where the profile says so."""
    hops = " multihop on" if (neighbor.multihop or 1) > 1 else ""
    return f"neighbor {neighbor.address} local {neighbor.local_address}{hops};"
