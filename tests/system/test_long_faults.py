"""Faults that take long to judge, each on a machine of its own, a few at a time.

Agent, lease process and ExaBGP, two of them killed or stopped at once, in any order; pauses of the
whole machine; steps of the wall clock; an agent that wedges, or crashes again and again.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from anycastd.lease.owner import MAX_CRASHES
from chaos.judge import Bounds
from chaos.plan import Episode, Step
from chaos.run import describe_episode, watch
from support.appliance import PROFILE, Appliance, own_network
from support.bgp_wire import Closed
from support.exabgp import CHECKOUT, STEPPED
from support.faults import FAULTS
from support.haproxy import until
from support.machine import Machine, pass_time, run_machine
from support.peer import wait_for

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.alone]

TTL, DEADLINE, HOLD = 3.0, 1.5, 9.0
SLACK = 1.0
"""Seconds that a busy machine may add to a bound; several machines share these CPUs."""
MACHINES = 5
"""Machines that run at the same time; most of their time they wait for timeouts."""
PYTHONS = os.environ.get("ANYCASTD_EXABGP_PYTHONS", sys.executable).split(os.pathsep)

# Two at once --------------------------------------------------------------------------------------

PAIRS = [
    (f"{one} {how}", f"{other} {also}")
    for one, other in itertools.combinations(("agent", "lease", "exabgp"), 2)
    for how, also in itertools.product(("killed", "stopped"), repeat=2)
]
BOUNDS = Bounds(ttl=TTL, deadline=DEADLINE, slack=SLACK, recovery=15.0)
LASTS = 6.0
"""Seconds that a stop lasts: longer than a lease, and than it takes to find a hang."""


def two_at_once(place: Path, number: int) -> None:
    """Break both parts; the order and the delay depend on the pair and are always the same."""
    chance = random.Random(number)  # noqa: S311 - no secret
    first, second = chance.sample(PAIRS[number], 2)
    steps = tuple(
        Step(at, FAULTS[name], LASTS if name.endswith("stopped") else 0.0)
        for at, name in ((0.0, first), (chance.choice((0.0, 0.1, 1.0, 3.0)), second))
    )
    episode = Episode(number, harmless=False, steps=steps)
    python = PYTHONS[number % len(PYTHONS)]
    with run_machine(place, python, ttl=TTL, deadline=DEADLINE) as machine:
        machine.wait_settled()
        machine.wait_in_order()
        since = machine.record("pair", "touch")
        _, found, trouble = watch(machine, episode, BOUNDS)
        wrong = [*found.violations, *([trouble] if trouble else [])]
        seen = "\n".join(
            [*wrong, describe_episode(machine, episode, since), machine.appliance.log()]
        )
        assert not wrong, seen


# Time ---------------------------------------------------------------------------------------------


def pauses(place: Path) -> None:
    """Pause ten times; a long pause begins soon after both peers have received a keepalive.

    BGP itself would not survive it otherwise, with a hold time of 9 s.
    """
    with run_machine(place, PYTHONS[-1], ttl=TTL, deadline=DEADLINE) as machine:
        machine.wait_settled()
        machine.wait_in_order()
        began = time.monotonic()
        for seconds in (1, 6, 2, 1, 5, 1, 3, 1, 4, 2):
            if seconds > HOLD / 3:
                wait_for_keepalives(machine, HOLD - seconds - 0.8)
            machine.pause(seconds)
        pass_time(time.monotonic(), TTL)
        assert machine.wire.describe_changes(began) == ["nothing", "nothing"], (
            machine.appliance.log()
        )
        for peer in machine.appliance.peers:
            assert not peer.list_events(Closed)
        machine.wait_in_order()


def wait_for_keepalives(machine: Machine, max_age: float) -> None:
    """Wait until each peer has received a keepalive in the last ``max_age`` seconds."""
    counts = [peer.keepalives for peer in machine.appliance.peers]
    received_at = [0.0 for _ in counts]

    def fresh() -> bool:
        now = time.monotonic()
        for number, peer in enumerate(machine.appliance.peers):
            if peer.keepalives != counts[number]:
                counts[number], received_at[number] = peer.keepalives, now
        return now - min(received_at) < max_age

    until(fresh, 10)


def steps_of_the_clock(place: Path) -> None:
    """Step the clock of agent, lease process and ExaBGP, and watch for longer than the hold time.

    The clock of the machine is not ours to step, and no namespace has its own: what Python asks is
    stepped.
    """
    hook, mark = place / "hook", place / "step"
    hook.mkdir()
    (hook / "sitecustomize.py").write_text(STEPPED.format(mark=str(mark)), encoding="utf-8")
    path = os.pathsep.join(map(str, (hook, CHECKOUT)))
    profile = PROFILE.replace("  router_id:", f"  hold_time: {HOLD:g}\n  router_id:")
    with own_network():
        # A lease that lasts for the start of an agent beside four other machines.
        appliance = Appliance(place, python=PYTHONS[-1], ttl=HOLD - 1, profile=profile)
        with Machine(appliance, environment={"PYTHONPATH": path}) as machine:
            machine.wait_settled()
            began = time.monotonic()
            for step in ("60", "0", "-60"):
                stepped = time.monotonic()
                mark.write_text(step, encoding="utf-8")
                machine.kill("agent")  # one that starts at a wrong time is one of the cases
                pass_time(stepped, HOLD + 1)
            assert machine.wire.describe_changes(began) == ["nothing", "nothing"], appliance.log()
            for peer in appliance.peers:
                assert not peer.list_events(Closed)
            machine.wait_in_order()


# Agents that are not well -------------------------------------------------------------------------

# An agent of the same code, one part of which stops working when it is told to.
WEDGED = """\
import asyncio, os, sys
from anycastd.agent import daemon, decision_loop, sources
from anycastd.cli.main import main
owner, method = {owner}, {method!r}
original = getattr(owner, method)
async def wedged(self):
    task = asyncio.ensure_future(original(self))
    while not os.path.exists({mark!r}):
        await asyncio.sleep(0.02)
    task.cancel()
    sys.stderr.write("wedged now\\n")
    await asyncio.Event().wait()
setattr(owner, method, wedged)
sys.exit(main())
"""
PARTS = {
    "watcher": ("sources.Watcher", "run", DEADLINE),
    "passes": ("decision_loop.DecisionLoop", "run", TTL),
}


def wedge(place: Path, part: str) -> None:
    """Let a part hang; meanwhile read the status, and have a session close and return."""
    owner, method, bound = PARTS[part]
    script, mark = place / "wedged.py", place / "wedge"
    script.write_text(WEDGED.format(owner=owner, method=method, mark=str(mark)), encoding="utf-8")
    with own_network(), Appliance(place, python=PYTHONS[0], ttl=TTL, deadline=DEADLINE) as it:
        it.start_speaker()
        line = [sys.executable, str(script), "run", "--profile", str(it.profile)]
        line += ["--directory", it.directory_of("agent"), "--lease", str(it.lease)]
        with (place / "agent.err").open("ab") as log:
            it.agent = subprocess.Popen(line, stdout=log, stderr=log, env=it.environment)
        it.wait_path(1)
        mark.touch()
        wait_for(lambda: "wedged now" in it.log(), 10, "the agent to wedge")
        wedged = time.monotonic()
        it.peers[1].drop(6, 4)
        wait_for(lambda: it.status() and not it.peers[0].table, bound + 3)
        assert time.monotonic() - wedged < bound + SLACK
        assert it.agent.poll() is None
        wait_for(lambda: not it.peers[1].table, 3, "no route at the other peer")


def crashes(place: Path) -> None:
    """Kill each agent once it owns the lease, five times."""
    # A lease that lasts for the start of an agent beside four other machines.
    with run_machine(place, PYTHONS[0], ttl=2 * TTL, deadline=DEADLINE) as machine:
        machine.wait_settled()
        began = time.monotonic()
        for _ in range(MAX_CRASHES):
            until(machine.in_sync, 15, 0.05)
            machine.kill("agent")
        machine.wire.wait(0, 2 * TTL + 5, machine.appliance.log())
        assert machine.wire.describe_changes(began) == ["x", "x"]
        until(lambda: any("agents crashed 5 times" in each for each in problems(machine)), 5, 0.1)


def problems(machine: Machine) -> list[str]:
    """Read the problems in the status; none while no agent answers."""
    with contextlib.suppress(AssertionError):
        found: list[str] = machine.appliance.status()["problems"]
        return found
    return []


# The tests ----------------------------------------------------------------------------------------

SCENES: dict[str, Callable[[Path], None]] = {
    "pauses": pauses,
    "clock": steps_of_the_clock,
    "crashes": crashes,
    **{part: partial(wedge, part=part) for part in PARTS},
    **{" and ".join(pair): partial(two_at_once, number=n) for n, pair in enumerate(PAIRS)},
}
Running = Mapping[str, Future[None]]


@pytest.fixture(scope="module")
def scenes(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Running]:
    """Start the scenes of all selected tests; each test waits for its own scene."""
    chosen = " ".join(item.nodeid for item in request.session.items)
    place = tmp_path_factory.mktemp("scenes")
    with ThreadPoolExecutor(MACHINES) as pool:
        yield {
            name: pool.submit(scene, _made(place / name.replace(" ", "-")))
            for name, scene in SCENES.items()
            if f"[{name}]" in chosen
        }


def _made(place: Path) -> Path:
    place.mkdir()
    return place


@pytest.mark.parametrize("name", ["pauses"])
def test_pauses_of_the_whole_machine(scenes: Running, name: str) -> None:
    """Every process stops for 1 to 6 s, ten times: no session closes, no route changes."""
    scenes[name].result()


@pytest.mark.parametrize("name", ["clock"])
def test_steps_of_the_wall_clock(scenes: Running, name: str) -> None:
    """A minute forward, back, and back again: no route changes, no session closes."""
    scenes[name].result()


@pytest.mark.parametrize("name", ["crashes"])
def test_an_agent_that_crashes_again_and_again(scenes: Running, name: str) -> None:
    """Five agents crash in a row: a sixth one may not adopt the routes, they are withdrawn."""
    scenes[name].result()


@pytest.mark.parametrize("name", PARTS)
def test_nothing_but_a_pass_on_fresh_evidence_renews(scenes: Running, name: str) -> None:
    """The watcher or the decision loop hangs while all else runs: the route is withdrawn."""
    scenes[name].result()


@pytest.mark.parametrize("name", [" and ".join(pair) for pair in PAIRS])
def test_two_at_once(scenes: Running, name: str) -> None:
    """No route stays beyond its bound, none changes without need, everything recovers."""
    scenes[name].result()
