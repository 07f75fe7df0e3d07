"""Try every sequence of events, from several starts."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from search.counterexample import SEPARATOR, record_counterexample
from search.effort import InvariantError
from search.world import World

COUNTEREXAMPLES = os.environ.get("ANYCASTD_COUNTEREXAMPLES", "")
"""Folder into which a sequence that breaks an invariant is written, as a recording."""
RESTART = "restart in-time kept"
"""The restart that must change nothing: before the lease expires, with the agent's memory."""
EVENTS = (
    "haproxy healthy",
    "haproxy degraded",
    "haproxy failed",
    "haproxy unproved",
    "haproxy silent",
    "haproxy missed",
    "looks stop",
    "vip missing",
    "vip present",
    "sessions down",
    "sessions lost",
    "sessions up",
    "drain",
    "undrain",
    "expire",
    RESTART,
    "restart in-time forgotten",
    "restart late kept",
    "restart in-time damaged",
    "stall 5",
    "wait 0.7",
    "wait 6",
    "wait 40",
)
DRAIN_EVENTS = (
    "drain",
    "drain for",
    "drain force",
    "drain own",
    "undrain",
    "undrain own",
    "region serves",
    "region fails",
    "region draining",
    "region hangs",
    "haproxy healthy",
    "haproxy failed",
    "expire",
    RESTART,
    "restart late kept",
    "restart in-time damaged",
    "wait 0.7",
    "wait 6",
    "wait 40",
)
STARTS = ("drained", "draining", "failed", "degraded", "preferred", "fresh")


def build_starts(worlds: type[World], variant: str = "plain") -> dict[str, World]:
    """Build the worlds that searches begin with: name of the start -> World."""
    return _build_starts(worlds.begin, variant)


@cache
def _build_starts(begin: Callable[[str], World], variant: str) -> dict[str, World]:
    fresh = begin(variant)
    with note_events(fresh):
        preferred = fresh.recover()
    failed = preferred
    for _ in range(3):
        failed = _apply(failed, "haproxy failed", "wait 2", "haproxy healthy", "wait 3")
    degraded = _apply(preferred, "haproxy degraded", "wait 6")
    draining = _apply(preferred, "drain", "wait 0.7")
    drained = _apply(draining, "wait 6")
    worlds = (drained, draining, failed, degraded, preferred, fresh)
    return dict(zip(STARTS, worlds, strict=True))


def _apply(world: World, *events: str) -> World:
    for event in events:
        with note_events(world, event):
            world = world.apply(event)
    return world


def try_sequences(world: World, depth: int, events: tuple[str, ...]) -> int:
    """Try every sequence of up to ``depth`` events, and a recovery after each of them.

    Returns the number of different worlds.  Many sequences lead to equal worlds; the search
    continues from one of them only, which halves the time.
    """
    worlds = {world: None}  # a set that keeps its order
    for _ in range(depth):
        reached = dict(worlds)
        for each in worlds:
            for event in events:
                with note_events(each, event):
                    reached[each.apply(event)] = None
        worlds = reached
    for each in worlds:
        with note_events(each):
            each.recover()
    return len(worlds)


def try_restarts(world: World, depth: int, events: tuple[str, ...]) -> int:
    """Try every sequence twice, once with a restart at any point: both must end with equal routes.

    Returns the number of different pairs.
    """

    @cache
    def apply(each: World, event: str) -> World:
        with note_events(each, event):
            return each.apply(event)

    @cache
    def wait_until_stable(each: World) -> World:
        with note_events(each):
            return each.wait_until_stable()

    pairs = {(world, apply(world, RESTART)): None}
    for _ in range(depth):
        reached = dict(pairs)
        for steady, restarted in pairs:
            for event in events:
                after = apply(steady, event)
                reached[after, apply(restarted, event)] = None
                reached[after, apply(after, RESTART)] = None
        pairs = reached
    for steady, restarted in pairs:
        with note_events(restarted):
            if wait_until_stable(steady).routes != wait_until_stable(restarted).routes:
                raise InvariantError("after a restart it ends with other routes")
    return len(pairs)


def search_sequences(worlds: type[World], module: str) -> None:
    """Try every sequence, the short ones first.

    ``module``: where the fault was planted; the variants that are likely to find it come first.
    """
    drains_first = module in {"drains", "stored_drains", "routes", "pipeline"}
    variants = ("first", "last", "plain") if drains_first else ("plain", "first", "last")
    for depth in (1, 2, 3):
        for variant in variants:
            for world in build_starts(worlds, variant).values():
                try_sequences(world, depth, EVENTS if variant == "plain" else DRAIN_EVENTS)


@contextmanager
def note_events(world: World, *events: str) -> Iterator[None]:
    """Add to an error which events led to it."""
    try:
        yield
    except InvariantError as error:
        sequence = (*world.events, *events)
        error.add_note(SEPARATOR.join((world.surroundings.variant, *sequence)))
        if COUNTEREXAMPLES:
            path = Path(COUNTEREXAMPLES, f"{os.getpid()}.jsonl")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(record_counterexample(type(world), error))
            error.add_note(f"see it: anycastd simulate {path}")
        raise
