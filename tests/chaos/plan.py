"""The plan of a chaos run: a pure function of its seed."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from support.fault import Fault
from support.faults import CRASH_LOOP_WINDOW, FAULTS, MAX_DEATHS

FAULT_INTERVAL = 0.9
"""Mean seconds between the beginnings of two faults; short, so that several overlap."""
EPISODE_FAULTS = (6, 14)
"""Fewest and most faults of an episode."""
CALM = 3.0
"""Shortest calm after an episode, in seconds."""


@dataclass(frozen=True, slots=True)
class Step:
    """A fault that begins ``at`` seconds after the episode's begin and lasts ``lasts`` seconds."""

    at: float
    fault: Fault
    lasts: float

    def __str__(self) -> str:
        """Return it as a line of the report."""
        lasts = f" for {self.lasts:.1f} s" if self.lasts else ""
        return f"{self.at:6.2f} s  {self.fault.name}{lasts}"


@dataclass(frozen=True, slots=True)
class Episode:
    """Faults that overlap, followed by a calm.

    ``harmless``: no route may change for any of them, whatever their order.
    """

    number: int
    harmless: bool
    steps: tuple[Step, ...]


def plan(seed: int, faults: int, allowed: Callable[[Fault], bool] | None = None) -> list[Episode]:
    """Return episodes with ``faults`` faults in all; every second episode is harmless.

    Only faults that are ``allowed`` are used.  Raises ValueError where that leaves none that are
    harmless.
    """
    chosen = [fault for fault in FAULTS.values() if allowed is None or allowed(fault)]
    if not any(fault.harmless for fault in chosen):
        raise ValueError("no fault that is harmless is left")
    # No secret: the same seed must give the same run.
    rng = random.Random(seed)  # noqa: S311
    deaths = {part: deque[float](maxlen=MAX_DEATHS) for part in ("agent", "lease")}
    episodes: list[Episode] = []
    began_at = 0.0
    left = faults
    while left:
        size = min(left, rng.randint(*EPISODE_FAULTS))
        harmless = bool(len(episodes) % 2)
        steps = tuple(_steps(rng, size, harmless, began_at, deaths, chosen))
        episodes.append(Episode(len(episodes), harmless, steps))
        began_at += max(step.at + step.lasts for step in steps) + CALM
        left -= size
    return episodes


def _steps(
    rng: random.Random,
    size: int,
    harmless: bool,
    began_at: float,
    deaths: dict[str, deque[float]],
    chosen: Sequence[Fault],
) -> Iterator[Step]:
    free: dict[str, float] = {}
    at = 0.0
    for _ in range(size):
        at += rng.expovariate(1 / FAULT_INTERVAL)
        while True:
            choice = [
                fault
                for fault in chosen
                if (fault.harmless or not harmless)
                and all(free.get(part, 0.0) <= at for part in fault.parts)
                and not _makes_crash_loop(fault, began_at + at, deaths)
            ]
            if choice:
                break
            at += FAULT_INTERVAL
        fault = rng.choice(choice)
        lasts = rng.uniform(*fault.lasts)
        for part in fault.parts:
            free[part] = at + lasts + 0.3
        for part in _restarted_parts(fault):
            deaths[part].append(began_at + at)
        if fault.name == "agent killed" and harmless:
            free["agent"] = at + 2.5  # it must be back before the next fault, or its lease ends
        yield Step(at, fault, lasts)


def _restarted_parts(fault: Fault) -> list[str]:
    """Return which of agent and lease process end by a fault and are restarted."""
    if fault.name == "lease stopped":
        return ["lease"]  # found by its silence, and ended
    return [
        part
        for part in ("agent", "lease")
        if part in fault.ends or (part in fault.parts and "killed" in fault.name)
    ]


def _makes_crash_loop(fault: Fault, at: float, deaths: dict[str, deque[float]]) -> bool:
    return any(
        len(deaths[part]) == MAX_DEATHS and at - deaths[part][0] < CRASH_LOOP_WINDOW
        for part in _restarted_parts(fault)
    )
