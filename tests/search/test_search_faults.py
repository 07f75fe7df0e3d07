"""What the search is worth: faults planted in copies of the source, each of which it finds."""

from __future__ import annotations

import pytest

from search.effort import BrokenError
from search.planting import planted
from search.random_days import search
from search.sequences import (
    INTERRUPTION,
    beginnings,
    every_interruption,
    every_sequence,
    search_all,
)
from search.world import World

FAULTS = [  # in one of planting.MODULES, the fault in words, its text and what is there instead
    (
        "policy",
        "a wait lowers",
        "tuple(cap if cap.level >= here else replace(cap, level=here) for cap in waits)",
        "tuple(waits)",
    ),
    (
        "policy",
        "the hold-down never ends",
        "    doublings = min(failures - 1, 32)",
        "    return 1e9\n    doublings = min(failures - 1, 32)",
    ),
    (
        "policy",
        "the hold-down does not double",
        "float(2**doublings)",
        "1.0",
    ),
    (
        "policy",
        "the spacing is ignored",
        "if memory.changed is not None and now < (spaced := memory.changed + back.spacing):",
        "if memory.changed is not None and now < (spaced := memory.changed):",
    ),
    (
        "policy",
        "the spacing is ignored on the way down",
        "        ends = max(ends, spaced)\n",
        "",
    ),
    (
        "policy",
        "unknown promotes",
        "    if verdict.serve.truth is Truth.UNKNOWN and not expired(",
        "    if not verdict and not expired(",
    ),
    (
        "policy",
        "unknown holds for ever",
        "serve = learn(memory.serve, verdict.serve, verdict.hold, now)",
        "serve = learn(memory.serve, verdict.serve, 1e9, now)",
    ),
    (
        "policy",
        "announced while drained",
        "    if around.drain is not None:\n        yield replace(",
        "    if around.drain is not None and not memory.serve.value:\n        yield replace(",
    ),
    (
        "policy",
        "a failure waits for the spacing",
        "    elif not memory.serve.value:\n        floor = Level.WITHDRAWN\n",
        (
            "    elif not memory.serve.value:\n"
            "        floor = memory.level if memory.changed and now < memory.changed + 35 else "
            "Level.WITHDRAWN\n"
        ),
    ),
    (
        "policy",
        "`fall` is ignored",
        "memory.healthy.since + service.degraded.fall, Reason.FALLING",
        "memory.healthy.since, Reason.FALLING",
    ),
    (
        "policy",
        "the hold-down keeps a route withdrawn",
        "yield Cap(Level.STANDBY, Reason.HOLD_DOWN,",
        "yield Cap(Level.WITHDRAWN, Reason.HOLD_DOWN,",
    ),
    (
        "policy",
        "an agent that comes back forgets that nothing is announced",
        "return replace(memory, changed=now) if unseen else memory",
        "return replace(memory, serve=Known(True, 0.0))",
    ),
    (
        "policy",
        "an agent that comes back forgets the spacing",
        "        memory = replace(memory, changed=now)\n    return",
        "    return",
    ),
    (
        "policy",
        "it does not wake itself",
        "wake_at=min(ahead) if ahead else None,",
        "wake_at=None,",
    ),
    (
        "policy",
        "an agent that comes back does not count the end of the lease as a change",
        "unseen = memory.announced or not memory.restored",
        "unseen = False",
    ),
    (
        "pipeline",
        "it speaks before it has heard the lease",
        "ready = complete and inputs.lease.held is not None",
        "ready = complete",
    ),
    (
        "pipeline",
        "drains are not handed on",
        "drain = holds[name][0].cap if name in holds else None",
        "drain = None",
    ),
    (
        "pipeline",
        "a drained service is told like any other",
        "wanted=wanted(profile, levels, holds) if ready",
        "wanted=wanted(profile, levels) if ready",
    ),
    (
        "pipeline",
        "a lost connection counts as lost sessions",
        "    if not lease.connected or lease.report is None:\n        return None\n",
        "    if not lease.connected or lease.report is None:\n        return False\n",
    ),
    (
        "pipeline",
        "after the end of the lease it comes back as it was",
        "replace(each, level=Level.WITHDRAWN, level_since=now, changed=now)",
        "replace(each, level_since=now)",
    ),
    (
        "pipeline",
        "it does not wake for the end of a drain",
        "    wake += draining.wakes(going)\n",
        "",
    ),
    (
        "routes",
        "standby is told like degraded",
        "return service.standby.prepend",
        "return service.degraded.prepend",
    ),
    (
        "drains",
        "a drain does not wait",
        "waited = now >= drain.since + drain.wait or not steers",
        "waited = True",
    ),
    (
        "drains",
        "a drained service comes back when another region fails",
        "    if name in drain.gone:\n        cap =",
        "    if name in drain.gone and (guard is None or guard.serves):\n        cap =",
    ),
    (
        "drains",
        "an answer counts for ever",
        "other.asked <= since + STALE or now - other.asked > FRESH",
        "other.asked <= since + STALE",
    ),
    (
        "drains",
        "an answer from before the drain counts",
        "other.asked <= since + STALE or now - other.asked > FRESH",
        "now - other.asked > FRESH",
    ),
    (
        "drains",
        "a region that is drained itself counts",
        "        elif not one.draining:\n",
        "        elif one:\n",
    ),
    (
        "drains",
        "of two that are drained both leave",
        "names[names.index(profile.region) + 1 :] if",
        "names if",
    ),
    (
        "drains",
        "of two that are drained nobody leaves",
        "names[names.index(profile.region) + 1 :] if",
        "[] if",
    ),
    (
        "drains",
        "a drain does not end",
        "if d.until is None or now < d.until",
        "if d.until is None or now",
    ),
    (
        "drains",
        "the higher of two drains counts",
        "key=lambda hold: (hold.cap.level,",
        "key=lambda hold: (-hold.cap.level,",
    ),
    (
        "drains",
        "another agent begins to wait anew",
        '"age": now - drain.since',
        '"age": 0.0',
    ),
    (
        "drains",
        "another agent does not know what was withdrawn",
        "{name: now - since for name, since in drain.gone.items()}",
        "{}",
    ),
    (
        "drains",
        "another agent lets a drain last for ever",
        '"left": None if drain.until is None else drain.until - now',
        '"left": None',
    ),
    (
        "drains",
        "an answer counts for longer than is said",
        "FRESH = 5.0",
        "FRESH = 500.0",
    ),
    (
        "haproxy",
        "a server counts whatever its check says",
        "proved=[server.usable for server in self.servers].count(yes)",
        "proved=len(self.servers)",
    ),
    (
        "findings",
        "servers without proof count as proved",
        "    elif proved < needed:\n",
        "    elif possible < needed:\n",
    ),
    (
        "findings",
        "a look counts for ever",
        "        if now < until:\n",
        "        if until:\n",
    ),
    (
        "health",
        "any rule is enough",
        "if part.truth < decisive.truth if every else",
        "if part.truth > decisive.truth if every else",
    ),
    (
        "known",
        "what is unknown is believed at once",
        "    return ends is not None and now >= ends\n",
        "    return ends is not None\n",
    ),
]


def faulty(stage: str, old: str, new: str) -> type[World]:
    """Give worlds in which the agent has a fault."""
    worlds: type[World] = planted(stage, old, new).World
    return worlds


@pytest.mark.parametrize(
    ("stage", "old", "new"), [(f[0], *f[2:]) for f in FAULTS], ids=[f[1] for f in FAULTS]
)
def test_the_search_finds_planted_faults(stage: str, old: str, new: str) -> None:
    """A search that finds nothing proves something only if it would find these."""
    worlds = faulty(stage, old, new)
    with pytest.raises(BrokenError):
        search_all(worlds, stage)


BY_CHANCE = [
    fault
    for fault in [
        *FAULTS[:9],
        *(fault for fault in FAULTS if fault[0] == "drains" and fault[1].startswith("a drain")),
    ]
    # Chance does not find these each time.
    if fault[1] not in {"the spacing is ignored on the way down", "the hold-down does not double"}
]


@pytest.mark.parametrize(
    ("stage", "old", "new"), [(f[0], *f[2:]) for f in BY_CHANCE], ids=[f[1] for f in BY_CHANCE]
)
def test_random_days_find_planted_faults(stage: str, old: str, new: str) -> None:
    """Chance finds what is found from many sides; the others are for every sequence."""
    worlds = faulty(stage, old, new)
    with pytest.raises(BrokenError):
        search(worlds, 1_000, shrink=False)


def test_interruptions_show_what_an_agent_does_not_keep() -> None:
    """Each pass of the next agent is right by what it knows; only the end differs."""
    worlds = faulty("policy", '"returned": ago(memory.returned_at)', '"returned": None')
    world = beginnings(worlds, "manual")["failed"]
    every_sequence(world, 2, ("return", INTERRUPTION, "wait 40"))
    with pytest.raises(BrokenError, match="comes to something else"):
        every_interruption(world, 1, ("return",))
