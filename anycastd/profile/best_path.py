"""Which region the far router sends traffic to, for each combination of levels (pure)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations, product

from anycastd.profile.document import Problem
from anycastd.profile.model import Network, Profile, Service
from anycastd.profile.yaml_reader import Path, find_line, format_key

# Best first; the keys hold the number of prepends at each announced level.
PREPEND_KEYS: Mapping[str, tuple[str, ...]] = {
    "preferred": ("prepend",),
    "degraded": ("degraded", "prepend"),
    "standby": ("standby", "prepend"),
}


WITHDRAWN = "withdrawn"


RANKS = {level: rank for rank, level in enumerate((*PREPEND_KEYS, WITHDRAWN))}


ROWS_MAX = 1024


# Of one offer: (level, length of its path), best first.
Lengths = tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A region at a level, with the path that the far router sees (empty: withdrawn)."""

    region: str
    level: str
    path: tuple[int, ...]
    steers: bool = True


@dataclass(frozen=True, slots=True)
class Combination:
    """One level of each region: ``winners`` are none, one, or several regions (a tie)."""

    candidates: tuple[Candidate, ...]
    winners: tuple[str, ...]
    sentence: str


@dataclass(frozen=True, slots=True)
class Matrix:
    """All combinations of the levels of one VIP in its regions, best levels first."""

    service: str
    vip: Network
    regions: tuple[str, ...]
    combinations: tuple[Combination, ...]


@dataclass(frozen=True, slots=True)
class Offer:
    """A service as one file has it; ``order`` is the place of the file among all."""

    order: int
    file: str
    lines: Mapping[Path, int]
    profile: Profile
    service: Service
    candidates: Mapping[str, Candidate] = field(default_factory=dict)

    @property
    def lengths(self) -> Lengths:
        return tuple((level, len(each.path)) for level, each in self.candidates.items())

    def problem(self, keys: Path, message: str, remedy: str, *, warning: bool = True) -> Problem:
        path = ("services", self.service.name, *keys)
        line = find_line(self.lines, path)
        return Problem(self.file, line, format_key(path), message, remedy, warning)


def build_matrices(offers: Sequence[Offer]) -> Iterator[Matrix]:
    """Yield one matrix of all regions that have a VIP; of too many one for each pair."""
    if len(offers) < 2:  # noqa: PLR2004 - one region cannot be compared
        return
    if math.prod(len(offer.candidates) + 1 for offer in offers) > ROWS_MAX:
        yield from (_matrix(pair) for pair in combinations(offers, 2))
    else:
        yield _matrix(offers)


def _matrix(offers: Sequence[Offer]) -> Matrix:
    levels = product(*((*offer.candidates.values(), _withdrawn(offer)) for offer in offers))
    return Matrix(
        service=offers[0].service.name,
        vip=offers[0].service.vip,
        regions=tuple(offer.profile.region for offer in offers),
        combinations=tuple(_combination(each) for each in levels),
    )


def _withdrawn(offer: Offer) -> Candidate:
    return Candidate(offer.profile.region, WITHDRAWN, ())


def _combination(candidates: tuple[Candidate, ...]) -> Combination:
    announced = sorted((each for each in candidates if each.path), key=lambda each: len(each.path))
    if not announced:
        return Combination(candidates, (), "nobody announces it")
    best = announced[0]
    path = spell(best.path)
    if len(announced) == 1:
        sentence = f"{best.region} alone, with {path}"
        return Combination(candidates, (best.region,), sentence)
    if not all(each.steers for each in announced):
        regions = tuple(each.region for each in announced)
        sentence = f"{' and '.join(regions)} announce it, and prepends do not steer"
        return Combination(candidates, regions, sentence)
    other = announced[1]
    if len(best.path) == len(other.path):
        equal = [each for each in announced if len(each.path) == len(best.path)]
        one, *more = (f"{each.region} with {spell(each.path)}" for each in equal)
        sentence = f"{one} ties with {' and '.join(more)}: traffic is split (ECMP)"
        return Combination(candidates, tuple(each.region for each in equal), sentence)
    sentence = f"{best.region} wins with {path} before {other.region} with {spell(other.path)}"
    return Combination(candidates, (best.region,), sentence)


def spell(path: tuple[int, ...]) -> str:
    return " ".join(map(str, path))
