"""Search: every short sequence of what may happen, and long random ones, against what must hold.

``make search`` searches longer and deeper; so that a run can be repeated, nothing is left to chance
here.  The faults at the end show that the search would find them.
"""

from __future__ import annotations

import os
from functools import cache

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from searching import SOUND, VARIANTS, BrokenError, Core, Shown, World, planted

LONG = bool(os.environ.get("ANYCASTD_SEARCH"))
EVENTS = (
    "see well",
    "see less",
    "see failed",
    "see unproved",
    "see silent",
    "vip missing",
    "vip there",
    "sessions down",
    "sessions up",
    "drain longer",
    "drain gone",
    "undrain",
    "restart in-time kept",
    "restart in-time forgotten",
    "restart late kept",
    "stall 5",
    "wait 0.7",
    "wait 6",
    "wait 40",
)
DEPTH = 4 if LONG else 3
EXAMPLES = 5_000 if LONG else 120


@cache
def beginnings(core: Core, variant: str = "plain") -> dict[str, World]:
    """Give worlds to begin with: fresh, standing at the preferred path, and after failures."""
    fresh = World(core=core, variant=variant).look()
    settled = fresh.settle()
    failed = settled
    for _ in range(3):
        for event in ("see failed", "wait 2", "see well", "wait 3"):
            failed = failed.happen(event)
    degraded = settled.happen("see less").happen("wait 6")
    return {"fresh": fresh, "preferred": settled, "degraded": degraded, "failed": failed}


def every_sequence(world: World, depth: int, events: tuple[str, ...] = EVENTS) -> int:
    """Try every sequence of ``depth`` events from a world; give how many there are."""
    count = 0
    if depth == 0:
        world.settle()
        return 1
    for event in events:
        try:
            after = world.happen(event)
            if after == world:  # nothing has happened: what follows is tried without it, too
                count += len(events) ** (depth - 1)
            else:
                count += every_sequence(after, depth - 1, events)
        except BrokenError as error:
            if hasattr(error, "__notes__"):
                raise
            error.add_note(" / ".join((*world.story, event)))
            raise
    return count


@pytest.mark.parametrize("begin", ["fresh", "preferred", "degraded", "failed"])
@pytest.mark.timeout(3600 if LONG else 120)
def test_every_short_sequence(begin: str) -> None:
    """All of them keep every promise at every pass, and end at the level that fits."""
    assert every_sequence(beginnings(SOUND)[begin], DEPTH) == len(EVENTS) ** DEPTH


def search_all(core: Core) -> None:
    """Try every sequence, short ones first."""
    for depth in (1, 2, 3):
        for world in beginnings(core).values():
            every_sequence(world, depth)


MORE = (*EVENTS, "map on", "map off", "return", "restart late forgotten", "wait 4000")


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.timeout(3600 if LONG else 120)
def test_every_sequence_of_every_variant(variant: str) -> None:
    """With other profiles, and with more that may happen, all shorter sequences."""
    depth = 3 if LONG else 2
    for world in beginnings(SOUND, variant).values():
        assert every_sequence(world, depth, MORE) == len(MORE) ** depth


class Days(RuleBasedStateMachine):
    """What may happen to a service, in any order, for any time."""

    core = SOUND

    def __init__(self) -> None:
        super().__init__()
        self.world = World(core=self.core).look()

    @initialize(
        begin=st.sampled_from(["fresh", "preferred", "degraded", "failed"]),
        variant=st.sampled_from(sorted(VARIANTS)),
    )
    def begin(self, begin: str, variant: str) -> None:
        """Something has happened before."""
        self.world = beginnings(self.core, variant)[begin]

    @rule(shown=st.sampled_from(Shown))
    def see(self, shown: Shown) -> None:
        """HAProxy shows something else."""
        self.world = self.world.happen(f"see {shown.value}")

    @rule(seconds=st.sampled_from([0.05, 0.7, 1.0, 3.0, 5.0, 10.0, 35.0, 60.0, 400.0, 3700.0]))
    def wait(self, seconds: float) -> None:
        """Time passes."""
        self.world = self.world.happen(f"wait {seconds}")

    @rule(seconds=st.sampled_from([0.2, 5.0, 60.0]))
    def stall(self, seconds: float) -> None:
        """We are away, and with us everybody on this machine."""
        self.world = self.world.happen(f"stall {seconds}")

    @rule(state=st.sampled_from(["up", "down", "unknown"]))
    def sessions(self, state: str) -> None:
        """The neighbors come or go."""
        self.world = self.world.happen(f"sessions {state}")

    @rule(state=st.sampled_from(["there", "missing"]))
    def vip(self, state: str) -> None:
        """The VIP comes or goes."""
        self.world = self.world.happen(f"vip {state}")

    @rule(
        what=st.sampled_from(
            ["drain longer", "drain gone", "undrain", "return", "map on", "map off"]
        )
    )
    def word(self, what: str) -> None:
        """An operator says something."""
        self.world = self.world.happen(what)

    @rule(when=st.sampled_from(["in-time", "late"]), what=st.sampled_from(["kept", "forgotten"]))
    def restart(self, when: str, what: str) -> None:
        """The agent is another one."""
        self.world = self.world.happen(f"restart {when} {what}")

    @invariant()
    def ends_well(self) -> None:
        """Calm weather brings it to where it belongs, from wherever it is."""
        self.world.settle()


def search(core: Core, examples: int, *, shrink: bool = True) -> None:
    """Search random days for a broken promise; ``shrink`` it to a short story."""
    kind = type("DaysOfACore", (Days,), {"core": core})
    run_state_machine_as_test(
        kind,
        settings=settings(
            max_examples=examples,
            stateful_step_count=40 if LONG else 25,
            deadline=None,
            derandomize=not LONG,
            database=None,
            suppress_health_check=list(HealthCheck),
            print_blob=False,
            phases=(Phase.generate, *((Phase.shrink,) if shrink else ())),
        ),
    )


@pytest.mark.timeout(3600 if LONG else 120)
def test_random_days() -> None:
    """Longer stories than can be enumerated, made by rules, shrunk to the shortest that breaks."""
    search(SOUND, EXAMPLES)


FAULTS = [
    (
        "a wait lowers",
        "tuple(cap if cap.level >= here else replace(cap, level=here) for cap in waits)",
        "tuple(waits)",
    ),
    (
        "the hold-down never ends",
        "    doublings = min(failures - 1, 32)",
        "    return 1e9\n    doublings = min(failures - 1, 32)",
    ),
    (
        "the hold-down does not double",
        "float(2**doublings)",
        "1.0",
    ),
    (
        "the spacing is ignored",
        "if memory.changed is not None and now < (spaced := memory.changed + back.spacing):",
        "if memory.changed is not None and now < (spaced := memory.changed):",
    ),
    (
        "the spacing is ignored on the way down",
        "        ends = max(ends, spaced)\n",
        "",
    ),
    (
        "unknown promotes",
        "    if verdict.serve.truth is Truth.UNKNOWN and not expired(",
        "    if not verdict and not expired(",
    ),
    (
        "unknown holds for ever",
        "serve = learn(memory.serve, verdict.serve, verdict.hold, now)",
        "serve = learn(memory.serve, verdict.serve, 1e9, now)",
    ),
    (
        "announced while drained",
        "    if around.drain is not None:\n        yield replace(",
        "    if around.drain is not None and not memory.serve.value:\n        yield replace(",
    ),
    (
        "a failure waits for the spacing",
        "    elif not memory.serve.value:\n        floor = Level.WITHDRAWN\n",
        (
            "    elif not memory.serve.value:\n"
            "        floor = memory.level if memory.changed and now < memory.changed + 35 else "
            "Level.WITHDRAWN\n"
        ),
    ),
    (
        "`fall` is ignored",
        "memory.healthy.since + service.degraded.fall, Reason.FALLING",
        "memory.healthy.since, Reason.FALLING",
    ),
    (
        "the hold-down keeps a route withdrawn",
        "yield Cap(Level.STANDBY, Reason.HOLD_DOWN,",
        "yield Cap(Level.WITHDRAWN, Reason.HOLD_DOWN,",
    ),
    (
        "an agent that comes back forgets that nothing is announced",
        "    if held is Level.WITHDRAWN:\n        return memory\n",
        "    if held is Level.WITHDRAWN:\n        return replace(memory, serve=Known(True, 0.0))\n",
    ),
    (
        "an agent that comes back forgets the spacing",
        "        memory = replace(memory, changed=now)\n    return",
        "    return",
    ),
    (
        "it does not wake itself",
        "wake_at=min(ahead) if ahead else None,",
        "wake_at=None,",
    ),
]


@pytest.mark.parametrize(("old", "new"), [each[1:] for each in FAULTS], ids=[f[0] for f in FAULTS])
def test_the_search_finds_planted_faults(old: str, new: str) -> None:
    """A search that finds nothing proves something only if it would find these."""
    with pytest.raises(BrokenError):
        search_all(planted(old, new))


BY_CHANCE = [each for each in FAULTS if "on the way down" not in each[0]][:8]


@pytest.mark.parametrize(("old", "new"), [f[1:] for f in BY_CHANCE], ids=[f[0] for f in BY_CHANCE])
def test_random_days_find_planted_faults(old: str, new: str) -> None:
    """Chance finds what is found from many sides; the others are for every sequence."""
    with pytest.raises(BrokenError):
        search(planted(old, new), EXAMPLES, shrink=False)
