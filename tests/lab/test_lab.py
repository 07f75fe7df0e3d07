"""Tests of the lab itself: its waits, its faults and its processes."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from anycastd.lab.network.appliance import LabSettings
from anycastd.lab.network.azure import AZURE, PRIMARY, SECONDARY
from anycastd.lab.network.faults import kill_processes
from anycastd.lab.network.lab import Lab, TimedOutError
from anycastd.lab.network.namespaces import LabError, Nodes
from anycastd.lab.network.table import paths_by_next_hop
from support.peered_profiles import write_peered_profiles

pytestmark = pytest.mark.root

QUICK = {"rise": 1, "hold_down": 1, "hold_down_max": 1, "spacing": 0}


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Build the network once, with quick timers and checks, and agents that ask each other."""
    profiles = write_peered_profiles(tmp_path_factory.mktemp("profiles"))
    with Lab(LabSettings(return_timers=QUICK, fast=True, profiles=profiles)) as made:
        made.wait_preferred()
        yield made


def test_status_is_what_the_msee_sees(lab: Lab) -> None:
    """Both agents report preferred, with the AS paths that the MSEE has."""
    lab.wait_preferred()
    for region in (PRIMARY, SECONDARY):
        status = lab.status(region.name)
        assert status is not None
        (service,) = status["services"].values()
        assert service["level"] == "preferred"
        seen = paths_by_next_hop(lab.read_table())[region.gateways[0]]
        assert tuple(service["as_path"]) == seen[1:]


def test_a_script_runs_a_command_of_a_region(lab: Lab) -> None:
    """`ne status` in the lab's directory asks the agent of North Europe, from outside."""
    lab.wait_preferred()
    script = lab.primary.write_script()
    assert script.name == PRIMARY.short
    done = subprocess.run(
        [script, "status", "--json"], capture_output=True, encoding="utf-8", check=False
    )
    assert json.loads(done.stdout)["region"] == PRIMARY.name


def test_the_page_shows_both_regions(lab: Lab) -> None:
    """The page of one region says what the other one serves, over real HTTP between both."""
    lab.wait_preferred()
    lab.wait(
        "the agent to listen",
        lambda: (
            not lab.nodes.try_run(
                SECONDARY.node("nva"), "bash", "-c", f"</dev/tcp/{PRIMARY.nva}/9480"
            ).returncode
        ),
        60,
    )
    fetch = (
        "import sys, urllib.request\n"
        "answer = urllib.request.urlopen(sys.argv[1], timeout=20)\n"
        "print(answer.headers['Content-Security-Policy'])\n"
        "print(answer.read().decode())\n"
    )

    def has_both() -> str:
        url = f"http://{PRIMARY.nva}:9480/"
        page = lab.nodes.run(SECONDARY.node("nva"), sys.executable, "-c", fetch, url)
        return page if '<td class="ok" data-label="westeurope">serves' in page else ""

    page = lab.wait("the page to show both regions", has_both, 60, lab.describe)
    assert page.startswith("default-src 'none'; ")
    assert "northeurope (this)" in page
    assert '<span class="level preferred">PREFERRED</span>' in page


def test_an_agent_that_is_killed_comes_back_and_no_route_moves(lab: Lab) -> None:
    """A killed agent is replaced, and no route changes at the MSEE."""
    lab.wait_preferred()
    assert lab.primary.agent is not None
    before = lab.primary.agent.pid
    at = kill_processes([lab.primary.agent])

    def back() -> bool:
        agent = lab.primary.agent
        return bool(agent and agent.pid not in (None, before) and lab.status(PRIMARY.name))

    lab.wait("the agent to answer again", back, 60, lab.describe)
    assert not lab.monitors["msee"].changes(at)


def test_a_speaker_that_is_killed_costs_the_routes_and_comes_back(lab: Lab) -> None:
    """A killed speaker closes its sessions: the MSEE uses the other region until it is back."""
    lab.wait_preferred()
    assert lab.primary.speaker is not None
    at = kill_processes([lab.primary.speaker])
    lab.wait(
        "the MSEE to use the other region",
        lambda: lab.monitors["msee"].moved_at(at, *SECONDARY.gateways),
        30,
        lab.describe,
    )
    lab.wait_preferred()


def set_web_link(lab: Lab, state: str) -> None:
    """Set the link between the primary region's web servers and its VNet up or down."""
    lab.nodes.run(PRIMARY.node("vnet"), "ip", "link", "set", "web", state)


def test_a_link_that_is_down_cuts_a_node_off(lab: Lab) -> None:
    """Without the link to its web servers a region withdraws; with it it announces again."""
    lab.wait_preferred()
    set_web_link(lab, "down")
    only = AZURE.expected_paths({SECONDARY.name: 2})
    lab.wait_table("the routes to go", lambda rows: paths_by_next_hop(rows) == only, 60)
    set_web_link(lab, "up")
    lab.wait_preferred()


def test_a_fault_on_what_is_dead_is_an_error(lab: Lab) -> None:
    """Killing a dead process is an error, because a test that does so is wrong."""
    lab.faults.kill_web_servers(PRIMARY.name, "ne-web1")
    with pytest.raises(LabError, match="ne-web ne-web1 is not running"):
        lab.faults.kill_web_servers(PRIMARY.name, "ne-web1")
    lab.faults.start_web_servers(PRIMARY.name)
    lab.wait_preferred()


def test_a_wait_that_times_out_says_what_it_saw(lab: Lab) -> None:
    """The error says what was awaited for how long, and shows the table and the sessions."""
    with pytest.raises(TimedOutError) as caught:
        lab.wait_table("a miracle", lambda rows: not rows, 0.1)
    message = str(caught.value)
    assert message.startswith("waited 0.1 s for a miracle; seen instead:\nthe MSEE's table:\n")
    assert "172.16.158.12" in message
    assert "ne-ars0: nva up" in message
    assert "--- ne-nva agent" in message


def test_frozen_processes_stop_and_thawed_ones_go_on() -> None:
    """A frozen program does nothing, and a thawed one continues."""
    with Nodes(("only",)) as nodes:
        # One process: a shell that is stopped as it forks waits for its child, and cannot stop.
        counting = "import time\nwhile True: print(time.sleep(0.01), flush=True)"
        process = nodes.start("only", "counter", sys.executable, "-c", counting)
        eventually(lambda: count_lines(process.log) > 5)
        process.freeze()
        eventually(lambda: [process_state(pid) for pid in process.pids] == ["T"])
        stopped = count_lines(process.log)
        pause = time.monotonic() + 0.1
        eventually(lambda: time.monotonic() > pause)
        assert count_lines(process.log) == stopped
        process.thaw()
        eventually(lambda: count_lines(process.log) > stopped + 5)
        process.kill()
        assert process.wait(30) == -9


def count_lines(log: Path) -> int:
    """Return how many lines a log has."""
    return log.read_text(encoding="utf-8").count("\n")


def process_state(pid: int) -> str:
    """Return a process's state letter, as the kernel has it."""
    return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]


def eventually(condition: Callable[[], bool]) -> None:
    """Wait for a condition, or fail."""
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
