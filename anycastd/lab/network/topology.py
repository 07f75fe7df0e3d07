"""The nodes and their addresses: two regions, the ExpressRoute edge (MSEE) and the client.

Each VNet is one bridge, because in Azure every next hop of a VNet is reachable directly:

    client - ce (AS 65020) - msee (AS 12076) -+- gw0, gw1 -- vnet bridge -- ars0, ars1, nva, web
                                              +- the same in the other region
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv4Network

from anycastd.lab.network.namespaces import Nodes

VIP = "203.0.113.10"
"""The anycast address that both regions announce."""
ARS_AS = 65515
"""AS number of route servers and gateways, as in Azure."""
NVA_AS = 65010
"""AS number of the appliances, `local_as` of the shipped profiles."""
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


@dataclass(frozen=True, slots=True)
class Region:
    """A region of the lab: its names, addresses and profile.

    ``short`` is the prefix of its nodes' names; pairs are (first instance, second instance).
    """

    name: str
    title: str
    short: str
    vnet: str
    nva: str
    web: tuple[str, str]
    ars: tuple[str, str]
    gateways: tuple[str, str]
    profile: str

    def node(self, role: str) -> str:
        """Return the name of a node of this region; ``role`` is one of ROLES."""
        return f"{self.short}-{role}"

    @property
    def addresses(self) -> dict[str, tuple[str, ...]]:
        """Return the addresses of the nodes on the VNet's bridge: role -> addresses."""
        return {
            "nva": (self.nva,),
            "web": self.web,
            "ars0": (self.ars[0],),
            "ars1": (self.ars[1],),
            "gw0": (self.gateways[0],),
            "gw1": (self.gateways[1],),
        }


PRIMARY = Region(
    name="northeurope",
    title="North Europe",
    short="ne",
    vnet="172.16.156.0/22",
    nva="172.16.156.70",
    web=("172.16.156.68", "172.16.156.69"),
    ars=("172.16.159.4", "172.16.159.5"),
    gateways=("172.16.158.12", "172.16.158.13"),
    profile="primary.yaml",
)
"""The region to which the MSEE sends while both are preferred."""
SECONDARY = Region(
    name="westeurope",
    title="West Europe",
    short="we",
    vnet="172.16.136.0/22",
    nva="172.16.136.70",
    web=("172.16.136.68", "172.16.136.69"),
    ars=("172.16.139.4", "172.16.139.5"),
    gateways=("172.16.138.12", "172.16.138.13"),
    profile="secondary.yaml",
)
"""The region that takes over."""
REGIONS = (PRIMARY, SECONDARY)
"""Both regions, the preferred one first."""
ROLES = ("vnet", "nva", "web", "ars0", "ars1", "gw0", "gw1")
"""What the nodes of a region are: its bridge, its appliance, its web servers, its routers."""
NODES = (
    *(region.node(role) for region in REGIONS for role in ROLES),
    "msee",
    "ce",
    "client",
)
"""Names of all nodes."""

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
_OWNERS = {
    address: region.node(role)
    for region in REGIONS
    for role, addresses in region.addresses.items()
    for address in addresses
} | {MSEE_ADDRESS: "msee", MSEE_TO_CE: "msee", CE_TO_MSEE: "ce", CE_ADDRESS: "ce", CLIENT: "client"}


def find_node(address: str) -> str:
    """Return the name of the node that has an address; empty where there is none."""
    return _OWNERS.get(address, "")


# A packet may arrive by one gateway and the answer leave by the other: no reverse-path filter.
_ALL_SYSCTLS = (
    "net.ipv4.conf.all.rp_filter=0",
    "net.ipv4.conf.default.rp_filter=0",
    "net.ipv4.conf.all.accept_redirects=0",
    "net.ipv4.conf.default.accept_redirects=0",
    "net.ipv4.conf.all.send_redirects=0",
    "net.ipv4.conf.default.send_redirects=0",
)
_ROUTER_SYSCTLS = ("net.ipv4.ip_forward=1",)
# The client uses the same ports again while an NVA still remembers them (TIME_WAIT, one minute).
# Without this, connections would not be reset when a route moves back meanwhile.
_NVA_SYSCTLS = ("net.ipv4.tcp_max_tw_buckets=0",)


def wire_nodes(nodes: Nodes) -> None:
    """Create the links, addresses and static routes in new namespaces; raises LabError."""
    for node in NODES:
        routes = node in ("msee", "ce") or node.rpartition("-")[2] in ("gw0", "gw1")
        ends = node.endswith("-nva")
        settings = [
            *_ALL_SYSCTLS,
            *(_ROUTER_SYSCTLS if routes else ()),
            *(_NVA_SYSCTLS if ends else ()),
        ]
        nodes.run(node, "sh", "-c", "\n".join(_sysctl_command(setting) for setting in settings))
    for node in NODES:
        links = [line for owner, line in _links(nodes) if owner == node]
        if links:
            nodes.run(node, "ip", "-batch", "-", text="\n".join(links))
    for node in NODES:
        lines = [line for owner, line in _addresses() if owner == node]
        nodes.run(node, "ip", "-batch", "-", text="\n".join(lines))


def _sysctl_command(setting: str) -> str:
    name, _, value = setting.partition("=")
    return f"echo {value} >/proc/sys/{name.replace('.', '/')}"


def _links(nodes: Nodes) -> Iterator[tuple[str, str]]:
    """Yield (node, line for `ip -batch`) for each link; it is created from one of its ends."""

    def veth(here: str, port: str, there: str, far_port: str) -> tuple[str, str]:
        return (
            here,
            f"link add {port} type veth peer name {far_port} netns {nodes.namespace_path(there)}",
        )

    for region in REGIONS:
        vnet = region.node("vnet")
        yield vnet, "link add vnet type bridge forward_delay 0"
        for role in region.addresses:
            yield veth(vnet, role, region.node(role), "eth0")
        for role in ("gw0", "gw1"):
            yield veth("msee", region.node(role), region.node(role), "msee")
    # The VNets are peered: the agents ask each other whether they serve.
    yield veth(PRIMARY.node("vnet"), "peering", SECONDARY.node("vnet"), "peering")
    yield veth("msee", "ce", "ce", "msee")
    yield veth("ce", "eth0", "client", "eth0")


def _addresses() -> Iterator[tuple[str, str]]:
    """Yield (node, line for `ip -batch`) for each address and static route."""
    yield "msee", f"address add {MSEE_ADDRESS}/32 dev lo"
    for region in REGIONS:
        vnet = region.node("vnet")
        yield vnet, "link set vnet up"
        length = IPv4Network(region.vnet).prefixlen
        for role, addresses in region.addresses.items():
            node = region.node(role)
            yield vnet, f"link set {role} master vnet up"
            for address in addresses:
                yield node, f"address add {address}/{length} dev eth0"
            yield node, "link set eth0 up"
        # The link between gateway and MSEE has no subnet of its own, so that the MSEE's table
        # shows the gateways' addresses, as Azure's does.
        for role, address in zip(("gw0", "gw1"), region.gateways, strict=True):
            node = region.node(role)
            yield node, "link set msee up"
            yield node, f"route add {MSEE_ADDRESS} dev msee src {address}"
            yield "msee", f"link set {node} up"
            yield "msee", f"route add {address} dev {node} src {MSEE_ADDRESS}"
        # Azure gives its VMs the routes to on-premises networks; here they are static.
        hops = " ".join(f"nexthop via {address}" for address in region.gateways)
        yield region.node("nva"), f"route add {PREMISES} {hops}"
    for region, other in (REGIONS, REGIONS[::-1]):
        yield region.node("vnet"), "link set peering master vnet up"
        yield region.node("nva"), f"route add {other.nva} dev eth0"
    yield "msee", f"address add {MSEE_TO_CE}/30 dev ce"
    yield "msee", "link set ce up"
    yield "ce", f"address add {CE_TO_MSEE}/30 dev msee"
    yield "ce", "link set msee up"
    yield "ce", f"address add {CE_ADDRESS}/24 dev eth0"
    yield "ce", "link set eth0 up"
    yield "client", f"address add {IPv4Interface(f'{CLIENT}/24')} dev eth0"
    yield "client", "link set eth0 up"
    yield "client", f"route add default via {CE_ADDRESS}"
