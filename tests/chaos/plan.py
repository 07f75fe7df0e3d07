"""What a chaos run will do: a pure function of its seed."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from support.faults import DEATHS, FAULTS, WITHIN, Fault

APART = 0.9
"""Mean seconds between the beginnings of two faults; so several are there at once."""
EPISODE = (6, 14)
"""Faults between two calms."""
CALM = 3.0
"""Seconds that a calm takes at least."""


@dataclass(frozen=True, slots=True)
class Step:
    """A fault, ``at`` seconds after the episode's beginning, for ``lasts`` seconds."""

    at: float
    fault: Fault
    lasts: float

    def __str__(self) -> str:
        """Say it in words."""
        lasts = f" for {self.lasts:.1f} s" if self.lasts else ""
        return f"{self.at:6.2f} s  {self.fault.name}{lasts}"


@dataclass(frozen=True, slots=True)
class Episode:
    """Faults that run into each other, and a calm at the end.

    ``harmless``: all of them are such that no route may change, whatever their order.
    """

    number: int
    harmless: bool
    steps: tuple[Step, ...]


def plan(seed: int, faults: int) -> list[Episode]:
    """Give episodes with so many ``faults`` together; every second one is harmless."""
    # Not for secrets: the same seed must give the same run.
    rng = random.Random(seed)  # noqa: S311
    deaths = {part: deque[float](maxlen=DEATHS) for part in ("agent", "lease")}
    episodes: list[Episode] = []
    began = 0.0
    left = faults
    while left:
        size = min(left, rng.randint(*EPISODE))
        harmless = bool(len(episodes) % 2)
        steps = tuple(_steps(rng, size, harmless, began, deaths))
        episodes.append(Episode(len(episodes), harmless, steps))
        began += max(step.at + step.lasts for step in steps) + CALM
        left -= size
    return episodes


def _steps(
    rng: random.Random,
    size: int,
    harmless: bool,
    began: float,
    deaths: dict[str, deque[float]],
) -> Iterator[Step]:
    free: dict[str, float] = {}
    at = 0.0
    for _ in range(size):
        at += rng.expovariate(1 / APART)
        while True:
            choice = [
                fault
                for fault in FAULTS.values()
                if (fault.harmless or not harmless)
                and all(free.get(part, 0.0) <= at for part in fault.parts)
                and not _loops(fault, began + at, deaths)
            ]
            if choice:
                break
            at += APART
        fault = rng.choice(choice)
        lasts = rng.uniform(*fault.lasts)
        for part in fault.parts:
            free[part] = at + lasts + 0.3
        for part in _dying(fault):
            deaths[part].append(began + at)
        if fault.name == "agent killed" and harmless:
            free["agent"] = at + 2.5  # it has to be back before the next blow, or its lease ends
        yield Step(at, fault, lasts)


def _dying(fault: Fault) -> list[str]:
    """Which of agent and lease process end by a fault and are started again."""
    if fault.name == "lease stopped":
        return ["lease"]  # found by its silence, and ended
    return [part for part in ("agent", "lease") if part in fault.parts and "killed" in fault.name]


def _loops(fault: Fault, at: float, deaths: dict[str, deque[float]]) -> bool:
    return any(
        len(deaths[part]) == DEATHS and at - deaths[part][0] < WITHIN for part in _dying(fault)
    )
