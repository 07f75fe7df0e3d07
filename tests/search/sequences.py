"""Every sequence of what may happen to a world, from several beginnings."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache

from search.effort import BrokenError
from search.world import World

INTERRUPTION = "restart in-time kept"
EVENTS = (
    "see well",
    "see less",
    "see failed",
    "see unproved",
    "see silent",
    "blind",
    "vip missing",
    "vip there",
    "sessions down",
    "sessions lost",
    "sessions up",
    "drain",
    "undrain",
    "lapse",
    INTERRUPTION,
    "restart in-time forgotten",
    "restart late kept",
    "stall 5",
    "wait 0.7",
    "wait 6",
    "wait 40",
)
DRAINS = (
    "drain",
    "drain for",
    "drain force",
    "drain own",
    "undrain",
    "undrain own",
    "other serves",
    "other fails",
    "other leaves",
    "other mute",
    "see well",
    "see failed",
    "lapse",
    INTERRUPTION,
    "restart late kept",
    "wait 0.7",
    "wait 6",
    "wait 40",
)
BEGINNINGS = ("drained", "leaving", "failed", "degraded", "preferred", "fresh")


def beginnings(worlds: type[World], variant: str = "plain") -> dict[str, World]:
    """Give worlds to begin with: in a drain, after failures, at each level, fresh."""
    return _beginnings(worlds.begin, variant)


@cache
def _beginnings(begin: Callable[[str], World], variant: str) -> dict[str, World]:
    fresh = begin(variant)
    settled = fresh.settle()
    failed = settled
    for _ in range(3):
        for event in ("see failed", "wait 2", "see well", "wait 3"):
            failed = failed.happen(event)
    degraded = settled.happen("see less").happen("wait 6")
    leaving = settled.happen("drain").happen("wait 0.7")
    drained = leaving.happen("wait 6")
    worlds = (drained, leaving, failed, degraded, settled, fresh)
    return dict(zip(BEGINNINGS, worlds, strict=True))


def every_sequence(world: World, depth: int, events: tuple[str, ...]) -> int:
    """Try every sequence of up to ``depth`` events from a world; give how many worlds there are.

    Many sequences lead to the same world; it is gone on from once, which halves the time.
    """
    worlds = {world: None}  # a set that keeps its order
    for _ in range(depth):
        followed = dict(worlds)
        for each in worlds:
            for event in events:
                with _told(each, event):
                    followed[each.happen(event)] = None
        worlds = followed
    for each in worlds:
        with _told(each):
            each.settle()
    return len(worlds)


def every_interruption(world: World, depth: int, events: tuple[str, ...]) -> int:
    """Try every sequence, interrupted at every point: it comes to the same in the end.

    The second of each pair has seen the same, and was interrupted once before.
    """

    @cache
    def happen(each: World, event: str) -> World:
        with _told(each, event):
            return each.happen(event)

    @cache
    def rest(each: World) -> World:
        with _told(each):
            return each.rest()

    pairs = {(world, happen(world, INTERRUPTION)): None}
    for _ in range(depth):
        followed = dict(pairs)
        for one, twin in pairs:
            for event in events:
                after = happen(one, event)
                followed[after, happen(twin, event)] = None
                followed[after, happen(after, INTERRUPTION)] = None
        pairs = followed
    for one, twin in pairs:
        with _told(twin):
            if rest(one).routes != rest(twin).routes:
                raise BrokenError("interrupted, it comes to something else")
    return len(pairs)


def search_all(worlds: type[World], stage: str) -> None:
    """Try every sequence, short ones first, and first where a fault in this stage may show."""
    drains = stage in {"drains", "routes", "pipeline"}
    variants = ("first", "last", "plain") if drains else ("plain", "first", "last")
    for depth in (1, 2, 3):
        for variant in variants:
            for world in beginnings(worlds, variant).values():
                every_sequence(world, depth, EVENTS if variant == "plain" else DRAINS)


@contextmanager
def _told(world: World, *events: str) -> Iterator[None]:
    """Add to an error what had happened."""
    try:
        yield
    except BrokenError as error:
        error.add_note(" / ".join((world.weather.variant, *world.story, *events)))
        raise
