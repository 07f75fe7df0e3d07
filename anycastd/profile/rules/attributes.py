"""Rules for attributes of routes that depend on the neighbor: local preference, next hop.

Each rule takes a Document and yields Problems.  It skips values that are missing: the Document has
no value where the schema found an error.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from anycastd.bgp.route import USUAL_LOCAL_PREF
from anycastd.profile.document import Document, Problem
from anycastd.profile.key_paths import Path
from anycastd.profile.rules.sections import AZURE, get_platform, iter_neighbors, iter_services

_LEVELS = ((), ("degraded",), ("standby",))
"""Keys in a service that lead to ``prepend`` and ``local_pref`` of each level, best level first."""


def check_local_prefs(doc: Document) -> Iterator[Problem]:
    """Require a lower local preference at worse levels where a neighbor is an iBGP one.

    The highest one wins (RFC 4271 section 9.1.1).  Warn of the key where no neighbor is: over eBGP
    there is none (section 5.1.5).
    """
    local = doc.get("bgp", "local_as")
    numbers = [neighbor.get("peer_as") for _, neighbor in iter_neighbors(doc)]
    if local is None or None in numbers:
        return
    for path, _ in iter_services(doc):
        keys = [(*path, *level, "local_pref") for level in _LEVELS]
        if local not in numbers:
            for at in keys:
                if doc.get(*at) is not None:
                    message = "has no effect, because no neighbor has our own AS number (iBGP)"
                    yield doc.make_problem(at, message, "remove it", warning=True)
            continue
        yield from _check_order(doc, path)


def _check_order(doc: Document, path: Path) -> Iterator[Problem]:
    levels = [level for level in _LEVELS if level != ("degraded",) or _can_degrade(doc, path)]
    for better, worse in pairwise(levels):
        high, low = _find_local_pref(doc, path, better), _find_local_pref(doc, path, worse)
        if high is None or low is None or low < high:
            continue
        keys = [(*path, *level, "local_pref") for level in (worse, better, ())]
        at = next((key for key in keys if doc.get(*key) is not None), None)
        if at is None:
            continue  # the prepends are refused already
        name, than = ".".join((*worse, "local_pref")), ".".join((*better, "local_pref"))
        message = f"{name} {low} is not less than {than} {high}, so the worse level would not lose"
        remedy = f"write {high - 1} or less for {name}" if high else f"write more for {than}"
        yield doc.make_problem(at, message, remedy)


def _can_degrade(doc: Document, path: Path) -> bool:
    return doc.is_explicit((*path, "healthy"))


def _find_local_pref(doc: Document, path: Path, level: tuple[str, ...]) -> int | None:
    """Return the local preference of a level as the routes have it; None where a value is missing.

    The neighbor's own prepends are left out: they lower all levels alike.
    """
    own, top = doc.get(*path, *level, "local_pref"), doc.get(*path, "local_pref")
    first, more = doc.get(*path, "prepend"), doc.get(*path, *level, "prepend")
    if own is not None:
        return int(own)
    if first is None or more is None:
        return None
    return max(0, int(USUAL_LOCAL_PREF - first if top is None else top) - (int(more) - int(first)))


def check_extended_next_hops(doc: Document) -> Iterator[Problem]:
    """Refuse extended next hops on Azure, and without both address families on the session.

    ExaBGP offers the capability of RFC 8950 only where the session has the family of the next hop.
    """
    for path, neighbor in iter_neighbors(doc):
        if neighbor.get("extended_next_hop") is not True:
            continue
        at, families = (*path, "extended_next_hop"), neighbor.get("families")
        if get_platform(doc) == AZURE:
            message = "Azure Route Server does not support IPv6"
            yield doc.make_problem(at, message, "remove it")
        elif families and set(families) != {"ipv4", "ipv6"}:
            message = "needs a session that carries both address families"
            yield doc.make_problem(
                (*path, "families"), f"extended_next_hop {message}", "write [ipv4, ipv6]"
            )


RULES = (check_local_prefs, check_extended_next_hops)
"""All rules of this file: Document -> Problems."""
