"""Put the lab's addresses and timers into the shipped profiles and the HAProxy file."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import yaml

from anycastd.lab.network.namespaces import EX_CONFIG, LabError
from anycastd.lab.network.shipped_files import find_shipped
from anycastd.lab.network.topology import VIP, Site

RETURN_TIMERS = {"rise": 2, "hold_down": 4, "hold_down_max": 4, "spacing": 2}
"""Return timers of the stories, in seconds; short, because a person waits for them."""
DRAIN_TIMES = {"wait": 3, "linger": 2, "stop": 4}
"""Times of a drain in the stories, in seconds; short for the same reason."""
DEGRADED_FALL = 2
"""`degraded.fall` of the stories, in seconds; short for the same reason."""
SESSION_LIMIT = 50
"""`sessions_below` of the stories: a number of clients that the lab can connect."""
_EXAMPLE = "packaging/examples/checks/check-lag"
WEB_PORT = 9480
"""TCP port of each agent's HTTP server."""


@dataclass(frozen=True, slots=True)
class _Edit:
    start: int
    end: int
    text: str


def adapt_profile(
    text: str,
    site: Site,
    socket: str,
    return_timers: Mapping[str, float] | None = RETURN_TIMERS,
    drain_times: Mapping[str, float] | None = None,
    *,
    sites: Sequence[Site] = (),
    vip: str = VIP,
) -> str:
    """Return a profile's text with a site's addresses, its HAProxy socket and return timers.

    ``sites`` are all sites of the lab, for the profile's `regions`.

    The maintenance map becomes the lab's.  The session limits and, with ``return_timers``, `fall`
    become those of the stories.  ``return_timers`` None keeps the profile's timers, ``drain_times``
    None its times of a drain (s).  Only the values are replaced in the text, so that comments and
    words that YAML versions read differently stay as written.

    Raises LabError (78) when the profile does not have the structure of the shipped ones, and
    yaml.YAMLError when it is no YAML.
    """
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    edits = [
        _edit_scalar(root, ("region",), site.region or site.name),
        _edit_scalar(root, ("bgp", "router_id"), site.address),
        _edit_scalar(root, ("bgp", "local_address"), site.address),
        *_edit_more(root, site, socket),
    ]
    networks = _find_node(root, ("networks",))
    if networks is not None:
        edits.append(
            _Edit(networks.start_mark.index, _text_end(networks), f"[{', '.join(site.networks)}]")
        )
    neighbors = _list_items(_find_node(root, ("bgp", "neighbors")))
    if len(neighbors) != len(site.neighbors):
        raise LabError(
            f"the profile has {len(neighbors)} neighbors, but {site.title} of the lab has "
            f"{len(site.neighbors)}",
            EX_CONFIG,
        )
    for neighbor, address in zip(neighbors, site.neighbors, strict=True):
        edits.append(_edit_scalar(neighbor, ("address",), address))
    edits.extend(_edit_services(root, socket, return_timers, vip))
    edits.extend(_edit_regions(root, site, sites))
    if drain_times is not None:
        edits.append(_edit_drain(root, text, drain_times))
    return _apply_edits(text, edits)


def _edit_more(root: yaml.Node | None, site: Site, socket: str) -> Iterator[_Edit]:
    """Yield a site's own edits.

    In them `{directory}` is the directory of HAProxy's socket, `{examples}` that of the examples.
    """
    for path, new in site.edits.items():
        text = new.replace("{directory}", socket.rpartition("/")[0])
        if "{examples}" in text:
            text = text.replace("{examples}", str(find_shipped(_EXAMPLE).parents[1]))
        node = _find_node(root, tuple(path.split(".")))
        if isinstance(node, yaml.SequenceNode):
            yield _Edit(node.start_mark.index, _text_end(node), text)
        else:
            yield _edit_scalar(root, tuple(path.split(".")), text)


def _edit_drain(root: yaml.Node | None, text: str, drain_times: Mapping[str, float]) -> _Edit:
    """Return the edit of the times of a drain, which are added where there are none."""
    flow = ", ".join(f"{name}: {value}" for name, value in drain_times.items())
    times = _find_node(root, ("drain",))
    if times is None:
        return _Edit(len(text.rstrip()), len(text), f"\n\ndrain: {{{flow}}}\n")
    return _Edit(times.start_mark.index, _text_end(times), f"{{{flow}}}")


def _edit_services(
    root: yaml.Node | None, socket: str, return_timers: Mapping[str, float] | None, vip: str
) -> Iterator[_Edit]:
    """Yield the edits of the HAProxy socket, and of the service's VIP, timers and conditions."""
    instances = _map_items(_find_node(root, ("haproxy",)))
    services = _map_items(_find_node(root, ("services",)))
    if len(instances) > 1 or len(services) != 1:
        raise LabError("the lab runs profiles with one HAProxy and one service", EX_CONFIG)
    (service,) = services.values()
    for instance in instances.values():
        yield _edit_scalar(instance, ("socket",), socket)
    yield _edit_scalar(service, ("vip",), f"{vip}/{128 if ':' in vip else 32}")
    if return_timers is not None:
        timers = _find_node(service, ("return",))
        if timers is None:
            raise LabError(
                "the profile's service has no 'return', which the lab shortens", EX_CONFIG
            )
        manual = "manual: true, " if _is_manual(timers) else ""
        flow = manual + ", ".join(f"{name}: {value}" for name, value in return_timers.items())
        yield _Edit(timers.start_mark.index, _text_end(timers), f"{{{flow}}}")
    yield from _edit_conditions(service, socket, shorter=return_timers is not None)


def _edit_regions(root: yaml.Node | None, site: Site, sites: Sequence[Site]) -> Iterator[_Edit]:
    """Yield the edits of `web` and `regions`, if the profile has them."""
    if _find_node(root, ("web",)) is not None:
        yield _edit_scalar(root, ("web", "listen"), f"{site.address}:{WEB_PORT}")
    listed = _find_node(root, ("regions",))
    if listed is not None:
        regions: dict[str, list[Site]] = {}
        for one in sites:
            regions.setdefault(one.region or one.name, []).append(one)
        whole = ", ".join(_describe_region(*region) for region in regions.items())
        yield _Edit(listed.start_mark.index, _text_end(listed), f"[{whole}]")


def _describe_region(name: str, sites: Sequence[Site]) -> str:
    """Return an item of the profile's `regions`; several appliances have a name each."""
    agents = [f'"{site.address}:{WEB_PORT}"' for site in sites]
    if len(sites) == 1:
        return f"{{name: {name}, agent: {agents[0]}}}"
    named = zip(sites, agents, strict=True)
    listed = ", ".join(f"{{name: {site.name}, agent: {agent}}}" for site, agent in named)
    return f"{{name: {name}, agents: [{listed}]}}"


def _is_manual(timers: yaml.Node) -> bool:
    """Return whether a `return` value is manual, in its long or its short form."""
    if isinstance(timers, yaml.ScalarNode):
        return bool(timers.value == "manual")
    manual = _map_items(timers).get("manual")
    return isinstance(manual, yaml.ScalarNode) and manual.value == "true"


def _edit_conditions(service: yaml.Node, socket: str, *, shorter: bool) -> Iterator[_Edit]:
    """Yield the edits of the maintenance map, of session limits and, if ``shorter``, of `fall`."""
    if _find_node(service, ("maintenance",)) is not None:
        yield _edit_scalar(service, ("maintenance", "map"), maintenance_map(socket))
    fall = _find_node(service, ("degraded", "fall"))
    if shorter and isinstance(fall, yaml.ScalarNode) and float(fall.value) > DEGRADED_FALL:
        yield _edit_scalar(service, ("degraded", "fall"), str(DEGRADED_FALL))
    for limited in _find_maps_with(service, "sessions_below"):
        yield _edit_scalar(limited, ("sessions_below",), str(SESSION_LIMIT))


def _find_maps_with(node: yaml.Node | None, key: str) -> Iterator[yaml.Node]:
    """Yield the mappings at or below a node that have a key."""
    pairs = _map_items(node)
    if key in pairs and node is not None:
        yield node
    for child in (*pairs.values(), *_list_items(node)):
        yield from _find_maps_with(child, key)


def maintenance_map(socket: str) -> str:
    """Return the path of the maintenance map, in the directory of HAProxy's stats socket."""
    return f"{socket.rpartition('/')[0]}/maintenance.map"


def admin_socket(socket: str) -> str:
    """Return the path of HAProxy's admin socket, in the directory of its stats socket."""
    return f"{socket.rpartition('/')[0]}/admin.sock"


def _apply_edits(text: str, edits: list[_Edit]) -> str:
    for edit in sorted(edits, key=lambda one: (one.start, one.end), reverse=True):
        text = text[: edit.start] + edit.text + text[edit.end :]
    return text


def _map_items(node: yaml.Node | None) -> dict[str, yaml.Node]:
    if not isinstance(node, yaml.MappingNode):
        return {}
    return {str(key.value): value for key, value in node.value}


def _list_items(node: yaml.Node | None) -> list[yaml.Node]:
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []


def _find_node(node: yaml.Node | None, path: tuple[str, ...]) -> yaml.Node | None:
    for name in path:
        items = _list_items(node)
        if name.isdigit() and int(name) < len(items):
            node = items[int(name)]
        else:
            node = _map_items(node).get(name)
    return node


def _edit_scalar(root: yaml.Node | None, path: tuple[str, ...], value: str) -> _Edit:
    node = _find_node(root, path)
    if not isinstance(node, yaml.ScalarNode):
        raise LabError(f"the profile has no '{'.'.join(path)}', which the lab replaces", EX_CONFIG)
    return _Edit(node.start_mark.index, node.end_mark.index, value)


def _text_end(node: yaml.Node) -> int:
    """Return where a node's text ends; a block's own end mark is where the next node begins."""
    return max(int(leaf.end_mark.index) for leaf in _leaves(node))


def _leaves(node: yaml.Node) -> Iterator[yaml.Node]:
    if isinstance(node, yaml.ScalarNode) or getattr(node, "flow_style", False) or not node.value:
        yield node
        return
    for item in node.value:
        for child in item if isinstance(item, tuple) else (item,):
            yield from _leaves(child)


def adapt_haproxy_file(text: str, site: Site, socket: str, *, fast: bool) -> str:
    """Return the HAProxy file's text with a site's addresses and socket, run as root.

    The servers get the addresses of the site's web servers in order.  With ``fast`` the backends
    use the `fast` defaults instead of the `calm` ones.  The admin socket and the maintenance map,
    which the shipped file has in comments, are enabled.

    Raises LabError (78) when the file does not have the structure of the shipped one.
    """
    for pattern in (r"stats socket \S*/admin\.sock", r"http-request .*map_str\("):
        text = re.sub(rf"^(\s*)#(?={pattern})", r"\1", text, flags=re.MULTILINE)
    # Server failures of a rehearsal do not belong in the machine's own syslog.
    text = re.sub(r"^(?=\s*log\s+/)", "#", text, flags=re.MULTILINE)
    text = re.sub(r"(?<=\s)(user|group)(\s+)\S+", r"\1\2root", _strip_comments(text))
    admin = r"\S*/admin\.sock"
    line = r"^(\s*stats\s+socket\s+)"
    text, sockets = re.subn(rf"{line}(?!{admin})\S+", rf"\g<1>{socket}", text, flags=re.MULTILINE)
    text = re.sub(f"{line}{admin}", rf"\g<1>{admin_socket(socket)}", text, flags=re.MULTILINE)
    text = re.sub(r"map_str\([^,)]*", f"map_str({maintenance_map(socket)}", text)
    addresses = iter(site.web)
    text, servers = re.subn(
        r"^(\s*server\s+\S+\s+)[^\s:]+(:\d+)",
        lambda match: f"{match[1]}{next(addresses, '?')}{match[2]}",
        text,
        flags=re.MULTILINE,
    )
    if (sockets, servers) != (1, len(site.web)):
        raise LabError(
            f"the HAProxy file has {sockets} stats sockets and {servers} servers; "
            f"the lab replaces 1 and {len(site.web)}",
            EX_CONFIG,
        )
    if fast:
        calm = r"^(\s*backend\s+\S+\s+from\s+)calm\b"
        text, chosen = re.subn(calm, r"\g<1>fast", text, flags=re.MULTILINE)
        if not chosen:
            raise LabError(
                "no backend of the HAProxy file is `from calm`: cannot choose fast", EX_CONFIG
            )
    return text


def _strip_comments(text: str) -> str:
    """Return a HAProxy file without its comments, which contain words that look like settings."""
    return re.sub(r"(^|\s)#.*$", "", text, flags=re.MULTILINE)
