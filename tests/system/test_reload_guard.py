"""A profile that would lower a service takes over only where somebody says that it is meant."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.appliance import Appliance, own_network
from support.haproxy import until
from support.processes import signal_pid
from support.reloads import count_updates, edit_profile, read_instance, run_reload

pytestmark = pytest.mark.root

MISSPELT = ("{backend: web, usable: 1}", "{backend: wbe, usable: 1}")
"""The typo of the issue: HAProxy has no such backend."""
LINES = [
    "web 203.0.113.10/32  PREFERRED -> WITHDRAWN at once",
    "  {path}:17: HAProxy main has no backend wbe; did you mean web?",
]


@pytest.fixture
def appliance(tmp_path: Path) -> Iterator[Appliance]:
    """Run an appliance, in the two-process form, whose peers have the preferred route."""
    with own_network(), Appliance(tmp_path, ttl=8) as one:
        one.start()
        yield one


def test_a_misspelt_backend_is_refused_and_forced(appliance: Appliance) -> None:
    """The plan shows it, the command and the signal refuse it, `--force` carries it out."""
    assert appliance.agent is not None
    before, was = count_updates(appliance), read_instance(appliance)
    edit_profile(appliance, MISSPELT)
    lines = [line.format(path=appliance.profile) for line in LINES]

    plan = run_reload(appliance, "--plan")
    assert plan.returncode == 78, plan
    assert " ".join(" ".join(lines).split()) in " ".join(plan.stdout.split()), plan.stdout
    assert not [line for line in plan.stdout.splitlines() if len(line) > 80 and " " in line.strip()]
    assert "a reload would be refused" in plan.stderr

    done = run_reload(appliance)
    assert done.returncode == 78, done
    said = " ".join(done.stderr.split())
    assert said.startswith(" ".join(" ".join(lines).split())), done.stderr
    assert "this reload would withdraw web; if you mean it: anycastd reload --force" in said

    signal_pid(appliance.agent.pid, signal.SIGHUP)
    refusal = "reload refused: web 203.0.113.10/32 PREFERRED -> WITHDRAWN at once; "
    until(lambda: appliance.log().count(refusal) == 2, 40)
    assert read_instance(appliance) == was
    assert count_updates(appliance) == before
    (problem,) = [it for it in appliance.status()["problems"] if "reload was refused" in it]
    assert "HAProxy main has no backend wbe, did you mean web?" in problem

    assert run_reload(appliance, "--force").returncode == 0, appliance.log()
    appliance.wait_path(0)
    assert not [it for it in appliance.status()["problems"] if "reload was refused" in it]


def test_only_what_the_new_profile_lowers_is_refused(appliance: Appliance) -> None:
    """A threshold above what is there is refused; a service that is removed is meant."""
    edit_profile(appliance, ("usable: 50%", "usable: 3"))
    done = run_reload(appliance)
    assert done.returncode == 78, done
    said = " ".join(done.stderr.split())
    assert "web 203.0.113.10/32 PREFERRED -> DEGRADED after 0.5 s" in said
    assert "profile.yaml:18: backend web has at least 3 usable: 2 of 2 usable" in said
    assert "this reload would lower web" in said

    edit_profile(appliance, ("usable: 3", "usable: 50%"), ("  web:\n", "  other:\n"))
    assert run_reload(appliance).returncode == 0, "the VIP is what counts, not the name"

    appliance.haproxy.stop()  # now nothing serves, with either profile
    appliance.wait_path(0)
    edit_profile(appliance, MISSPELT)
    assert run_reload(appliance).returncode == 0, appliance.log()


def test_a_socket_that_nobody_answers_is_refused(appliance: Appliance) -> None:
    """A new path of the stats socket without a HAProxy behind it would withdraw everything."""
    edit_profile(appliance, ("stats.sock", "stat.sock"))
    done = run_reload(appliance)
    assert done.returncode == 78, done
    said = " ".join(done.stderr.split())
    assert "PREFERRED -> WITHDRAWN" in said
    assert "HAProxy is not running" in said


def test_lower_prepends_lower_no_service(appliance: Appliance) -> None:
    """Of 2, 3 and 6 prepends to 0, 3 and 6: one UPDATE, by a reload and by a restart alike."""
    edit_profile(appliance, ("    prepend: 0", "    prepend: 2"))
    assert run_reload(appliance).returncode == 0, appliance.log()
    appliance.wait_path(3)
    wait_settled(appliance)
    before = count_updates(appliance)

    edit_profile(appliance, ("    prepend: 2", "    prepend: 0"))
    plan = run_reload(appliance, "--plan")
    assert plan.returncode == 0, plan
    assert "replaced (preferred): as path 65010 65010 65010 -> 65010" in " ".join(
        plan.stdout.split()
    )
    done = run_reload(appliance)
    assert done.returncode == 0, done
    appliance.wait_path(1)
    wait_settled(appliance)
    assert count_updates(appliance) == [count + 1 for count in before]

    edit_profile(
        appliance,
        ("    prepend: 0", "    prepend: 4"),
        ("degraded: {prepend: 3", "degraded: {prepend: 5"),
    )
    restart_agent(appliance)
    appliance.wait_path(5)
    wait_settled(appliance)
    edit_profile(
        appliance,
        ("    prepend: 4", "    prepend: 0"),
        ("degraded: {prepend: 5", "degraded: {prepend: 4"),
    )
    restart_agent(appliance)
    appliance.wait_path(1)
    wait_settled(appliance)
    assert count_updates(appliance) == [count + 3 for count in before]
    assert not [update for peer in appliance.peers for update in peer.updates if update.withdrawn]


def restart_agent(appliance: Appliance) -> None:
    """End the agent in order, and start another one on the lease that it leaves."""
    assert appliance.agent is not None
    signal_pid(appliance.agent.pid, signal.SIGTERM)
    appliance.agent.wait(20)
    appliance.start_agent()
    until(lambda: read_instance(appliance) != "", 30)


def wait_settled(appliance: Appliance) -> None:
    """Wait until the service is preferred, and nothing is on its way to the peers."""

    def settled() -> bool:
        web = appliance.status()["services"]["web"]
        return bool(web["level"] == "preferred" and web["in_sync"])

    until(settled, 40)
