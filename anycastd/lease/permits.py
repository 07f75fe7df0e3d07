"""The speaker's own list of the routes that it may announce (stdlib only, pure).

The speaker builds it from its profile.  An agent that asks for a route that is not on it, with
another next hop, path, MED, community or local preference, does not get it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from anycastd.bgp.route import Route
from anycastd.lease.fields import read_int, read_list, read_mapping, read_text

_MAX_ITEMS = 1_000_000
_MAX_TEXT = 255
_MAX_32_BIT = 2**32 - 1

Attributes = tuple[int, int, int | None, tuple[str, ...], int | None]
"""Least and greatest number of ASNs in the path, MED, communities and local preference.

MED and local preference are None where the route has none.

All ASNs of a path are our own.  Lengths between the two are permitted, too: other prepends within
them need no new list.
"""

_Rest = tuple[int | None, tuple[str, ...], int | None]


@dataclass(frozen=True, slots=True)
class PermittedRoutes:
    """Routes to one neighbor to announce: any of ``prefixes`` with any of ``attributes``.

    ``neighbor`` and ``next_hop`` are addresses.
    """

    neighbor: str
    next_hop: str
    prefixes: tuple[str, ...]
    attributes: tuple[Attributes, ...]

    def dump(self) -> dict[str, object]:
        """Return it as values for json.dumps."""
        return {
            "neighbor": self.neighbor,
            "next_hop": self.next_hop,
            "prefixes": list(self.prefixes),
            "attributes": [_dump_attributes(*each) for each in self.attributes],
        }

    @classmethod
    def load(cls, item: object) -> PermittedRoutes:
        """Build it from what ``dump`` returned; raises KeyError or ValueError for anything else."""
        data = read_mapping(item, "routes")
        return cls(
            neighbor=read_text(data["neighbor"], "neighbor", _MAX_TEXT),
            next_hop=read_text(data["next_hop"], "next_hop", _MAX_TEXT),
            prefixes=_load_texts(data["prefixes"], "prefixes"),
            attributes=tuple(
                _load_attributes(read_mapping(each, "attributes"))
                for each in read_list(data["attributes"], "attributes", _MAX_ITEMS)
            ),
        )


def group_routes(routes: Iterable[Route]) -> tuple[PermittedRoutes, ...]:
    """Build the list that permits ``routes``, each of which has one ASN, some times.

    Prefixes with the same next hop and attributes at a neighbor are one item.
    """
    lengths: dict[tuple[str, str, str], dict[_Rest, list[int]]] = {}
    for route in routes:
        found = lengths.setdefault((route.neighbor, route.next_hop, route.prefix), {})
        rest = (route.med, route.communities, route.local_pref)
        found.setdefault(rest, []).append(len(route.as_path))
    groups: dict[tuple[str, str, tuple[Attributes, ...]], list[str]] = {}
    for (neighbor, next_hop, prefix), values in lengths.items():
        attributes = [(min(each), max(each), *rest) for rest, each in values.items()]
        key = (neighbor, next_hop, tuple(sorted(attributes, key=repr)))
        groups.setdefault(key, []).append(prefix)
    return tuple(
        PermittedRoutes(neighbor, next_hop, tuple(sorted(prefixes)), attributes)
        for (neighbor, next_hop, attributes), prefixes in groups.items()
    )


class RouteList:
    """A list of permitted routes that can be asked about one route.

    ``local_as`` is the ASN of all paths.
    """

    def __init__(self, permitted: Iterable[PermittedRoutes], local_as: int) -> None:
        self._local_as = local_as
        self._lengths: dict[tuple[str, str, str], Mapping[_Rest, tuple[int, int]]] = {}
        for each in permitted:
            lengths = {
                (med, communities, local_pref): (low, high)
                for low, high, med, communities, local_pref in each.attributes
            }
            for prefix in each.prefixes:
                key = (each.neighbor, each.next_hop, prefix)
                known = self._lengths.get(key)
                self._lengths[key] = lengths if known is None else _join(known, lengths)

    def permits(self, route: Route) -> bool:
        """Return whether ``route`` is on the list."""
        found = self._lengths.get((route.neighbor, route.next_hop, route.prefix), {})
        low, high = found.get((route.med, route.communities, route.local_pref), (1, 0))
        length = len(route.as_path)
        return low <= length <= high and route.as_path == (self._local_as,) * length


def _join(
    one: Mapping[_Rest, tuple[int, int]], other: Mapping[_Rest, tuple[int, int]]
) -> Mapping[_Rest, tuple[int, int]]:
    """Join the lengths of paths that two profiles permit, by the rest of the route."""
    joined = dict(one)
    for rest, (low, high) in other.items():
        lowest, highest = joined.get(rest, (low, high))
        joined[rest] = (min(low, lowest), max(high, highest))
    return joined


def _dump_attributes(
    low: int, high: int, med: int | None, communities: tuple[str, ...], local_pref: int | None
) -> dict[str, object]:
    found: dict[str, object] = {"shortest": low, "longest": high, "med": med}
    found["communities"] = list(communities)
    # Only where there is one: without it the hash of the list is that of an older release.
    return found if local_pref is None else found | {"local_pref": local_pref}


def _load_attributes(data: Mapping[str, object]) -> Attributes:
    med, local_pref = data["med"], data.get("local_pref")
    return (
        read_int(data["shortest"], "shortest", _MAX_TEXT),
        read_int(data["longest"], "longest", _MAX_TEXT),
        None if med is None else read_int(med, "med", _MAX_32_BIT),
        _load_texts(data["communities"], "communities"),
        None if local_pref is None else read_int(local_pref, "local_pref", _MAX_32_BIT),
    )


def _load_texts(value: object, name: str) -> tuple[str, ...]:
    return tuple(read_text(text, name, _MAX_TEXT) for text in read_list(value, name, _MAX_ITEMS))
