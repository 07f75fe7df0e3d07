"""A data center: machines that announce the VIP themselves, behind one router, and a client.

The router shares connections among equal paths (ECMP), and prefers a lower MED:

    client - core (AS 65000) - rack bridge -- a, b, c (AS 65010 each)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

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

CORE_AS = 65000
"""AS number of the router."""
RACK = "10.20.0.0/24"
"""The network of the machines."""
_CORE = "10.20.0.1"
_UPLINK, _CLIENT = "198.51.100.1", "198.51.100.10"

PICTURE = """\
  client -- core -- rack -+- a
                          +- b
                          +- c

  client  asks the VIP without a pause
  core    the router: its kernel's routes (*) say who gets the requests
  a, b    machines with the VIP: each announces it while it can serve it
"""
"""The nodes, for a terminal of 80 columns."""


def make_machine(
    letter: str,
    profile: str,
    *,
    proxied: bool,
    edits: Mapping[str, str] | None = None,
) -> Site:
    """Make the machine with this letter.

    ``proxied``: it has HAProxy, and two web servers behind it.  Otherwise its own web server has
    the VIP, and no HAProxy runs.  ``edits`` as in ``Site``.
    """
    last = 10 * (ord(letter) - ord("a") + 1)
    behind = (f"10.20.0.{last + 1}", f"10.20.0.{last + 2}")
    return Site(
        name=f"machine-{letter}",
        title=letter.upper(),
        short=letter,
        host=letter,
        address=f"10.20.0.{last}",
        profile=profile,
        networks=(RACK,),
        neighbors=(_CORE,),
        servers=("core",),
        next_hops=(f"10.20.0.{last}",),
        edits=edits or {},
        web=behind if proxied else (VIP,),
        web_host=f"{letter}-web" if proxied else letter,
        haproxy=proxied,
    )


def build_topology(sites: Sequence[Site], summary: str) -> Topology:
    """Build the network of these machines."""
    ports: dict[str, tuple[str, ...]] = {site.host: (site.address,) for site in sites}
    ports |= {site.web_host: site.web for site in sites if site.haproxy}
    nodes = [
        Node(
            name,
            {"eth0": tuple(f"{address}/24" for address in addresses)},
            (f"default via {_CORE}",),
            ends=name in {site.host for site in sites},
        )
        for name, addresses in ports.items()
    ]
    core = Node("core", {"rack": (f"{_CORE}/24",), "uplink": (f"{_UPLINK}/24",)}, forwards=True)
    client = Node("client", {"eth0": (f"{_CLIENT}/24",)}, (f"default via {_UPLINK}",))
    return Topology(
        summary=summary,
        picture=PICTURE,
        nodes=(Node("rack", bridge="rack"), core, client, *nodes),
        links=(
            Link("rack", "core", "core", "rack"),
            Link("core", "uplink", "client", "eth0"),
            *(Link("rack", name, name, "eth0") for name in ports),
        ),
        routers=(Router("core", "bird", _build_core(sites)),),
        sites=tuple(sites),
        clients=(Client("client", "behind the router"),),
        observed="core",
        observed_title="the router",
        shows_kernel=True,
    )


def _build_core(sites: Sequence[Site]) -> str:
    """Return the configuration of the router: equal paths are one route (ECMP)."""
    text = bird.begin_config(_CORE, ecmp=True)
    text += 'protocol direct { ipv4; interface "rack"; }\n'
    for site in sites:
        text += f"""protocol bgp {site.host} from peering {{
    local {_CORE} as {CORE_AS};
    neighbor {site.address} as {LOCAL_AS};
    ipv4 {{ import where net = {VIP}/32; export none; }};
}}
"""
    return text
