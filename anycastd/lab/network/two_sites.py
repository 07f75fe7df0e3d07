"""Two regions with a router each, and a client near each router: the nearest region answers.

Both announce the VIP with equal paths; the way to the other region is one AS longer:

    client-a - edge-a (AS 65001) -+- a         client-b - edge-b (AS 65002) -+- b
                  |_______________________________________|
"""

from __future__ import annotations

from anycastd.lab.network import bird
from anycastd.lab.network.topology import (
    LOCAL_AS,
    VIP,
    Client,
    Link,
    Node,
    Router,
    Site,
    Topology,
)

EDGE_AS = {"a": 65001, "b": 65002}
"""Letter of a region -> AS number of its router."""
EDGE_LINK = {"a": "192.0.2.1", "b": "192.0.2.2"}
"""Letter of a region -> its router's address on the link between the regions."""
_RACK = {"a": "10.21.0", "b": "10.22.0"}
_USERS = {"a": "198.51.100", "b": "172.16.100"}

PICTURE = """\
  client-a -- edge-a -- a (a-web1,2)        near Region A
                |
  client-b -- edge-b -- b (b-web1,2)        near Region B

  client-a  asks the VIP without a pause, and so does client-b
  edge-a    Region A's router: its kernel's route (*) says who answers client-a
  a, b      HAProxy and anycastd: each announces the VIP with the same path
"""
"""The nodes, for a terminal of 80 columns."""


def _make_site(letter: str) -> Site:
    rack = _RACK[letter]
    return Site(
        name=f"region-{letter}",
        title=letter.upper(),
        short=letter,
        host=letter,
        address=f"{rack}.10",
        profile="geographic.yaml",
        networks=(f"{rack}.0/24",),
        neighbors=(f"{rack}.1",),
        servers=(f"edge-{letter}",),
        next_hops=(f"{rack}.10",),
        edits={"bgp.neighbors.0.peer_as": str(EDGE_AS[letter])},
        web=(f"{rack}.11", f"{rack}.12"),
        web_host=f"{letter}-web",
    )


SITES = (_make_site("a"), _make_site("b"))
"""Both regions."""


def build_topology() -> Topology:
    """Build the network of both regions."""
    nodes: list[Node] = []
    links: list[Link] = [Link("edge-a", "far", "edge-b", "far")]
    for letter, rack in _RACK.items():
        users, edge = _USERS[letter], f"edge-{letter}"
        gateway = (f"default via {rack}.1",)
        nodes += [
            Node(f"rack-{letter}", bridge="rack"),
            Node(
                edge,
                {
                    "rack": (f"{rack}.1/24",),
                    "users": (f"{users}.1/24",),
                    "far": (f"{EDGE_LINK[letter]}/30",),
                },
                forwards=True,
            ),
            Node(letter, {"eth0": (f"{rack}.10/24",)}, gateway, ends=True),
            Node(f"{letter}-web", {"eth0": (f"{rack}.11/24", f"{rack}.12/24")}, gateway),
            Node(f"client-{letter}", {"eth0": (f"{users}.10/24",)}, (f"default via {users}.1",)),
        ]
        links += [
            Link(f"rack-{letter}", "edge", edge, "rack"),
            Link(f"rack-{letter}", "nva", letter, "eth0"),
            Link(f"rack-{letter}", "web", f"{letter}-web", "eth0"),
            Link(edge, "users", f"client-{letter}", "eth0"),
        ]
    return Topology(
        summary="two regions with a router each, and clients near each",
        picture=PICTURE,
        nodes=tuple(nodes),
        links=tuple(links),
        routers=tuple(Router(f"edge-{letter}", "bird", _build_edge(letter)) for letter in _RACK),
        sites=SITES,
        clients=(Client("client-a", "near Region A"), Client("client-b", "near Region B")),
        observed="edge-a",
        observed_title="Region A's router",
    )


def _build_edge(letter: str) -> str:
    """Return the configuration of a region's router."""
    (other,) = (each for each in _RACK if each != letter)
    return f"""{bird.begin_config(f"{_RACK[letter]}.1")}
protocol direct {{ ipv4; interface "rack", "users", "far"; }}
protocol bgp machine from peering {{
    local {_RACK[letter]}.1 as {EDGE_AS[letter]};
    neighbor {_RACK[letter]}.10 as {LOCAL_AS};
    ipv4 {{ import where net = {VIP}/32; export none; }};
}}
protocol bgp far from peering {{
    local {EDGE_LINK[letter]} as {EDGE_AS[letter]};
    neighbor {EDGE_LINK[other]} as {EDGE_AS[other]};
    ipv4 {{
        import all;
        next hop self;
        export where proto = "machine" || ifname = "users" || ifname = "rack";
    }};
}}
"""
