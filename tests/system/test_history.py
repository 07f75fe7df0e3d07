"""What has happened is recorded, shown and kept: a real agent, HAProxy, ExaBGP and BGP peers."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.appliance import Appliance, own_network
from support.drains import run_anycastd
from support.full_disk import full_disk
from support.peer import wait_for

pytestmark = pytest.mark.root


@pytest.fixture
def one(tmp_path: Path) -> Iterator[Appliance]:
    """Run an appliance that announces."""
    with own_network(), Appliance(tmp_path) as appliance:
        appliance.start()
        yield appliance


def read(appliance: Appliance, *options: str) -> list[dict[str, Any]]:
    """Return the events that `anycastd history` shows."""
    done = run_anycastd(appliance, "history", "--json", "--since", "1d", *options)
    assert done.returncode in (0, 69), done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def wait_event(appliance: Appliance, kind: str, text: str = "", after: int = 0) -> dict[str, Any]:
    """Wait for an event of a kind with a text in it, and return the newest one."""
    found: list[dict[str, Any]] = []

    def there() -> bool:
        found[:] = [
            each
            for each in read(appliance)
            if each["kind"] == kind and text in each["text"] and each["number"] > after
        ]
        return bool(found)

    wait_for(there, 60, f"an event {kind} with {text!r}\n{appliance.log()}")
    return found[-1]


def test_a_session_that_is_lost_is_recorded_with_its_words(one: Appliance) -> None:
    """In the history and in the log, with the neighbor's own reason; so is its return."""
    start = wait_event(one, "agent_started")
    assert "1 service, 2 neighbors" in start["text"]
    one.peers[0].drop(6, 2)
    lost = wait_event(one, "session_lost")
    assert lost["neighbor"] == one.peers[0].address
    assert "administrative shutdown (6/2)" in lost["text"]
    assert (lost["fields"]["code"], lost["fields"]["subcode"]) == (6, 2)
    found = wait_event(one, "session_found", after=lost["number"])
    assert (found["neighbor"], found["fields"]["hold_time_s"]) == (lost["neighbor"], 9)
    # A thread of its own writes the log.
    for event in (lost, found):
        wait_for(lambda: event["text"] in one.log(), 20, one.log())  # noqa: B023
    others = [each for each in read(one) if each["neighbor"] == one.peers[1].address]
    assert not [each for each in others if each["kind"] == "session_lost"]


def test_the_history_outlives_agents(one: Appliance) -> None:
    """A reload, a restart and a kill: every change is there, that of the lease too."""
    up = wait_event(one, "transition", "-> preferred")
    assert up["reason"] == "serving"
    assert up["fields"]["acknowledged_ms"] is not None
    assert run_anycastd(one, "reload").returncode == 0
    done = wait_event(one, "reload_done", "by root")
    one.wait_path(1)
    assert one.agent is not None
    one.agent.terminate()
    assert one.agent.wait(20) == 0
    kept = read(one, "--state", one.directory_of("state"))
    assert [each["kind"] for each in kept if each["number"] >= done["number"]][
        -1
    ] == "agent_stopped"
    one.wait_path(0)  # the lease is over
    one.start_agent()
    missed = wait_event(one, "transition", "no agent was there", after=done["number"])
    assert (missed["reason"], missed["fields"]["from"]) == ("lease_expired", "preferred")
    one.wait_path(1)
    one.agent.kill()
    one.agent.wait()
    one.start_agent()
    again = wait_event(one, "agent_started", after=missed["number"])
    numbers = [each["number"] for each in read(one)]
    assert numbers == sorted(set(numbers))
    assert numbers[0] < up["number"] < done["number"] < missed["number"] < again["number"]


def test_a_lease_that_expires_is_a_change(one: Appliance) -> None:
    """The withdrawal that nobody decided: in the history, the log and `explain`."""
    assert one.agent is not None
    one.agent.send_signal(signal.SIGSTOP)
    one.wait_path(0)
    one.agent.send_signal(signal.SIGCONT)
    change = wait_event(one, "transition", "the lease expired")
    levels = (change["fields"]["from"], change["fields"]["to"], change["reason"])
    assert levels == ("preferred", "withdrawn", "lease_expired")
    wait_event(one, "lease_expired")
    one.wait_path(1)
    wait_for(lambda: change["text"] in one.log(), 20, one.log())
    told = run_anycastd(one, "explain", "web", "--json")
    changes = json.loads(told.stdout)["services"]["web"]["changes"]
    assert "lease_expired" in [each["reason"]["name"] for each in changes]


def test_haproxy_and_operators_are_recorded(one: Appliance) -> None:
    """HAProxy gone and back; a drain with who began and who ended it; a refused reload."""
    one.haproxy.stop()
    wait_event(one, "haproxy_gone")
    one.haproxy.start()
    wait_event(one, "haproxy_back")
    assert run_anycastd(one, "drain", "--reason", "new kernel", "--force").returncode == 0
    began = wait_event(one, "drain_began")
    assert (began["fields"]["by"], began["fields"]["why"]) == ("root", "new kernel")
    assert run_anycastd(one, "undrain").returncode == 0
    assert wait_event(one, "drain_ended")["fields"]["by"] == "root"
    one.profile.write_text("region: [", encoding="utf-8")
    assert run_anycastd(one, "reload").returncode == 78
    wait_event(one, "reload_refused", str(one.profile))


def test_people_see_eighty_columns(one: Appliance) -> None:
    """Whatever is in it; an unknown service is refused with those that there are."""
    wait_event(one, "transition", "-> preferred")
    one.peers[0].drop(6, 2)
    wait_event(one, "session_lost")
    shown = run_anycastd(one, "history", "web", environment={"COLUMNS": "80"})
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "confirmed +" in shown.stdout
    assert max(map(len, shown.stdout.splitlines())) <= 80
    unknown = run_anycastd(one, "history", "wbe")
    said = "anycastd: there is no service wbe; there are: web\n"
    assert (unknown.returncode, unknown.stdout, unknown.stderr) == (2, "", said)


def test_a_full_disk_costs_the_history_only(tmp_path: Path) -> None:
    """The route follows HAProxy as always; `status` names the disk; then all is written."""
    with (
        own_network(),
        full_disk(tmp_path / "disk") as disk,
        Appliance(tmp_path) as one,
    ):
        one.start_speaker()
        one.start_agent("--state", str(disk))
        one.wait_path(1)
        wait_for(lambda: "history cannot be written" in str(one.status()["problems"]), 60)
        for backend in one.backends:
            backend.stop()
        one.wait_path(0)
        down = wait_event(one, "transition", "-> withdrawn")
        subprocess.run(["mount", "-o", "remount,size=1m", str(disk)], check=True)  # room for all
        file = disk / "events.jsonl"
        wait_for(lambda: file.exists() and down["text"] in file.read_text(encoding="utf-8"), 60)
        wait_for(lambda: "history" not in str(one.status()["problems"]), 60)
