"""Routes in ExaBGP that cannot be read back: they do not outlive their bound."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from support.appliance import PEERS, Appliance, own_network
from support.bgp_wire import Closed
from support.peer import wait_for
from support.processes import list_children, read_command_line

pytestmark = pytest.mark.root

FOREIGN = "198.51.100.7/32"
# Without a path, ExaBGP prints a row that cannot be read in full.
ANNOUNCE = f"neighbor {PEERS[0]} announce route 198.51.100.7 next-hop 192.0.2.10\n"


def test_a_rib_that_cannot_be_read(tmp_path: Path, exabgp_python: str) -> None:
    """ExaBGP is ended within 10 s, so that all peers lose what nobody can vouch for."""
    with own_network(), Appliance(tmp_path, python=exabgp_python) as one:
        one.start()
        assert one.speaker is not None
        pid = next(
            pid
            for pid in list_children(one.speaker.pid)
            if "lease_process" in read_command_line(pid)
        )
        with open(f"/proc/{pid}/fd/1", "w", encoding="ascii") as pipe:
            pipe.write(ANNOUNCE)
        wait_for(lambda: FOREIGN in one.peers[0].table, 20, f"the foreign route\n{one.log()}")
        assert one.agent is not None
        one.agent.kill()  # the change that its end brings has the rib read back
        began = time.monotonic()
        # A closed session removes its routes (RFC 4271, section 3.1).
        wait_for(lambda: all(peer.list_events(Closed) for peer in one.peers), 20, "closed sessions")
        assert time.monotonic() - began < 13  # ttl 5, five readings a second apart, and some
        assert one.speaker.wait(20) != 0
        assert "times in a row" in one.log()
