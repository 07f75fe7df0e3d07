"""Profile -> the list of all routes that the speaker may announce for it, and its hash (pure)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator

from anycastd.decision.levels import Level
from anycastd.decision.routes import Announced, build_wanted_routes
from anycastd.lease.permits import PermittedRoutes, group_routes
from anycastd.profile.model import Profile, Service
from anycastd.speaker.exabgp.config import vip_prefixes


def build_permitted_routes(profile: Profile) -> tuple[PermittedRoutes, ...]:
    """Build the list of all routes that an agent with this profile can ever want.

    Raises ValueError where the profile has a value that is not valid in a route; a validated
    profile has none.
    """
    services = profile.services.values()
    return group_routes(
        route
        for level in Level
        for draining in ((), profile.services)
        for route in build_wanted_routes(profile, _iter_choices(services, level), draining)
    )


def _iter_choices(services: Collection[Service], level: Level) -> Iterator[Announced]:
    """Yield each service at a level with all next hops and MEDs that may be chosen."""
    for each in services:
        hops: list[str | None] = [str(hop.address) for hop in each.next_hops]
        steps: list[int | None] = [] if each.med_steps is None else [*each.med_steps.steps]
        yield from (
            Announced(each, level, hop, med) for hop in hops or [None] for med in steps or [None]
        )


def vips_hash(profile: Profile) -> str:
    """Hash the prefixes that may be announced, and the list of their routes.

    Returns 16 hexadecimal digits.  Raises ValueError as ``build_permitted_routes``.
    """
    values = [vip_prefixes(profile), [each.dump() for each in build_permitted_routes(profile)]]
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()[:16]
