"""Find values that two regions' profiles share by mistake: addresses, identifiers.

Two regions with the same addresses may exist: networks that are not connected can use the same
ones.  So these are warnings.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from anycastd.profile.document import Problem
from anycastd.profile.key_paths import Path, find_line, format_key
from anycastd.profile.model import Profile
from anycastd.profile.regions import Endpoint

_Lines = Mapping[str, Mapping[Path, int]]
_Regions = Sequence[tuple[str, Profile]]


def check_copies(profiles: _Regions, lines: _Lines) -> Iterator[Problem]:
    """Warn of a router ID, local address or HTTP endpoint that two regions share.

    BGP identifiers are unique within an AS (RFC 6286 section 2.1): a router refuses the second
    session with the same one (RFC 4271 section 6.8), and then one of the two regions has none.
    Also warns where the lists of regions differ, since their order decides who may drain.
    ``profiles`` are (file, profile); ``lines``: file -> key path -> line.
    """
    for path, get in _SHARED:
        yield from _find_shared(profiles, lines, path, get)
    yield from _compare_region_lists(profiles, lines)


def _get_router_id(profile: Profile) -> str:
    return str(profile.bgp.router_id)


def _get_local_address(profile: Profile) -> str:
    return str(profile.bgp.local_address)


def _get_listen(profile: Profile) -> str:
    web = profile.web
    return "" if web is None or web.listen.address.is_unspecified else str(web.listen)


_SHARED: tuple[tuple[Path, Callable[[Profile], str]], ...] = (
    (("bgp", "router_id"), _get_router_id),
    (("bgp", "local_address"), _get_local_address),
    (("web", "listen"), _get_listen),
)


def _find_shared(
    profiles: _Regions, lines: _Lines, path: Path, get: Callable[[Profile], str]
) -> Iterator[Problem]:
    seen: dict[str, tuple[str, str]] = {}
    for file, profile in profiles:
        value = get(profile)
        if value and value in seen:
            region, where = seen[value]
            message = f"{value} is also that of {region} ({where}), so one of the two is a copy"
            if path == ("bgp", "router_id"):
                message += ": routers refuse a second session with the same identifier"
            remedy = f"write the value of {profile.agent_name}'s own appliance"
            line = find_line(lines.get(file, {}), path)
            yield Problem(file, line, format_key(path), message, remedy, warning=True)
        seen.setdefault(value, (profile.agent_name, file))


def _compare_region_lists(profiles: _Regions, lines: _Lines) -> Iterator[Problem]:
    path: Path = ("regions",)
    listed = [(file, profile) for file, profile in profiles if profile.regions]
    for file, profile in listed[1:]:
        first_file, first = listed[0]
        if _list_agents(profile) != _list_agents(first):
            names = ", ".join(region.name for region in first.regions)
            same = names == ", ".join(region.name for region in profile.regions)
            what = "the agents of regions" if same else "the regions or their order"
            message = f"{what} differ from those of {first.agent_name} ({first_file}: {names})"
            remedy = (
                "write the same list in each profile: its order decides which of two regions may "
                "drain first"
            )
            line = find_line(lines.get(file, {}), path)
            yield Problem(file, line, format_key(path), message, remedy, warning=True)


def _list_agents(profile: Profile) -> list[tuple[str, Endpoint]]:
    """List the regions without their token files, whose paths may differ."""
    return [(region.name, region.agent) for region in profile.regions]
