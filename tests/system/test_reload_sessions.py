"""A reload that changes sessions or VIPs, and the end of sessions, with real parts."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.appliance import VIP, Appliance, own_network
from support.bgp_wire import Closed, Opened
from support.haproxy import until
from support.peer import Peer
from support.reloads import (
    count_updates,
    edit_profile,
    read_instance,
    run_foreground,
    run_reload,
    speaker_settled,
)

pytestmark = pytest.mark.root

THIRD = "192.0.2.6"
SECOND_LINE = "    - {address: 192.0.2.5, peer_as: 65515}\n"


@pytest.fixture
def appliance(tmp_path: Path, exabgp_python: str) -> Iterator[Appliance]:
    """Run an appliance, in the two-process form, whose peers have the preferred route."""
    with own_network(), Appliance(tmp_path, python=exabgp_python, ttl=2, deadline=1) as one:
        one.start()
        yield one


# Sessions and VIPs -------------------------------------------------------------------------------


def test_a_neighbor_is_added_and_removed(appliance: Appliance) -> None:
    """The new neighbor gets the route, and a Cease at its end; the others receive nothing."""
    subprocess.run(["ip", "address", "add", f"{THIRD}/32", "dev", "lo"], check=True)
    before = count_updates(appliance)
    line = SECOND_LINE.replace("192.0.2.5", THIRD)
    with Peer(THIRD, 179) as third:
        edit_profile(appliance, (SECOND_LINE, SECOND_LINE + line))
        done = run_reload(appliance)
        assert done.returncode == 0, done.stderr
        third.wait(lambda it: f"{VIP}/32" in it.table, 30)
        until(lambda: speaker_settled(appliance), 30)
        until(lambda: appliance.status()["neighbors"][THIRD]["session"] == "up", 20)
        edit_profile(appliance, (line, ""))
        assert run_reload(appliance).returncode == 0
        (closed,) = third.wait(lambda it: it.list_events(Closed), 30)
        assert (closed.code, closed.subcode) == (6, 3)
    until(lambda: speaker_settled(appliance), 30)
    assert count_updates(appliance) == before
    assert THIRD not in appliance.status()["neighbors"]
    assert not [peer for peer in appliance.peers if peer.list_events(Closed)]


def test_sessions_that_must_reset_do_so_one_at_a_time(appliance: Appliance) -> None:
    """The hold time of both changes: at each moment one of them has the route."""
    edit_profile(appliance, ("local_as: 65010\n", "local_as: 65010\n  hold_time: 30\n"))
    assert run_reload(appliance).returncode == 0
    for peer in appliance.peers:
        peer.wait(
            lambda it: len(it.list_events(Opened)) == 2, 60, "the session with the new hold time"
        )
        peer.wait(lambda it: f"{VIP}/32" in it.table, 20)
        assert peer.list_events(Opened)[-1].hold_time == 30
        assert [closed.code for closed in peer.list_events(Closed)] == [6]
    until(lambda: speaker_settled(appliance), 30)
    spans = sorted(
        (peer.list_events(Closed)[0].at, peer.updates[-1].at) for peer in appliance.peers
    )
    assert spans[0][1] < spans[1][0], "the second one closed before the first had its route again"
    until(lambda: appliance.status()["services"]["web"]["in_sync"], 20)
    assert appliance.status()["services"]["web"]["level"] == "preferred"


def test_a_vip_is_added_and_removed(appliance: Appliance) -> None:
    """The lease process takes the VIP over without a change to any session."""
    text = appliance.profile.read_text(encoding="utf-8")
    service = text[text.index("  web:") :]
    second = service.replace("  web:", "  two:").replace(VIP, "203.0.113.11")
    appliance.profile.write_text(text + second, encoding="utf-8")
    done = run_reload(appliance)
    assert done.returncode == 0, done.stderr
    for peer in appliance.peers:
        peer.wait(lambda it: "203.0.113.11/32" in it.table, 30)
    appliance.profile.write_text(text, encoding="utf-8")
    assert run_reload(appliance).returncode == 0
    for peer in appliance.peers:
        peer.wait(lambda it: set(it.table) == {f"{VIP}/32"}, 30)
        assert not peer.list_events(Closed)
        assert not [update for update in peer.updates if f"{VIP}/32" in update.withdrawn]


def test_a_plan_says_what_would_be_and_does_nothing(appliance: Appliance) -> None:
    """It prints sessions that reset, with the reason, and routes that change."""
    before, was = count_updates(appliance), read_instance(appliance)
    assert "no change" in run_reload(appliance, "--plan").stdout
    line = SECOND_LINE.replace("192.0.2.5", THIRD)
    edit_profile(
        appliance,
        (SECOND_LINE, SECOND_LINE.replace("65515", "65515, hold_time: 30") + line),
        ("    prepend: 0", "    prepend: 1"),
    )
    done = run_reload(appliance, "--plan")
    assert done.returncode == 0, done.stderr
    new = "announced once its session is up (preferred): 65010 65010"
    replaced = "replaced (preferred): as path 65010 -> 65010 65010"
    lines = [
        "sessions 192.0.2.4: stays 192.0.2.5: resets (hold time 9 -> 30) 192.0.2.6: added",
        f"routes web 203.0.113.10/32: 192.0.2.4: {replaced}",
        f"web 203.0.113.10/32: 192.0.2.5: {replaced}",
        f"web 203.0.113.10/32: 192.0.2.6: {new}",
    ]
    assert " ".join(done.stdout.split()).endswith(" ".join(lines)), done.stdout
    edit_profile(appliance, ("    prepend: 1", "    prepend: x"))
    assert run_reload(appliance, "--plan").returncode == 78
    assert read_instance(appliance) == was
    assert count_updates(appliance) == before


# The end -----------------------------------------------------------------------------------------


def test_a_speaker_that_is_stopped_says_cease(appliance: Appliance) -> None:
    """A Cease with the subcode administrative shutdown (RFC 4486)."""
    assert appliance.speaker is not None
    appliance.speaker.terminate()
    assert appliance.speaker.wait(30) == 0
    for peer in appliance.peers:
        (closed,) = peer.wait(lambda it: it.list_events(Closed), 20, "the session to close")
        assert (closed.code, closed.subcode) == (6, 2)


def test_in_the_foreground_it_withdraws_first(tmp_path: Path) -> None:
    """The withdrawal is sent before the Cease."""
    with run_foreground(tmp_path) as one:
        assert one.agent is not None
        one.agent.terminate()
        assert one.agent.wait(30) == 0
        for peer in one.peers:
            (closed,) = peer.wait(lambda it: it.list_events(Closed), 20, "the session to close")
            assert (closed.code, closed.subcode) == (6, 2)
            assert peer.updates[-1].withdrawn == (f"{VIP}/32",)
            assert peer.updates[-1].at <= closed.at
