"""A rehearsal network as one value: nodes, links, routers, appliances and clients.

A story brings its own ``Topology``; ``lab.Lab`` builds any.  A bridge stands for a subnet or a
VNet, because in a cloud every next hop of it is reachable directly.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from anycastd.lab.network.namespaces import Nodes

VIP = "203.0.113.10"
"""The anycast address of the shipped stories."""
LOCAL_AS = 65010
"""AS number of the appliances, `local_as` of the shipped profiles."""

# A packet may arrive by one gateway and the answer leave by the other: no reverse-path filter.
_ALL_SYSCTLS = (
    "net.ipv4.conf.all.rp_filter=0",
    "net.ipv4.conf.default.rp_filter=0",
    "net.ipv4.conf.all.accept_redirects=0",
    "net.ipv4.conf.default.accept_redirects=0",
    "net.ipv4.conf.all.send_redirects=0",
    "net.ipv4.conf.default.send_redirects=0",
)
_ROUTER_SYSCTLS = ("net.ipv4.ip_forward=1", "net.ipv4.fib_multipath_hash_policy=1")
# The client uses the same ports again while an NVA still remembers them (TIME_WAIT, one minute).
# Without this, connections would not be reset when a route moves back meanwhile.
_END_SYSCTLS = ("net.ipv4.tcp_max_tw_buckets=0",)


@dataclass(frozen=True, slots=True)
class Node:
    """A node: a network namespace.

    ``addresses``: port -> addresses with prefix lengths; ``routes`` are arguments of `ip route
    add`, in order.  ``bridge`` is the name of a bridge of which all ports of the node are members.
    ``forwards``: it forwards packets, as routers do.  ``ends``: connections to the VIP end here.
    """

    name: str
    addresses: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    routes: tuple[str, ...] = ()
    bridge: str = ""
    forwards: bool = False
    ends: bool = False


@dataclass(frozen=True, slots=True)
class Link:
    """A link between a port of one node and a port of another."""

    node: str
    port: str
    far_node: str
    far_port: str


@dataclass(frozen=True, slots=True)
class Router:
    """A router: its node, its make (a key of ``routers.MAKES``) and its configuration's text."""

    node: str
    make: str
    config: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """An appliance (one machine that announces the VIP) and the web servers behind it.

    ``name`` is unique in the lab, ``title`` is for people, and `short COMMAND` is a command of the
    prompt.  ``host`` is the node of the appliance, ``address`` its own address.  ``profile`` is a
    file in profiles/, into which the lab puts the addresses; ``edits`` are more values to replace
    (path with dots -> text, as in `services.web.next_hops.0.address`).  In a text, `{directory}` is
    a directory of the appliance's own and `{examples}` that of the shipped examples.  ``neighbors``
    are the addresses of its BGP neighbors in the profile's order, ``servers`` the nodes that have
    these.  ``next_hops`` are those of its routes at the observed router.  ``region`` is the
    profile's region (default: ``name``).

    ``web``: addresses of the web servers, which run on the node ``web_host``.  Without ``haproxy``
    no HAProxy is started.  ``vip_port`` is where the VIP is added on the appliance; empty: nowhere.
    With ``bfd`` the sidecar (`anycastd bfd`) is started, too.
    """

    name: str
    title: str
    short: str
    host: str
    address: str
    profile: str
    networks: tuple[str, ...] = ()
    neighbors: tuple[str, ...] = ()
    servers: tuple[str, ...] = ()
    next_hops: tuple[str, ...] = ()
    local_as: int = LOCAL_AS
    region: str = ""
    edits: Mapping[str, str] = field(default_factory=dict)
    web: tuple[str, ...] = ()
    web_host: str = ""
    haproxy: bool = True
    vip_port: str = "lo"
    bfd: bool = False

    @property
    def letter(self) -> str:
        """Return the character that stands for it in the live view."""
        return self.title[0]


@dataclass(frozen=True, slots=True)
class Program:
    """One more program: its node, its name in the logs, and its command line."""

    node: str
    name: str
    argv: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Client:
    """A client that sends requests to the VIP: its node, and where it is, in words."""

    node: str
    title: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Topology:
    """A whole network; ``lab.Lab`` builds it.

    ``summary`` and ``picture`` (at most 79 columns) are for people.  ``observed`` is the router
    whose routes to the VIP say who gets the requests, ``observed_title`` its name in sentences.
    ``sites``: the preferred one first.  The first of the ``clients`` is the one of the live view.
    ``seen_before`` are the AS numbers that the observed router has before an appliance's own.  With
    ``shows_kernel`` the best routes are those in the observed router's kernel: they may be several,
    and later than what it has heard.  ``programs`` are started after the routers.
    """

    summary: str
    picture: str
    nodes: tuple[Node, ...]
    links: tuple[Link, ...]
    routers: tuple[Router, ...]
    sites: tuple[Site, ...]
    clients: tuple[Client, ...]
    observed: str
    observed_title: str
    vip: str = VIP
    seen_before: tuple[int, ...] = ()
    shows_kernel: bool = False
    programs: tuple[Program, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names of all nodes."""
        return tuple(node.name for node in self.nodes)

    def find_node(self, address: str) -> str:
        """Return the name of the node that has an address; empty where there is none."""
        for node in self.nodes:
            for addresses in node.addresses.values():
                if address in (each.partition("/")[0] for each in addresses):
                    return node.name
        return ""

    def find_site(self, name: str) -> Site:
        """Return the site of a name; raises KeyError where there is none."""
        return {site.name: site for site in self.sites}[name]

    def expected_paths(self, prepends: Mapping[str, int]) -> dict[str, tuple[int, ...]]:
        """Return next hop -> AS path at the observed router.

        ``prepends``: site name -> number of prepended ASNs; a site that is not in it has no path.
        """
        return {
            hop: (*self.seen_before, *([site.local_as] * (prepends[site.name] + 1)))
            for site in self.sites
            if site.name in prepends
            for hop in site.next_hops
        }


def wire_nodes(nodes: Nodes, topology: Topology) -> None:
    """Create the links, addresses and static routes in new namespaces; raises LabError."""
    for node in topology.nodes:
        settings = [
            *_ALL_SYSCTLS,
            *(_ROUTER_SYSCTLS if node.forwards else ()),
            *(_END_SYSCTLS if node.ends else ()),
        ]
        script = "\n".join(_sysctl_command(setting) for setting in settings)
        nodes.run(node.name, "sh", "-c", script)
    for node in topology.nodes:
        lines = [f"link add {node.bridge} type bridge forward_delay 0"] if node.bridge else []
        # A link is created from one of its ends.
        lines += [
            f"link add name {link.port} type veth peer name {link.far_port} "
            f"netns {nodes.namespace_path(link.far_node)}"
            for link in topology.links
            if link.node == node.name
        ]
        if lines:
            nodes.run(node.name, "ip", "-batch", "-", text="\n".join(lines))
    for node in topology.nodes:
        lines = _list_lines(node, _list_ports(topology, node.name))
        if lines:
            nodes.run(node.name, "ip", "-batch", "-", text="\n".join(lines))


def _sysctl_command(setting: str) -> str:
    name, _, value = setting.partition("=")
    return f"echo {value} >/proc/sys/{name.replace('.', '/')}"


def _list_ports(topology: Topology, node: str) -> list[str]:
    near = [link.port for link in topology.links if link.node == node]
    return near + [link.far_port for link in topology.links if link.far_node == node]


def _list_lines(node: Node, ports: list[str]) -> list[str]:
    """Return the lines for `ip -batch` that follow when all links of a node exist."""
    lines = [
        f"address add {address} dev {port}"
        for port, addresses in node.addresses.items()
        for address in addresses
    ]
    if node.bridge:
        lines.append(f"link set {node.bridge} up")
    member = f"master {node.bridge} " if node.bridge else ""
    lines += [f"link set dev {port} {member}up" for port in ports]
    return lines + [f"route add {route}" for route in node.routes]
