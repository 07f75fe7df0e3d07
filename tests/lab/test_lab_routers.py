"""The three makes of routers in one small network: each starts, and is read in the same form."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator

import pytest

from anycastd.lab.network import bird, frr, routers
from anycastd.lab.network.namespaces import LabError, Nodes
from anycastd.lab.network.routers import RunningRouter
from anycastd.lab.network.table import TableRow
from anycastd.lab.network.topology import Client, Link, Node, Router, Topology, wire_nodes

PROGRAMS = [program for make in routers.MAKES.values() for program in make.PROGRAMS]
pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(not all(map(shutil.which, PROGRAMS)), reason="a router is not installed"),
]

NETWORK = "203.0.113.10/32"
ADDRESSES = {"origin": "10.0.0.1", "frr": "10.0.0.2", "gobgp": "10.0.0.3", "bird": "10.0.0.4"}
AS_NUMBERS = {"origin": 65010, "frr": 65002, "gobgp": 65003, "bird": 65004}


def build_origin() -> str:
    """Return the configuration of the BIRD that announces the network to all others."""
    text = bird.begin_config(ADDRESSES["origin"])
    text += (
        f'protocol direct {{ ipv4; }}\nprotocol static {{ ipv4; route {NETWORK} via "eth0"; }}\n'
    )
    for name in ("frr", "gobgp", "bird"):
        text += f"""protocol bgp to_{name} from peering {{
    local {ADDRESSES["origin"]} as {AS_NUMBERS["origin"]};
    neighbor {ADDRESSES[name]} as {AS_NUMBERS[name]};
    ipv4 {{
        import none;
        export filter {{
            if source != RTS_STATIC then reject;
            bgp_med = 50; bgp_path.prepend({AS_NUMBERS["origin"]}); accept;
        }};
    }};
}}
"""
    return text


CONFIGS = {
    "frr": f"""\
router bgp {AS_NUMBERS["frr"]}
 bgp router-id {ADDRESSES["frr"]}
 no bgp ebgp-requires-policy
 neighbor {ADDRESSES["origin"]} remote-as {AS_NUMBERS["origin"]}
""",
    "gobgp": f"""\
[global.config]
  as = {AS_NUMBERS["gobgp"]}
  router-id = "{ADDRESSES["gobgp"]}"
[[neighbors]]
  [neighbors.config]
    neighbor-address = "{ADDRESSES["origin"]}"
    peer-as = {AS_NUMBERS["origin"]}
""",
    "bird": f"""{bird.begin_config(ADDRESSES["bird"])}
protocol direct {{ ipv4; }}
protocol bgp origin from peering {{
    local {ADDRESSES["bird"]} as {AS_NUMBERS["bird"]};
    neighbor {ADDRESSES["origin"]} as {AS_NUMBERS["origin"]};
    ipv4 {{ import all; export none; }};
}}
""",
}


def build_topology(makes: dict[str, str]) -> Topology:
    """Build a bridge with a router on each port."""
    return Topology(
        summary="",
        picture="",
        nodes=(
            Node("lan", bridge="lan"),
            *(Node(name, {"eth0": (f"{each}/24",)}) for name, each in ADDRESSES.items()),
        ),
        links=tuple(Link("lan", name, name, "eth0") for name in ADDRESSES),
        routers=(
            Router("origin", "bird", build_origin()),
            *(Router(name, make, CONFIGS[name]) for name, make in makes.items()),
        ),
        sites=(),
        clients=(Client("origin", ""),),
        observed="bird",
        observed_title="BIRD",
    )


@pytest.fixture(scope="module")
def running() -> Iterator[dict[str, RunningRouter]]:
    """Start them all."""
    topology = build_topology({name: name for name in CONFIGS})
    with Nodes(topology.names) as nodes:
        wire_nodes(nodes, topology)
        yield routers.start_routers(nodes, topology)


def read(router: RunningRouter) -> tuple[TableRow, ...]:
    """Return a router's routes; empty while it does not answer yet."""
    try:
        return router.read_table(NETWORK)
    except OSError:
        return ()


@pytest.mark.parametrize("name", list(CONFIGS))
def test_a_table_has_one_form(running: dict[str, RunningRouter], name: str) -> None:
    """Next hop, path, MED and the best route are the same, whoever tells them."""
    router = running[name]
    deadline = time.monotonic() + 60
    while not any(row.best for row in read(router)):
        assert time.monotonic() < deadline, router.log_tail()
        time.sleep(0.1)
    origin = AS_NUMBERS["origin"]
    assert read(router) == (TableRow(NETWORK, ADDRESSES["origin"], (origin, origin), True, med=50),)
    assert router.read_table("192.0.2.1/32") == ()
    assert list((router.read_sessions() or {}).values()) == [True]
    assert router.is_running()
    assert router.describe_command()


def test_what_frr_refuses_is_an_error(running: dict[str, RunningRouter]) -> None:
    """A command that FRR does not know is no empty answer."""
    with pytest.raises(LabError, match="bgpd refused 'show nonsense'"):
        frr.query_frr(running["frr"].nodes, "frr", "show nonsense")


def test_a_make_that_there_is_not_is_named() -> None:
    """A story with a typo says what there is."""
    with pytest.raises(LabError, match="no make of router quagga; there are: bird, frr, gobgp"):
        routers.list_programs(build_topology({"frr": "quagga"}))
