"""Two regions of Azure with two appliances each, one in each availability zone (AZ).

It is the network of ``azure``, with a second appliance and its web servers in each VNet.  The
gateways share connections between a region's appliances by equal paths (ECMP).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Network

from anycastd.lab.network.azure import (
    PREMISES,
    PRIMARY,
    SECONDARY,
    Region,
    build_gateway,
    build_route_server,
    build_topology,
)
from anycastd.lab.network.topology import Link, Node, Router, Site, Topology

PICTURE = """\
                          gateways    route servers  appliances   web servers
          North Europe +- ne-gw0,1 -- ne-ars0,1 --+- ne-1 (AZ 1)  ne-1-web1,2
  client -- ce -- msee +                          +- ne-2 (AZ 2)  ne-2-web1,2
           West Europe +- we-gw0,1 -- we-ars0,1 --+- we-1 (AZ 1)  we-1-web1,2
                                                  +- we-2 (AZ 2)  we-2-web1,2

  client   asks the VIP without a pause, behind the customer's router (ce)
  msee     the cloud's far router: its best route says which region gets the
           requests; the region's gateways share them between its appliances
"""
"""The nodes, for a terminal of 80 columns."""


def _name_twins(region: Region, profile: str) -> tuple[Site, Site]:
    """Return both appliances of a region; the first one is the region's own of ``azure``."""
    names = (f"{region.short}-1", f"{region.short}-2")
    here = region.address.rpartition(".")[0]
    first = replace(
        region,
        name=names[0],
        title=names[0],
        region=region.name,
        profile=profile,
        edits={"appliance": names[0]},
    )
    second = Site(
        name=names[1],
        title=names[1],
        short=f"{region.short}2",
        host=f"{region.short}-nva2",
        address=f"{here}.170",
        profile=profile,
        networks=region.networks,
        neighbors=region.neighbors,
        servers=region.servers,
        next_hops=region.next_hops,
        region=region.name,
        edits={"appliance": names[1]},
        web=(f"{here}.168", f"{here}.169"),
        web_host=f"{region.short}-webs2",
    )
    return first, second


NORTH = _name_twins(PRIMARY, "twins-primary.yaml")
"""The appliances of the preferred region."""
WEST = _name_twins(SECONDARY, "twins-secondary.yaml")
"""The appliances of the region that takes over."""
_REGIONS = ((PRIMARY, NORTH), (SECONDARY, WEST))


def build_twins() -> Topology:
    """Build the network with two appliances in each region."""
    base = build_topology((PRIMARY, SECONDARY))
    more = tuple(_list_second_nodes())
    everybody = (*NORTH, *WEST)
    nodes = tuple(_add_peers(node, everybody) for node in (*base.nodes, *more))
    links = tuple(
        Link(region.node("vnet"), role, node, "eth0")
        for region, (_, second) in _REGIONS
        for role, node in (("nva2", second.host), ("web2", second.web_host))
    )
    return replace(
        base,
        summary="two regions with two appliances each",
        picture=PICTURE,
        nodes=nodes,
        links=(*base.links, *links),
        routers=tuple(_share(router) for router in base.routers),
        sites=everybody,
    )


def _list_second_nodes() -> Iterator[Node]:
    for region, (_, second) in _REGIONS:
        length = IPv4Network(region.vnet).prefixlen
        hops = " ".join(f"nexthop via {address}" for address in region.gateways)
        appliance = {"eth0": (f"{second.address}/{length}",)}
        yield Node(second.host, appliance, (f"{PREMISES} {hops}",), ends=True)
        yield Node(
            second.web_host, {"eth0": tuple(f"{address}/{length}" for address in second.web)}
        )


def _add_peers(node: Node, sites: tuple[Site, ...]) -> Node:
    """Give an appliance's node the ways to all appliances of the other region."""
    mine = next((site for site in sites if site.host == node.name), None)
    if mine is None:
        return node
    others = (site.address for site in sites if site.region != mine.region)
    ways = tuple(f"{address} dev eth0" for address in others)
    known = tuple(route for route in node.routes if route not in ways)
    return replace(node, routes=(*known, *ways))


def _share(router: Router) -> Router:
    """Return a router that has the equal paths of both appliances of its region."""
    for region, twins in _REGIONS:
        addresses = tuple(site.address for site in twins)
        for number, address in enumerate(region.ars):
            if router.node == region.node(f"ars{number}"):
                return replace(router, config=build_route_server(region, address, addresses))
        for number, address in enumerate(region.gateways):
            if router.node == region.node(f"gw{number}"):
                return replace(router, config=build_gateway(region, address, several=True))
    return router
