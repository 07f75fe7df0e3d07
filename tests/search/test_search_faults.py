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
        "caps",
        "the hold-down never ends",
        "    doublings = min(failures - 1, 32)",
        "    return 1e9\n    doublings = min(failures - 1, 32)",
    ),
    (
        "caps",
        "the hold-down does not double",
        "float(2**doublings)",
        "1.0",
    ),
    (
        "caps",
        "the spacing is ignored",
        "now < (spaced := memory.changed_at + timers.spacing):",
        "now < (spaced := memory.changed_at):",
    ),
    (
        "caps",
        "the spacing is ignored on the way down",
        "        ends = max(ends, spaced)\n",
        "",
    ),
    (
        "caps",
        "unknown promotes",
        "    if verdict.serve.truth is Truth.UNKNOWN and not is_expired(",
        "    if not verdict and not is_expired(",
    ),
    (
        "policy",
        "unknown holds for ever",
        "serve = update_from_finding(memory.serve, verdict.serve, verdict.believe_for, now)",
        "serve = update_from_finding(memory.serve, verdict.serve, 1e9, now)",
    ),
    (
        "caps",
        "announced while drained",
        "    if context.drain is not None:\n        yield replace(",
        "    if context.drain is not None and not memory.serve.value:\n        yield replace(",
    ),
    (
        "caps",
        "a failure waits for the spacing",
        "    elif not memory.serve.value:\n        floor = Level.WITHDRAWN\n",
        (
            "    elif not memory.serve.value:\n"
            "        spaced = memory.changed_at is not None and now < memory.changed_at + 35\n"
            "        floor = memory.level if spaced else Level.WITHDRAWN\n"
        ),
    ),
    (
        "caps",
        "`fall` is ignored",
        "memory.healthy.began_at + service.degraded.fall, Reason.FALLING",
        "memory.healthy.began_at, Reason.FALLING",
    ),
    (
        "caps",
        "the hold-down keeps a route withdrawn",
        "yield Cap(Level.STANDBY, Reason.HOLD_DOWN,",
        "yield Cap(Level.WITHDRAWN, Reason.HOLD_DOWN,",
    ),
    (
        "policy",
        "an agent that comes back forgets that nothing is announced",
        "return replace(memory, changed_at=now) if unseen else memory",
        "return replace(memory, serve=LastKnown(True, 0.0))",
    ),
    (
        "policy",
        "an agent that comes back forgets the spacing",
        "        memory = replace(memory, changed_at=now)\n    return",
        "    return",
    ),
    (
        "policy",
        "it does not wake itself",
        "wake_at=_next_wake(verdict, memory, caps, now),",
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
        "ready = complete and inputs.lease.leased is not None",
        "ready = complete",
    ),
    (
        "pipeline",
        "drains are not handed on",
        "drain = effects[name][0].cap if name in effects else None",
        "drain = None",
    ),
    (
        "pipeline",
        "a drained service is told like any other",
        "wanted=wanted_routes(profile, levels, effects) if ready",
        "wanted=wanted_routes(profile, levels) if ready",
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
        "replace(each, level=Level.WITHDRAWN, level_began_at=now, changed_at=now)",
        "replace(each, level_began_at=now)",
    ),
    (
        "pipeline",
        "it does not wake for the end of a drain",
        "    wake += draining.wake_times(going)\n",
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
        "waited = now >= drain.began_at + drain.wait or not steers",
        "waited = True",
    ),
    (
        "drains",
        "a drained service comes back when another region fails",
        "    if name in drain.withdrawn_at:\n        cap =",
        "    if name in drain.withdrawn_at and (guard is None or guard.serves):\n        cap =",
    ),
    (
        "drains",
        "an answer counts for ever",
        (
            "            or report.asked_at <= began_at + REPORT_MARGIN\n"
            "            or now - report.asked_at > REPORT_LIFETIME\n"
        ),
        "            or report.asked_at <= began_at + REPORT_MARGIN\n",
    ),
    (
        "drains",
        "an answer from before the drain counts",
        "            or report.asked_at <= began_at + REPORT_MARGIN\n",
        "",
    ),
    (
        "drains",
        "a region that is drained itself counts",
        "        elif not vip.draining:\n",
        "        elif vip:\n",
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
        "if d.ends_at is None or now < d.ends_at",
        "if d.ends_at is None or now",
    ),
    (
        "drains",
        "the higher of two drains counts",
        "key=lambda effect: (effect.cap.level,",
        "key=lambda effect: (-effect.cap.level,",
    ),
    (
        "drains",
        "another agent begins to wait anew",
        '"age": now - drain.began_at',
        '"age": 0.0',
    ),
    (
        "drains",
        "another agent does not know what was withdrawn",
        "{name: now - at for name, at in drain.withdrawn_at.items()}",
        "{}",
    ),
    (
        "drains",
        "another agent lets a drain last for ever",
        '"left": None if drain.ends_at is None else drain.ends_at - now',
        '"left": None',
    ),
    (
        "drains",
        "an answer counts for longer than is said",
        "REPORT_LIFETIME = 5.0",
        "REPORT_LIFETIME = 500.0",
    ),
    (
        "snapshot",
        "a server counts whatever its check says",
        "proved=[server.usable for server in self.servers].count(yes)",
        "proved=len(self.servers)",
    ),
    (
        "conditions",
        "servers without proof count as proved",
        "    elif proved < needed:\n",
        "    elif possible < needed:\n",
    ),
    (
        "conditions",
        "a look counts for ever",
        "        if now < changes_at:\n",
        "        if changes_at:\n",
    ),
    (
        "finding",
        "any rule is enough",
        "if part.truth < decisive.truth if every else",
        "if part.truth > decisive.truth if every else",
    ),
    (
        "last_known",
        "what is unknown is believed at once",
        "    return ends_at is not None and now >= ends_at\n",
        "    return ends_at is not None\n",
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
    worlds = faulty("memory", '"returned": age(memory.returned_at)', '"returned": None')
    world = beginnings(worlds, "manual")["failed"]
    every_sequence(world, 2, ("return", INTERRUPTION, "wait 40"))
    with pytest.raises(BrokenError, match="comes to something else"):
        every_interruption(world, 1, ("return",))
