"""A VNet with two web servers that have the VIP, and two watchers that announce it for them.

The watchers run no proxy and do not have the VIP.  Their routes have a web server as next hop:

    lt1 (client) - sdn - vnet bridge -- ars0, ars1, ws1, ws2, watch1, watch2
"""

from __future__ import annotations

import sys

from anycastd.lab.network.one_vnet import KERNEL_TABLE, build_route_server, build_table
from anycastd.lab.network.topology import VIP, Client, Link, Node, Program, Router, Site, Topology

VNET = "10.10.0.0/16"
"""The VNet's prefix."""
WEB = {"ws1": "10.10.0.4", "ws2": "10.10.0.5"}
"""Name of a web server -> its address; the first one is preferred."""
_ARS = ("10.10.1.4", "10.10.1.5")
_SDN = "10.10.0.1"
_CLIENT = "10.10.0.6"

PICTURE = """\
           route servers   ars0   ars1
                            |      |
  lt1 -- sdn -------------- VNet 10.10.0.0/16 --------------
                            |      |       |        |
                           ws1    ws2    watch1   watch2

  lt1     asks the VIP without a pause, from inside the VNet
  sdn     the VNet's route table: its route (*) says which web server answers
  ws1     a web server with the VIP, and so is ws2: no BGP, no proxy
  watch1  anycastd: asks both, and announces the VIP with one of them as next
          hop; watch2 does the same with a longer path
"""
"""The nodes, for a terminal of 80 columns."""


def _make_watcher(number: int, profile: str) -> Site:
    name = f"watch{number}"
    return Site(
        name=name,
        title=name,
        short=name,
        host=name,
        address=f"10.10.0.{6 + number}",
        profile=profile,
        networks=(VNET,),
        neighbors=_ARS,
        servers=("ars0", "ars1"),
        next_hops=tuple(WEB.values()),
        region="uksouth",
        edits={"appliance": name},
        haproxy=False,
        vip_port="",
    )


SITES = (_make_watcher(1, "watcher-primary.yaml"), _make_watcher(2, "watcher-secondary.yaml"))
"""Both watchers, the preferred one first."""


def build_topology(window: float) -> Topology:
    """Build the network, with a route table that takes one change per ``window`` seconds."""
    ports = {
        "ars0": _ARS[0],
        "ars1": _ARS[1],
        "sdn": _SDN,
        "lt1": _CLIENT,
        **WEB,
        **{site.host: site.address for site in SITES},
    }
    nodes = [
        Node(
            name,
            {"eth0": (f"{address}/16",), **({"lo": (f"{VIP}/32",)} if name in WEB else {})},
            (f"default via {_SDN}",) if name == "lt1" else (),
            forwards=name == "sdn",
            ends=name in WEB,
        )
        for name, address in ports.items()
    ]
    window_argv = (sys.executable, "-m", "anycastd.lab.programs.route_window", f"{VIP}/32")
    appliances = [site.address for site in SITES]
    return Topology(
        summary="two watchers announce a VIP for two web servers",
        picture=PICTURE,
        nodes=(Node("vnet", bridge="vnet"), *nodes),
        links=tuple(Link("vnet", name, name, "eth0") for name in ports),
        routers=(
            *(
                Router(f"ars{number}", "bird", build_route_server(VNET, address, appliances, _SDN))
                for number, address in enumerate(_ARS)
            ),
            # What one route server tells a moment later than the other is no second path.
            Router("sdn", "bird", build_table(_SDN, _ARS, ecmp=False)),
        ),
        sites=SITES,
        clients=(Client("lt1", "inside the VNet"),),
        observed="sdn",
        observed_title="the VNet's route table",
        shows_kernel=True,
        programs=(
            Program(
                "sdn", "window", (*window_argv, f"--table={KERNEL_TABLE}", f"--window={window:g}")
            ),
            *(make_web_server(name) for name in WEB),
        ),
    )


def make_web_server(name: str) -> Program:
    """Return the web server of a node: it listens on the VIP and on the node's own address."""
    argv = (sys.executable, "-m", "anycastd.lab.programs.web_server", "0.0.0.0")  # noqa: S104
    return Program(name, name, (*argv, name, name, name))
