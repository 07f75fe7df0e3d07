"""Profile -> the list of all routes that the speaker may announce for it, and its hash (pure)."""

from __future__ import annotations

import hashlib
import json

from anycastd.decision.levels import Level
from anycastd.decision.routes import build_wanted_routes
from anycastd.lease.permits import PermittedRoutes, group_routes
from anycastd.profile.model import Profile
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
        for route in build_wanted_routes(profile, ((each, level) for each in services), draining)
    )


def vips_hash(profile: Profile) -> str:
    """Hash the prefixes that may be announced, and the list of their routes.

    Returns 16 hexadecimal digits.  Raises ValueError as ``build_permitted_routes``.
    """
    values = [vip_prefixes(profile), [each.dump() for each in build_permitted_routes(profile)]]
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()[:16]
