"""Rules for the number of routes: what each platform takes, and what we can carry.

Each rule takes a Document and yields Problems.  It skips values that are missing: the Document has
no value where the schema found an error.

Sources: Azure Route Server FAQ and Azure's list of limits; Amazon VPC quotas, route servers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from anycastd.profile.document import Document, Problem
from anycastd.profile.rules.sections import AWS, AZURE, get_platform

MAX_ROUTES = 20_000
"""Routes on the lease at most, one for each service and neighbor: one message has all of them.

A message has 4 MiB at most, and 33,000 routes fill it.
"""


class RouteLimits(NamedTuple):
    """How many routes a platform takes.

    ``session``: from one neighbor; with one more it closes the session.  ``limit`` is the number
    that the platform documents.  ``onward``: what it passes on to the routers behind it, None
    where that is not less.  The texts say for people who the limit is of, and what counts.
    """

    session: int
    limit: int
    owner: str
    counted: str
    onward: int | None = None
    onward_owner: str = ""


ROUTE_LIMITS: Mapping[str, RouteLimits] = {
    AZURE: RouteLimits(
        2000,
        4000,
        "Azure Route Server",
        "when all are announced again, as after its route refresh, it counts each twice",
        1000,
        "ExpressRoute takes 1000 from all appliances and networks together",
    ),
    AWS: RouteLimits(
        100,
        100,
        "VPC Route Server",
        "its own table has 100 routes too, of all appliances together",
    ),
}
"""``platform`` -> its limits.  AWS raises neither of its two; Azure's are those of all tiers."""


def check_platform_routes(doc: Document) -> Iterator[Problem]:
    """Refuse more VIPs than the platform takes from one neighbor; warn near the limit behind it.

    Each VIP is one route on each session.
    """
    limits = ROUTE_LIMITS.get(get_platform(doc) or "")
    count = len(doc.get("services") or ())
    if limits is None:
        return
    fewer = "put several ports behind one VIP, or use a second route server and appliance"
    if count > limits.session:
        message = (
            f"{count} VIPs are {count} routes, and {limits.owner} closes a session with more than "
            f"{limits.limit}; {limits.counted}"
        )
        yield doc.make_problem(("services",), message, fewer)
    elif limits.onward is not None and count > limits.onward:
        message = f"{count} VIPs are {count} routes, and {limits.onward_owner}"
        yield doc.make_problem(("services",), message, fewer, warning=True)


def check_all_routes(doc: Document) -> Iterator[Problem]:
    """Refuse more routes than one message to the lease process can carry."""
    services, neighbors = (len(doc.get(*at) or ()) for at in (("services",), ("bgp", "neighbors")))
    if services * neighbors > MAX_ROUTES:
        message = (
            f"{services} services for {neighbors} neighbors are {services * neighbors} routes, and "
            f"{MAX_ROUTES} can be announced"
        )
        yield doc.make_problem(("services",), message, "use fewer VIPs or fewer neighbors")


RULES = (check_platform_routes, check_all_routes)
"""All rules of this file: Document -> Problems."""
