"""The network of one VNet: a pair of route servers, two servers with the VIP, a client.

The route servers tell the VNet's route table (`sdn`) all that they have heard; a window decides
when it changes:

    client -- sdn -- vnet bridge -- ars0, ars1, pri (pri-web), sec (sec-web)
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from anycastd.lab.network import azure, bird
from anycastd.lab.network.topology import Client, Link, Node, Program, Router, Site, Topology

VIP = "10.1.0.5"
"""The anycast address: outside the VNet, as Azure needs it."""
VNET = "10.0.0.0/16"
"""The VNet's prefix."""
_ARS = ("10.0.1.4", "10.0.1.5")
_SDN = "10.0.0.1"
_CLIENT = "10.0.0.4"
KERNEL_TABLE = "100"
"""Table of the kernel into which BIRD writes, and from which the window copies."""

PICTURE = """\
                   route servers   ars0   ars1
                                    |      |
  client -- sdn ------------------ VNet 10.0.0.0/16 ------------
                                    |                  |
                                   pri -- pri-web1,2  sec -- sec-web1,2

  client  asks the VIP without a pause, from inside the VNet
  sdn     the VNet's route table: its routes (*) say who gets the requests; it
          takes one change per window
  pri     HAProxy and anycastd; sec has a longer path
"""
"""The nodes, for a terminal of 80 columns."""


def _make_site(name: str, title: str, short: str, last: int) -> Site:
    return Site(
        name=name,
        title=title,
        short=short,
        host=short,
        address=f"10.0.2.{last}",
        profile=f"one-vnet-{name}.yaml",
        networks=(VNET,),
        neighbors=_ARS,
        servers=("ars0", "ars1"),
        next_hops=(f"10.0.2.{last}",),
        web=(f"10.0.2.{last + 1}", f"10.0.2.{last + 2}"),
        web_host=f"{short}-web",
    )


PRIMARY = _make_site("primary", "Primary", "pri", 10)
"""The server that has the shorter path."""
SECONDARY = _make_site("secondary", "Secondary", "sec", 20)
"""The server that takes over."""
SITES = (PRIMARY, SECONDARY)
"""Both servers."""


def build_topology(window: float) -> Topology:
    """Build the network, with a route table that takes one change per ``window`` seconds."""
    ports = {
        "ars0": (_ARS[0],),
        "ars1": (_ARS[1],),
        "sdn": (_SDN,),
        "client": (_CLIENT,),
        **{site.host: (site.address,) for site in SITES},
        **{site.web_host: site.web for site in SITES},
    }
    hosts = [site.host for site in SITES]
    nodes = [
        Node(
            name,
            {"eth0": tuple(f"{address}/16" for address in addresses)},
            (f"default via {_SDN}",) if name == "client" else (),
            forwards=name == "sdn",
            ends=name in hosts,
        )
        for name, addresses in ports.items()
    ]
    argv = (sys.executable, "-m", "anycastd.lab.programs.route_window", f"{VIP}/32")
    return Topology(
        summary=f"one VNet, two servers; a route table with a window of {window:g} s",
        picture=PICTURE,
        nodes=(Node("vnet", bridge="vnet"), *nodes),
        links=tuple(Link("vnet", name, name, "eth0") for name in ports),
        routers=(
            *(Router(f"ars{number}", "bird", _build_server(_ARS[number])) for number in (0, 1)),
            Router("sdn", "bird", build_table(_SDN, _ARS)),
        ),
        sites=SITES,
        clients=(Client("client", "inside the VNet"),),
        observed="sdn",
        observed_title="the VNet's route table",
        vip=VIP,
        shows_kernel=True,
        programs=(
            Program("sdn", "window", (*argv, f"--table={KERNEL_TABLE}", f"--window={window:g}")),
        ),
    )


def _build_server(address: str) -> str:
    appliances = [site.address for site in SITES]
    return build_route_server(VNET, address, appliances, _SDN)


def build_route_server(vnet: str, address: str, appliances: Sequence[str], table: str) -> str:
    """Build the configuration of a route server that tells a route table all its routes.

    ``table`` is the address of the route table's node.
    """
    text = azure.build_instance(vnet, address, appliances)
    return f"""{text}
protocol bgp sdn from peering {{
    local {address} as {azure.ARS_AS};
    neighbor {table} as {azure.ARS_AS};
    ipv4 {{ import none; export where proto ~ "nva*"; add paths tx; }};
}}
"""


def build_table(address: str, servers: Sequence[str], *, ecmp: bool = True) -> str:
    """Build the configuration of the route table; with ``ecmp`` equal paths are one route.

    ``address`` is its own, ``servers`` are those of the route servers.
    """
    text = bird.begin_config(address, ecmp=ecmp).replace(
        "protocol kernel {", f"protocol kernel {{\n    kernel table {KERNEL_TABLE};"
    )
    text += 'protocol direct { ipv4; interface "eth0"; }\n'
    for number, server in enumerate(servers):
        text += f"""protocol bgp ars{number} from peering {{
    local {address} as {azure.ARS_AS};
    neighbor {server} as {azure.ARS_AS};
    ipv4 {{ import all; export none; add paths rx; }};
}}
"""
    return text
