"""Search: servers that refuse, are silent, lie or come back, beside HAProxy's own checks."""

from __future__ import annotations

import random

import pytest

from search.asked_world import EVENTS, LONG_EVENTS, AskedWorld
from search.effort import LONG, SEARCH_TIMEOUT, InvariantError
from search.planting import ASKED_SEARCH, plant_fault
from search.servers_world import ServersWorld, build_starts, note_events, try_servers

DEPTH = 3 if LONG else 2
RANDOM = 2_000 if LONG else 12
SCENES = (
    ("kill here", "wait 2.5", "wait 2.5", "revive", "wait 9", "kill here", "wait 9"),
    ("kill here", "wait 0.5", "revive", "wait 9", "kill here", "reload", "revive", "wait 9"),
    ("move 1", "lie here", "kill there", "wait 75", "revive", "wait 9"),
    ("move 1", "lie here", "kill there", "reload", "wait 9", "wait 75"),
    ("kill here", "move 0", "kill there", "move 0", "revive", "wait 9"),
    ("kill here", "maint 0", "revive", "ready 0", "wait 9", "mute here", "wait 9"),
)


def try_random(worlds: type[ServersWorld], sequences: int) -> None:
    """Try long random sequences; the same ones each time."""
    chance = random.Random(14)  # noqa: S311 - a search, no secret
    starts = [*build_starts(worlds).values()]
    for _ in range(sequences):
        world = chance.choice(starts)
        for event in chance.choices((*EVENTS, *LONG_EVENTS), k=8):
            with note_events(world, event):
                world = world.apply(event)


def try_scene(world: ServersWorld, scene: tuple[str, ...]) -> None:
    """Try one long sequence."""
    for event in scene:
        with note_events(world, event):
            world = world.apply(event)


def try_scenes(worlds: type[ServersWorld]) -> None:
    """Try every event, and then every scene."""
    world = build_starts(worlds)["serving"]
    try_servers(world, 1, EVENTS)
    for scene in SCENES:
        try_scene(world, scene)


@pytest.mark.parametrize("scene", SCENES, ids=" / ".join)
@pytest.mark.timeout(SEARCH_TIMEOUT)
def test_long_sequences_of_asked_servers(scene: tuple[str, ...]) -> None:
    """What a server needs to be back, and what one needs that refuses the agent alone."""
    for start in build_starts(AskedWorld).values():
        try_scene(start, scene)


@pytest.mark.parametrize("start", ["serving", "dead", "fresh"])
@pytest.mark.timeout(SEARCH_TIMEOUT)
def test_every_short_sequence_of_asked_servers(start: str) -> None:
    """A server is left out only after a refusal, and only until HAProxy shows that it is back."""
    world = build_starts(AskedWorld)[start]
    assert try_servers(world, DEPTH, EVENTS) > len(EVENTS)


@pytest.mark.timeout(SEARCH_TIMEOUT)
def test_random_sequences_of_asked_servers() -> None:
    """Sequences that are too long to be enumerated."""
    try_random(AskedWorld, RANDOM)


FAULTS = [  # key of planting.MODULES, name of the fault, text of the source, text of the fault
    (
        "refusals",
        "silence counts as refused",
        "    if first in PROOFS and second in PROOFS:\n        return",
        "    if 0 not in (first, second):\n        return Answer.REFUSED, ''\n        return",
    ),
    (
        "refusals",
        "a refusal outlives the pass of a check",
        "return None if mark is None else refusal._replace(mark=mark)",
        "return refusal._replace(mark=mark or refusal.mark)",
    ),
    (
        "refusals",
        "a refusal outlives a change of address",
        "if row is None or row.addr != refusal.address or row.word",
        "if row is None or row.word",
    ),
    (
        "refusals",
        "a refusal that HAProxy contradicts is believed",
        "        if passed_at is not None:\n            disbelieved[key] = asked.address\n",
        (
            "        if passed_at is not None:\n"
            "            refusals[key] = Refusal(asked.address, 0, '')\n"
        ),
    ),
    (
        "check_results",
        "a refusal lasts for ever",
        "asked_at - mark.since >= CHECK_WITHIN or",
        "asked_at < 0 or",
    ),
    (
        "sources",
        "what servers answer is not used",
        "    if name in evidence.reached:\n",
        "    if not name:\n",
    ),
    (
        "verdict",
        "what servers answer is not used where all rules are true",
        " or (reached is not None and reached.refused):\n",
        ":\n",
    ),
]


@pytest.mark.parametrize(
    ("module", "old", "new"), [(f[0], *f[2:]) for f in FAULTS], ids=[f[1] for f in FAULTS]
)
@pytest.mark.timeout(SEARCH_TIMEOUT)
def test_the_search_of_asked_servers_finds_planted_faults(module: str, old: str, new: str) -> None:
    """Single events, and then the scenes, until an invariant does not hold."""
    worlds: type[AskedWorld] = plant_fault(module, old, new, ASKED_SEARCH).AskedWorld
    with pytest.raises(InvariantError):
        try_scenes(worlds)
