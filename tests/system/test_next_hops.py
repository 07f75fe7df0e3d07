"""Next hops and a MED by choice on the wire: one UPDATE that replaces the route, no withdrawal."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.appliance import VIP, Appliance, own_network
from support.bgp_wire import Update
from support.drains import run_anycastd
from support.peer import wait_for
from support.processes import signal_pid

pytestmark = pytest.mark.root

FIRST, SECOND = "192.0.2.21", "192.0.2.22"
PREFIX = f"{VIP}/32"
PROFILE = """\
region: northeurope
platform: plain
lease: {{ttl: {ttl}}}
bgp:
  local_as: 65010
  router_id: 192.0.2.10
  local_address: 192.0.2.10
  neighbors:
    - {{address: 192.0.2.4, peer_as: 65515}}
    - {{address: 192.0.2.5, peer_as: 65515}}
checks:
  ws1: {{file: {ws1}}}
  ws2: {{file: {ws2}}}
  load: {{load: {{memory_available: [1]}}}}
services:
  voip:
    vip: 203.0.113.10/32
    interface: none
    med: {{check: load, steps: [50, 100]}}
    next_hops:
      - {{address: 192.0.2.21, serve: {{check: ws1}}}}
      - {{address: 192.0.2.22, serve: {{check: ws2}}}}
    standby: {{prepend: 6, after: 0.2}}
    failed: withdraw
    return: {{rise: 1, hold_down: 2, hold_down_max: 4, spacing: 1}}
"""


class WatcherNode(Appliance):
    """A watcher: a file for each web server stands for its check."""

    def __init__(self, directory: Path, python: str) -> None:
        self.ws1, self.ws2 = directory / "ws1", directory / "ws2"
        super().__init__(
            directory, python=python, profile=PROFILE, ws1=str(self.ws1), ws2=str(self.ws2)
        )
        for each in (self.ws1, self.ws2):
            each.touch()

    def wait_next_hop(self, address: str | None, timeout: float = 30.0) -> None:
        """Wait until each peer has the route with this next hop, or none (None)."""

        def there() -> bool:
            routes = [peer.table.get(PREFIX) for peer in self.peers]
            return [route and route.next_hop for route in routes] == [address] * len(routes)

        wait_for(there, timeout, f"next hop {address}\n{self.log()}")

    def wait_preferred(self) -> None:
        """Wait until nothing is on its way any more: preferred, with the MED of a low load."""
        self.wait_path(1)
        wait_for(
            lambda: {route.med for peer in self.peers for route in peer.table.values()} == {50},
            20,
            f"the first MED\n{self.log()}",
        )
        wait_for(lambda: self.status()["services"]["voip"]["in_sync"], 20, self.log())

    def list_updates(self, after: float) -> list[list[Update]]:
        """Return what each peer received of the VIP after ``after`` (monotonic clock, s)."""
        found = []
        for peer in self.peers:
            peer.check()
            updates = [each for each in peer.updates if each.at > after]
            found.append(
                [
                    each
                    for each in updates
                    if PREFIX in each.withdrawn or PREFIX in {one.prefix for one in each.announced}
                ]
            )
        return found


@pytest.fixture
def node(tmp_path: Path, exabgp_python: str) -> Iterator[WatcherNode]:
    """Run a watcher at its first next hop."""
    with own_network(), WatcherNode(tmp_path, exabgp_python) as one:
        one.start_speaker()
        one.start_agent()
        one.wait_next_hop(FIRST)
        one.wait_preferred()
        yield one


def assert_replaced(updates: list[list[Update]]) -> None:
    """Assert that each peer received one UPDATE, and that it replaces the route."""
    for received in updates:
        assert [(len(each.announced), each.withdrawn) for each in received] == [(1, ())]


def test_another_next_hop_is_one_update(node: WatcherNode) -> None:
    """Away and back; the lease's own list of routes has all next hops, and nothing is repaired."""
    began_at = time.monotonic()
    node.ws1.unlink()
    node.wait_next_hop(SECOND)
    assert_replaced(node.list_updates(began_at))
    assert all(peer.table[PREFIX].as_path == (65010,) for peer in node.peers)

    back_at = time.monotonic()
    node.ws1.touch()
    node.wait_next_hop(FIRST)
    assert time.monotonic() - began_at >= 2.0, "it is back before its hold-down is over"
    assert_replaced(node.list_updates(back_at))

    said = run_anycastd(node, "explain", "voip").stdout
    assert f"via      {FIRST} announced; serves" in said
    assert f"{SECOND} -> {FIRST}" in said
    gone_at = time.monotonic()
    node.ws1.unlink()
    node.wait_next_hop(SECOND)
    node.ws2.unlink()
    node.wait_next_hop(None)
    for received in node.list_updates(gone_at):
        assert received[-1].withdrawn == (PREFIX,)
    service = node.status()["services"]["voip"]
    assert service["reason"]["name"] == "no_next_hop"
    assert node.status()["lease"]["repairs"] == 0


def test_the_choice_outlives_the_agent(node: WatcherNode) -> None:
    """A killed agent's successor keeps the next hop; a MED that the load asks for is one UPDATE."""
    node.ws1.unlink()
    node.wait_next_hop(SECOND)
    node.wait_preferred()
    assert {peer.table[PREFIX].med for peer in node.peers} == {50}
    killed_at = time.monotonic()
    assert node.agent is not None
    signal_pid(node.agent.pid, signal.SIGKILL)
    node.agent.wait(20)
    # The load that counts as high is another one now: the new agent finds itself at step 1.
    text = node.profile.read_text(encoding="utf-8")
    node.profile.write_text(text.replace("[1]", "[99]"), encoding="utf-8")
    node.start_agent()
    wait_for(
        lambda: {peer.table[PREFIX].med for peer in node.peers if PREFIX in peer.table} == {100},
        40,
        f"the other MED\n{node.log()}",
    )
    assert_replaced(node.list_updates(killed_at))
    assert {peer.table[PREFIX].next_hop for peer in node.peers} == {SECOND}
    # A change is recorded once ExaBGP has confirmed it, after the peers have it.
    wait_for(
        lambda: "MED 50 -> 100" in run_anycastd(node, "history", "voip").stdout, 30, node.log()
    )
