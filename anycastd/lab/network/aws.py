"""The network of an AWS VPC: two availability zones, two route server endpoints in each.

The endpoints (FRR) tell the VPC's route table (`vpc`) what they have heard; of equal and unequal
paths it uses one.  An endpoint never dials: the appliances open the sessions.

    client -- vpc -+- az1 bridge -- rse1a, rse1b, inst1, inst1-web
                   +- az2 bridge -- rse2a, rse2b, inst2, inst2-web
"""

from __future__ import annotations

from collections.abc import Iterator

from anycastd.lab.network.topology import Client, Link, Node, Router, Site, Topology

VIP = "172.16.1.1"
"""The floating address: outside the VPC, as its route tables need it."""
VPC = "10.0.0.0/16"
"""The VPC's prefix."""
AMAZON_AS = 65000
"""AS number of the route server."""
LOCAL_AS = 65001
"""AS number of the appliances."""
BFD = "3 300 300"
"""Multiplier and intervals (ms) with which AWS speaks BFD."""
CLIENT = "10.0.3.10"
"""The address of the test instance, in a subnet of its own."""

PICTURE = """\
                       AZ 1: rse1a, rse1b
                    +-- subnet -- inst1 -- inst1-web1,2
  client -- vpc ----+
                    +-- subnet -- inst2 -- inst2-web1,2
                       AZ 2: rse2a, rse2b

  client  asks the VIP without a pause, from a third subnet of the VPC
  vpc     the VPC's route table: one winner (*) for each prefix
  rse1a   an endpoint of the route server; it never dials
  inst1   HAProxy and anycastd; inst2 prepends
"""
"""The nodes, for a terminal of 80 columns."""


def _make_site(zone: int) -> Site:
    return Site(
        name=f"az{zone}",
        title=("First zone", "Second zone")[zone - 1],
        short=f"inst{zone}",
        host=f"inst{zone}",
        address=f"10.0.{zone}.203",
        profile=f"aws-{('primary', 'secondary')[zone - 1]}.yaml",
        networks=(VPC,),
        neighbors=(f"10.0.{zone}.230", f"10.0.{zone}.136"),
        servers=(f"rse{zone}a", f"rse{zone}b"),
        next_hops=(f"10.0.{zone}.203",),
        local_as=LOCAL_AS,
        web=(f"10.0.{zone}.11", f"10.0.{zone}.12"),
        web_host=f"inst{zone}-web",
        bfd=True,
    )


SITES = (_make_site(1), _make_site(2))
"""Both instances, the active one first."""
ACTIVE, STANDBY = SITES


def build_topology() -> Topology:
    """Build the network."""
    return Topology(
        summary="a VPC Route Server, two zones with two endpoints each",
        picture=PICTURE,
        nodes=tuple(_list_nodes()),
        links=tuple(_list_links()),
        routers=tuple(_list_routers()),
        sites=SITES,
        clients=(Client("client", "inside the VPC"),),
        observed="vpc",
        observed_title="the VPC's route table",
        vip=VIP,
        shows_kernel=True,
    )


def _list_hosts(zone: int) -> dict[str, tuple[str, ...]]:
    """Return the nodes of a zone's subnet with their addresses."""
    site = SITES[zone - 1]
    servers = {name: (address,) for name, address in zip(site.servers, site.neighbors, strict=True)}
    return {**servers, site.host: (site.address,), site.web_host: site.web}


def _list_nodes() -> Iterator[Node]:
    for zone, site in enumerate(SITES, 1):
        yield Node(f"az{zone}", bridge="subnet")
        for name, addresses in _list_hosts(zone).items():
            yield Node(
                name,
                {"eth0": tuple(f"{address}/24" for address in addresses)},
                (f"default via 10.0.{zone}.1",),
                ends=name == site.host,
            )
    yield Node("vpc", {f"eth{net}": (f"10.0.{net}.1/24",) for net in (1, 2, 3)}, forwards=True)
    yield Node("client", {"eth0": (f"{CLIENT}/24",)}, ("default via 10.0.3.1",))


def _list_links() -> Iterator[Link]:
    for zone in (1, 2):
        for name in _list_hosts(zone):
            yield Link(f"az{zone}", name, name, "eth0")
        yield Link(f"az{zone}", "vpc", "vpc", f"eth{zone}")
    yield Link("vpc", "eth3", "client", "eth0")


def _list_routers() -> Iterator[Router]:
    for zone, site in enumerate(SITES, 1):
        for name, address in zip(site.servers, site.neighbors, strict=True):
            yield Router(name, "frr", build_endpoint(address, site.address, f"10.0.{zone}.1"))
    yield Router("vpc", "frr", _build_table())


def build_endpoint(address: str, appliance: str, table: str) -> str:
    """Build the configuration of an endpoint: hold time 90, BFD, at most 100 routes.

    It waits for the appliance to dial, and tells it nothing.
    """
    return f"""\
router bgp {AMAZON_AS}
 bgp router-id {address}
 no bgp ebgp-requires-policy
 bgp graceful-restart-disable
 timers bgp 30 90
 neighbor {appliance} remote-as {LOCAL_AS}
 neighbor {appliance} passive
 neighbor {appliance} bfd {BFD}
 neighbor {table} remote-as {AMAZON_AS}
 address-family ipv4 unicast
  neighbor {appliance} maximum-prefix 100
  neighbor {appliance} route-map nothing out
 exit-address-family
!
route-map nothing deny 10
"""


def _build_table() -> str:
    """Return the configuration of the route table: one winner, no multipath."""
    neighbors = "".join(
        f" neighbor {address} remote-as {AMAZON_AS}\n neighbor {address} timers connect 1\n"
        for site in SITES
        for address in site.neighbors
    )
    return f"""\
router bgp {AMAZON_AS}
 bgp router-id 10.0.3.1
 bgp graceful-restart-disable
 timers bgp 30 90
{neighbors} address-family ipv4 unicast
  maximum-paths ibgp 1
 exit-address-family
"""
