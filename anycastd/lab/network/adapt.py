"""The shipped profiles and HAProxy file with the lab's addresses in them, all else as it is."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import yaml

from anycastd.lab.network.namespaces import EX_CONFIG, LabError
from anycastd.lab.network.topology import REGIONS, VIP, Region

RETURN = {"rise": 2, "hold_down": 4, "hold_down_max": 4, "spacing": 2}
"""The story's return timers, in seconds: a person waits for them."""
DRAIN = {"wait": 3, "linger": 2, "stop": 4}
"""The story's times of a drain, in seconds, for the same reason."""
FALL = 2
"""The story's `degraded.fall`, in seconds, likewise."""
SESSIONS = 50
"""The story's limit of sessions: a crowd that the lab can send."""
WEB_PORT = 9480


@dataclass(frozen=True, slots=True)
class _Edit:
    start: int
    end: int
    text: str


def profile(
    text: str,
    region: Region,
    socket: str,
    back: Mapping[str, float] | None = RETURN,
    drain: Mapping[str, float] | None = None,
) -> str:
    """Return a profile's text with a region's addresses, its HAProxy socket and return timers.

    Its map of maintenance is the lab's, its limits of sessions and, with ``back``, its `fall` are
    ones for a story.  The text is edited in place of the values alone, so that everything else
    (comments, and words that YAML reads differently in its versions) stays what the operator wrote.
    ``back`` None leaves the timers, ``drain`` None those of a drain.  Raises LabError when the
    profile has not the shape of the shipped ones.
    """
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    edits = [
        _scalar(root, ("region",), region.name),
        _scalar(root, ("bgp", "router_id"), region.nva),
        _scalar(root, ("bgp", "local_address"), region.nva),
    ]
    networks = _find(root, ("networks",))
    if networks is not None:
        edits.append(_Edit(networks.start_mark.index, _end(networks), f"[{region.vnet}]"))
    neighbors = _items(_find(root, ("bgp", "neighbors")))
    if len(neighbors) != len(region.ars):
        raise LabError(
            f"the profile has {len(neighbors)} neighbors, the lab's regions have 2", EX_CONFIG
        )
    for neighbor, address in zip(neighbors, region.ars, strict=True):
        edits.append(_scalar(neighbor, ("address",), address))
    instances = _pairs(_find(root, ("haproxy",)))
    services = _pairs(_find(root, ("services",)))
    if len(instances) != 1 or len(services) != 1:
        raise LabError("the lab runs profiles with one HAProxy and one service", EX_CONFIG)
    edits.extend(_scalar(instance, ("socket",), socket) for instance in instances.values())
    for service in services.values():
        edits.append(_scalar(service, ("vip",), f"{VIP}/32"))
        if back is not None:
            timers = _find(service, ("return",))
            if timers is None:
                raise LabError(
                    "the profile's service has no 'return', which the lab shortens", EX_CONFIG
                )
            by_hand = "manual: true, " if _is_manual(timers) else ""
            flow = by_hand + ", ".join(f"{name}: {value}" for name, value in back.items())
            edits.append(_Edit(timers.start_mark.index, _end(timers), f"{{{flow}}}"))
    edits.extend(_between_regions(root, region))
    edits.extend(_conditions(services.values(), socket, shorter=back is not None))
    if drain is not None:
        flow = ", ".join(f"{name}: {value}" for name, value in drain.items())
        times = _find(root, ("drain",))
        if times is None:
            text = f"{text.rstrip()}\n\ndrain: {{{flow}}}\n"
        else:
            edits.append(_Edit(times.start_mark.index, _end(times), f"{{{flow}}}"))
    return _apply(text, edits)


def _between_regions(root: yaml.Node | None, region: Region) -> Iterator[_Edit]:
    """Yield what makes the regions' agents find each other, where the profile has that at all."""
    if _find(root, ("web",)) is not None:
        yield _scalar(root, ("web", "listen"), f"{region.nva}:{WEB_PORT}")
    listed = _find(root, ("regions",))
    if listed is not None:
        whole = ", ".join(f'{{name: {one.name}, agent: "{one.nva}:{WEB_PORT}"}}' for one in REGIONS)
        yield _Edit(listed.start_mark.index, _end(listed), f"[{whole}]")


def _is_manual(timers: yaml.Node) -> bool:
    """Whether a `return` says that a person has to say so, in its long or its short form."""
    if isinstance(timers, yaml.ScalarNode):
        return bool(timers.value == "manual")
    manual = _pairs(timers).get("manual")
    return isinstance(manual, yaml.ScalarNode) and manual.value == "true"


def _conditions(services: Iterable[yaml.Node], socket: str, *, shorter: bool) -> Iterator[_Edit]:
    """Yield what makes the map of maintenance the lab's, and times and limits fit for a story."""
    for service in services:
        if _find(service, ("maintenance",)) is not None:
            yield _scalar(service, ("maintenance", "map"), maintenance_map(socket))
        if shorter and _find(service, ("degraded", "fall")) is not None:
            yield _scalar(service, ("degraded", "fall"), str(FALL))
        for limited in _named(service, "sessions_below"):
            yield _scalar(limited, ("sessions_below",), str(SESSIONS))


def _named(node: yaml.Node | None, key: str) -> Iterator[yaml.Node]:
    """Yield the mappings below a node that have a key."""
    pairs = _pairs(node)
    if key in pairs and node is not None:
        yield node
    for child in (*pairs.values(), *_items(node)):
        yield from _named(child, key)


def maintenance_map(socket: str) -> str:
    """Return the file with the entries of maintenance, beside HAProxy's stats socket."""
    return f"{socket.rpartition('/')[0]}/maintenance.map"


def admin_socket(socket: str) -> str:
    """Return HAProxy's socket for administrators, beside the agent's."""
    return f"{socket.rpartition('/')[0]}/admin.sock"


def _apply(text: str, edits: list[_Edit]) -> str:
    for edit in sorted(edits, key=lambda one: (one.start, one.end), reverse=True):
        text = text[: edit.start] + edit.text + text[edit.end :]
    return text


def _pairs(node: yaml.Node | None) -> dict[str, yaml.Node]:
    if not isinstance(node, yaml.MappingNode):
        return {}
    return {str(key.value): value for key, value in node.value}


def _items(node: yaml.Node | None) -> list[yaml.Node]:
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []


def _find(node: yaml.Node | None, path: tuple[str, ...]) -> yaml.Node | None:
    for name in path:
        node = _pairs(node).get(name)
    return node


def _scalar(root: yaml.Node | None, path: tuple[str, ...], value: str) -> _Edit:
    node = _find(root, path)
    if not isinstance(node, yaml.ScalarNode):
        raise LabError(f"the profile has no '{'.'.join(path)}', which the lab fills in", EX_CONFIG)
    return _Edit(node.start_mark.index, node.end_mark.index, value)


def _end(node: yaml.Node) -> int:
    """Return where a node's text ends: a block's own mark is where the next thing begins."""
    return max(int(leaf.end_mark.index) for leaf in _leaves(node))


def _leaves(node: yaml.Node) -> Iterator[yaml.Node]:
    if isinstance(node, yaml.ScalarNode) or getattr(node, "flow_style", False) or not node.value:
        yield node
        return
    for item in node.value:
        for child in item if isinstance(item, tuple) else (item,):
            yield from _leaves(child)


def haproxy(text: str, region: Region, socket: str, *, fast: bool) -> str:
    """Return the HAProxy file's text with a region's addresses and socket, run as root.

    The servers get the addresses of the region's web servers in order; with ``fast`` the backends
    take the `fast` defaults instead of the `calm` ones.  What operators need for a story, the
    administrators' socket and the map of maintenance, is no comment any more.  Raises LabError
    when the file has not the shape of the shipped one.
    """
    for words in (r"stats socket \S*/admin\.sock", r"http-request .*map_str\("):
        text = re.sub(rf"^(\s*)#(?={words})", r"\1", text, flags=re.MULTILINE)
    # The machine's own syslog shall not hear of servers that die in a rehearsal.
    text = re.sub(r"^(?=\s*log\s+/)", "#", text, flags=re.MULTILINE)
    text = re.sub(r"(?<=\s)(user|group)(\s+)\S+", r"\1\2root", _code_only(text))
    admin = r"\S*/admin\.sock"
    line = r"^(\s*stats\s+socket\s+)"
    text, sockets = re.subn(rf"{line}(?!{admin})\S+", rf"\g<1>{socket}", text, flags=re.MULTILINE)
    text = re.sub(f"{line}{admin}", rf"\g<1>{admin_socket(socket)}", text, flags=re.MULTILINE)
    text = re.sub(r"map_str\([^,)]*", f"map_str({maintenance_map(socket)}", text)
    addresses = iter(region.web)
    text, servers = re.subn(
        r"^(\s*server\s+\S+\s+)[^\s:]+(:\d+)",
        lambda match: f"{match[1]}{next(addresses, '?')}{match[2]}",
        text,
        flags=re.MULTILINE,
    )
    if (sockets, servers) != (1, len(region.web)):
        raise LabError(
            f"the HAProxy file has {sockets} stats sockets and {servers} servers; "
            f"the lab fills in 1 and {len(region.web)}",
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


def _code_only(text: str) -> str:
    """Return a HAProxy file without its comments, whose words look like settings."""
    return re.sub(r"(^|\s)#.*$", "", text, flags=re.MULTILINE)
