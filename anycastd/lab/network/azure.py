"""The Azure network: regions with a VNet each, the ExpressRoute edge (MSEE), and the premises.

Each VNet is one bridge, because in Azure every next hop of a VNet is reachable directly:

    client - ce (AS 65020) - msee (AS 12076) -+- gw0, gw1 -- vnet bridge -- ars0, ars1, nva, web
                                              +- the same in each other region
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network

from anycastd.lab.network import bird
from anycastd.lab.network.topology import LOCAL_AS, Client, Link, Node, Router, Site, Topology

ARS_AS = 65515
"""AS number of route servers and gateways, as in Azure."""
MSEE_AS = 12076
"""AS number of Microsoft's edge router, as in Azure."""
CE_AS = 65020
"""AS number of the customer edge."""
MSEE_ADDRESS = "192.0.2.1"
"""The MSEE's address, to which the gateways have their sessions."""
MSEE_TO_CE = "192.0.2.5"
"""The MSEE's end of the link to the customer edge."""
CE_TO_MSEE = "192.0.2.6"
"""The customer edge's end of the link to the MSEE."""
PREMISES = "198.51.100.0/24"
"""The customer's network, which the customer edge announces."""
CE_ADDRESS = "198.51.100.1"
"""The customer edge's address in the customer's network."""
CLIENT = "198.51.100.10"
"""The client's address in the customer's network."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Region(Site):
    """A region of Azure: its appliance, route servers and gateways; see ``make_region``.

    ``short`` is the prefix of its nodes' names.  With ``inner_client`` (an address) it has a
    client of its own, which knows the routes of its route servers only.
    """

    inner_client: str = ""

    def node(self, role: str) -> str:
        """Return the name of a node: `vnet`, `nva`, `web`, `ars0`, `ars1`, `gw0`, `gw1`."""
        return f"{self.short}-{role}"

    @property
    def vnet(self) -> str:
        """Return the VNet's prefix."""
        return self.networks[0]

    @property
    def nva(self) -> str:
        """Return the appliance's address."""
        return self.address

    @property
    def ars(self) -> tuple[str, ...]:
        """Return the addresses of both instances of the route server."""
        return self.neighbors

    @property
    def gateways(self) -> tuple[str, ...]:
        """Return the addresses of both gateways."""
        return self.next_hops

    @property
    def addresses(self) -> dict[str, tuple[str, ...]]:
        """Return the addresses of the nodes on the VNet's bridge: role -> addresses."""
        found = {
            "nva": (self.nva,),
            "web": self.web,
            "ars0": (self.ars[0],),
            "ars1": (self.ars[1],),
            "gw0": (self.gateways[0],),
            "gw1": (self.gateways[1],),
        }
        return found | ({"user": (self.inner_client,)} if self.inner_client else {})


def make_region(
    name: str, title: str, short: str, network: int, profile: str, *, inner_client: bool = False
) -> Region:
    """Make a region with the VNet 172.16.NETWORK.0/22."""
    here = f"172.16.{network}"
    return Region(
        name=name,
        title=title,
        short=short,
        host=f"{short}-nva",
        address=f"{here}.70",
        profile=profile,
        networks=(f"{here}.0/22",),
        neighbors=(f"172.16.{network + 3}.4", f"172.16.{network + 3}.5"),
        servers=(f"{short}-ars0", f"{short}-ars1"),
        next_hops=(f"172.16.{network + 2}.12", f"172.16.{network + 2}.13"),
        web=(f"{here}.68", f"{here}.69"),
        web_host=f"{short}-web",
        inner_client=f"{here}.80" if inner_client else "",
    )


PRIMARY = make_region("northeurope", "North Europe", "ne", 156, "primary.yaml")
"""The region to which the MSEE sends while both are preferred."""
SECONDARY = make_region("westeurope", "West Europe", "we", 136, "secondary.yaml")
"""The region that takes over."""
REGIONS = (PRIMARY, SECONDARY)
"""Both regions, the preferred one first."""

PICTURE = """\
                          gateways    route servers  appliance  web servers
          North Europe +- ne-gw0,1 -- ne-ars0,1 ---- ne-nva --- ne-web1,2
  client -- ce -- msee +
           West Europe +- we-gw0,1 -- we-ars0,1 ---- we-nva --- we-web1,2

  client   asks the VIP without a pause, behind the customer's router (ce)
  msee     the cloud's far router: its best route says which region gets the
           requests
  nva      HAProxy and anycastd: announces the VIP while it can serve it
"""
"""The nodes, for a terminal of 80 columns."""


def build_topology(
    regions: Sequence[Region] = REGIONS,
    *,
    weights: bool = False,
    summary: str = "two regions, one anycast address",
    picture: str = PICTURE,
) -> Topology:
    """Build the network of these regions, the preferred one first.

    With ``weights`` the MSEE prefers the first region's circuit by a weight, like one with a higher
    connection weight, whatever the AS paths are.
    """
    inner = (Client(each.node("user"), each.title) for each in regions if each.inner_client)
    return Topology(
        summary=summary,
        picture=picture,
        nodes=tuple(_list_nodes(regions)),
        links=tuple(_list_links(regions)),
        routers=tuple(_list_routers(regions, weights=weights)),
        sites=tuple(regions),
        clients=(Client("client", "on premises"), *inner),
        observed="msee",
        observed_title="the MSEE",
        seen_before=(ARS_AS,),
    )


def _list_nodes(regions: Sequence[Region]) -> Iterator[Node]:
    for region in regions:
        length = IPv4Network(region.vnet).prefixlen
        others = tuple(f"{each.nva} dev eth0" for each in regions if each is not region)
        # Azure gives its VMs the routes to on-premises networks; here they are static.
        hops = " ".join(f"nexthop via {address}" for address in region.gateways)
        premises = f"{PREMISES} {hops}"
        yield Node(region.node("vnet"), bridge="vnet")
        for role, addresses in region.addresses.items():
            gateway = role in ("gw0", "gw1")
            # The link between gateway and MSEE has no subnet of its own, so that the MSEE's table
            # shows the gateways' addresses, as Azure's does.
            routes = {
                "nva": (premises, *others),
                # A VM gets the routes of its route servers: here it sends to one of them.
                "user": (f"default via {region.ars[0]}",),
            }.get(role, ())
            yield Node(
                region.node(role),
                {"eth0": tuple(f"{address}/{length}" for address in addresses)},
                (f"{MSEE_ADDRESS} dev msee src {addresses[0]}",) if gateway else routes,
                forwards=gateway or (role == "ars0" and bool(region.inner_client)),
                ends=role == "nva",
            )
    msee = {"lo": (f"{MSEE_ADDRESS}/32",), "ce": (f"{MSEE_TO_CE}/30",)}
    to_gateways = tuple(
        f"{address} dev {region.node(role)} src {MSEE_ADDRESS}"
        for region in regions
        for role, address in zip(("gw0", "gw1"), region.gateways, strict=True)
    )
    yield Node("msee", msee, to_gateways, forwards=True)
    ce = {"msee": (f"{CE_TO_MSEE}/30",), "eth0": (f"{CE_ADDRESS}/24",)}
    yield Node("ce", ce, forwards=True)
    yield Node("client", {"eth0": (f"{CLIENT}/24",)}, (f"default via {CE_ADDRESS}",))


def _list_links(regions: Sequence[Region]) -> Iterator[Link]:
    for number, region in enumerate(regions):
        vnet = region.node("vnet")
        for role in region.addresses:
            yield Link(vnet, role, region.node(role), "eth0")
        for role in ("gw0", "gw1"):
            yield Link("msee", region.node(role), region.node(role), "msee")
        if number:
            # The VNets are peered: the agents ask each other whether they serve.
            peering = "peering" if number == 1 else f"peering{number}"
            yield Link(regions[0].node("vnet"), peering, vnet, "peering")
    yield Link("msee", "ce", "ce", "msee")
    yield Link("ce", "eth0", "client", "eth0")


def _list_routers(regions: Sequence[Region], *, weights: bool) -> Iterator[Router]:
    for region in regions:
        for number, address in enumerate(region.ars):
            yield Router(region.node(f"ars{number}"), "bird", build_route_server(region, address))
        for number, address in enumerate(region.gateways):
            yield Router(region.node(f"gw{number}"), "bird", build_gateway(region, address))
    yield Router("msee", "bird", _build_msee(regions, weights=weights))
    yield Router("ce", "bird", _build_ce())


def build_instance(region_vnet: str, address: str, appliances: Sequence[str]) -> str:
    """Build the BIRD configuration of one instance of an Azure Route Server, without gateways.

    It takes at most 4000 routes per peer, no path with its own AS, no prefix of the VNet.  Its
    protocols are `nva` for the first of the ``appliances`` (addresses), `nva1` and so on.
    """
    text = bird.begin_config(address, ecmp=True)
    text += f"""
protocol direct {{ ipv4; interface "eth0"; }}
filter from_nva {{
    if bgp_path ~ [= * {ARS_AS} * =] then reject;
    if net ~ [ {region_vnet}+ ] then reject;
    accept;
}}
"""
    for number, appliance in enumerate(appliances):
        text += f"""protocol bgp nva{number or ""} from peering {{
    local {address} as {ARS_AS};
    neighbor {appliance} as {LOCAL_AS};
    multihop;
    ipv4 {{
        import filter from_nva;
        import limit 4000 action restart;
        export where source = RTS_BGP;
    }};
}}
"""
    return text


def build_route_server(region: Region, address: str, appliances: Sequence[str] = ()) -> str:
    """Build the configuration of an instance of a region's route server, with both gateways.

    ``appliances`` are the addresses of all appliances (default: the region's own); the gateways
    get the equal paths of all of them.
    """
    text = build_instance(region.vnet, address, appliances or (region.nva,))
    paths = " add paths tx;" if appliances else ""
    for number, gateway in enumerate(region.gateways):
        text += f"""
protocol bgp gw{number} from peering {{
    local {address} as {ARS_AS};
    neighbor {gateway} as {ARS_AS};
    ipv4 {{ import all; export where proto ~ "nva*";{paths} }};
}}
"""
    return text


def build_gateway(region: Region, address: str, *, several: bool = False) -> str:
    """Build the configuration of an ExpressRoute gateway.

    Inside the VNet the NVA stays the next hop; towards the MSEE the gateway is the next hop.
    ``several``: the region has several appliances.
    """
    paths = " add paths rx;" if several else ""
    text = bird.begin_config(address, ecmp=True)
    text += f"""
protocol direct {{ ipv4; interface "eth0"; }}
protocol static {{ ipv4; route {MSEE_ADDRESS}/32 via "msee"; }}
protocol bgp msee from peering {{
    local {address} as {ARS_AS};
    neighbor {MSEE_ADDRESS} as {MSEE_AS};
    multihop 2;
    ipv4 {{ import all; export where source = RTS_BGP; next hop self; }};
}}
"""
    for number, server in enumerate(region.ars):
        text += f"""
protocol bgp ars{number} from peering {{
    local {address} as {ARS_AS};
    neighbor {server} as {ARS_AS};
    ipv4 {{ import all; export where proto = "msee"; next hop self;{paths} }};
}}
"""
    return text


def _build_msee(regions: Sequence[Region], *, weights: bool) -> str:
    """Return the configuration of Microsoft's edge router (MSEE).

    The shortest AS path wins; private ASNs are removed towards the customer.
    """
    text = bird.begin_config(MSEE_ADDRESS)
    for rank, region in enumerate(regions):
        heavier = weights and not rank
        takes = "import filter { bgp_local_pref = 200; accept; }" if heavier else "import all"
        for number, gateway in enumerate(region.gateways):
            port = region.node(f"gw{number}")
            text += f"""
protocol static {{ ipv4; route {gateway}/32 via "{port}"; }}
protocol bgp {port.replace("-", "_")} from peering {{
    local {MSEE_ADDRESS} as {MSEE_AS};
    neighbor {gateway} as {ARS_AS};
    multihop 2;
    ipv4 {{ {takes}; export where proto = "ce"; next hop self; }};
}}
"""
    return (
        text
        + f"""
filter to_ce {{
    if source != RTS_BGP then reject;
    bgp_path.delete([64512..65534]);
    accept;
}}
protocol bgp ce from peering {{
    local {MSEE_TO_CE} as {MSEE_AS};
    neighbor {CE_TO_MSEE} as {CE_AS};
    ipv4 {{ import all; export filter to_ce; next hop self; }};
}}
"""
    )


def _build_ce() -> str:
    """Return the configuration of the customer edge (CE): it announces its own network."""
    return (
        bird.begin_config(CE_TO_MSEE)
        + f"""
protocol static {{ ipv4; route {PREMISES} via "eth0"; }}
protocol bgp msee from peering {{
    local {CE_TO_MSEE} as {CE_AS};
    neighbor {MSEE_TO_CE} as {MSEE_AS};
    ipv4 {{ import all; export where source ~ [ RTS_STATIC, RTS_BGP ]; }};
}}
"""
    )


AZURE = build_topology()
"""Both regions, with the shortest path preferred."""
