"""Predict which region wins at the far router (pure).

The far router prefers the shortest AS path (RFC 4271 section 9.1.2.2).  So an order of all levels
of all regions by the length of their paths says it all: the first one that is announced wins.  It
costs little with many regions; every combination of their levels does not.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations, product

from anycastd.profile.document import Problem
from anycastd.profile.key_paths import Path, find_line, format_key
from anycastd.profile.model import Network, Profile, Service

PREPEND_KEYS: Mapping[str, tuple[str, ...]] = {
    "preferred": ("prepend",),
    "degraded": ("degraded", "prepend"),
    "standby": ("standby", "prepend"),
}
"""Announced level, best first -> keys in a service that lead to its number of prepends."""
WITHDRAWN = "withdrawn"
"""Name of the level without a route."""
RANKS = {level: rank for rank, level in enumerate((*PREPEND_KEYS, WITHDRAWN))}
"""Level -> its rank; 0 is the best level."""

MAX_ROWS = 1024
"""Combinations in one matrix: five regions with four levels each.  More are compared in pairs."""

PathLengths = tuple[tuple[str, int], ...]
"""(level, length of its AS path) of each announced level, best level first."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """An appliance at one level, with the AS path that the far router receives (empty: withdrawn).

    ``region`` is its region, or REGION/APPLIANCE where the region has several.  ``path`` has the
    nearest ASN first.  ``steers`` is False where longer paths do not move traffic.
    """

    region: str
    level: str
    path: tuple[int, ...]
    steers: bool = True


@dataclass(frozen=True, slots=True)
class Combination:
    """One level of each region, and the result.

    ``winners`` are names of regions: none, one, or several (a tie).  ``sentence`` describes the
    result for operators.
    """

    candidates: tuple[Candidate, ...]
    winners: tuple[str, ...]
    sentence: str


@dataclass(frozen=True, slots=True)
class Matrix:
    """All combinations of levels of one VIP in its regions, best levels first."""

    service: str
    vip: Network
    regions: tuple[str, ...]
    combinations: tuple[Combination, ...]


@dataclass(frozen=True, slots=True)
class Offer:
    """A service of one profile, with its candidate at each level.

    ``order`` is the index of the file in the comparison.  ``lines``: key path -> line in the file.
    ``candidates``: announced level -> its Candidate, best level first.
    """

    order: int
    file: str
    lines: Mapping[Path, int]
    profile: Profile
    service: Service
    candidates: Mapping[str, Candidate] = field(default_factory=dict)

    @property
    def lengths(self) -> PathLengths:
        """Return the length of the AS path at each level, best level first."""
        return tuple((level, len(each.path)) for level, each in self.candidates.items())

    def make_problem(
        self, keys: Path, message: str, remedy: str, *, warning: bool = True
    ) -> Problem:
        """Build a problem at the key path ``keys`` of this service."""
        path = ("services", self.service.name, *keys)
        line = find_line(self.lines, path)
        return Problem(self.file, line, format_key(path), message, remedy, warning)


@dataclass(frozen=True, slots=True)
class Ranking:
    """The levels of all regions for one VIP, best path first: the first that is announced wins.

    ``groups``: candidates whose paths have the same length, so that they tie.  ``unsteered`` are
    the regions whose paths decide nothing; they are in no group.
    """

    service: str
    vip: Network
    regions: tuple[str, ...]
    groups: tuple[tuple[Candidate, ...], ...]
    unsteered: tuple[str, ...] = ()

    def find_winners(self, levels: Mapping[str, str]) -> tuple[str, ...]:
        """Return the regions that win where each region is at a level: region -> level."""
        for group in self.groups:
            found = tuple(each.region for each in group if levels.get(each.region) == each.level)
            if found:
                return found
        return ()


def build_ranking(offers: Sequence[Offer]) -> Ranking:
    """Order all levels of the offers of one VIP by the length of their paths."""
    by_length: dict[int, list[Candidate]] = {}
    for offer in offers:
        for candidate in offer.candidates.values() if offer.service.prepends_steer else ():
            by_length.setdefault(len(candidate.path), []).append(candidate)
    return Ranking(
        offers[0].service.name,
        offers[0].service.vip,
        tuple(offer.profile.agent_name for offer in offers),
        tuple(tuple(by_length[length]) for length in sorted(by_length)),
        tuple(offer.profile.agent_name for offer in offers if not offer.service.prepends_steer),
    )


def build_matrices(offers: Sequence[Offer]) -> Iterator[Matrix]:
    """Yield one matrix of all offers of a VIP, or one for each pair if it has too many rows.

    MAX_ROWS says how many are too many.  A single offer gives no matrix.
    """
    if len(offers) < 2:  # noqa: PLR2004 - one region cannot be compared
        return
    if math.prod(len(offer.candidates) + 1 for offer in offers) > MAX_ROWS:
        yield from (_build_matrix(pair) for pair in combinations(offers, 2))
    else:
        yield _build_matrix(offers)


def _build_matrix(offers: Sequence[Offer]) -> Matrix:
    levels = product(
        *((*offer.candidates.values(), _withdrawn_candidate(offer)) for offer in offers)
    )
    return Matrix(
        service=offers[0].service.name,
        vip=offers[0].service.vip,
        regions=tuple(offer.profile.agent_name for offer in offers),
        combinations=tuple(compare_candidates(each) for each in levels),
    )


def _withdrawn_candidate(offer: Offer) -> Candidate:
    return Candidate(offer.profile.agent_name, WITHDRAWN, ())


def compare_candidates(candidates: tuple[Candidate, ...]) -> Combination:
    """Compare one candidate of each region: who wins at the far router, and in which words."""
    announced = sorted((each for each in candidates if each.path), key=lambda each: len(each.path))
    if not announced:
        return Combination(candidates, (), "no region announces it")
    best = announced[0]
    path = format_as_path(best.path)
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
        one, *more = (f"{each.region} with {format_as_path(each.path)}" for each in equal)
        sentence = f"{one} ties with {' and '.join(more)}: traffic is split (ECMP)"
        return Combination(candidates, tuple(each.region for each in equal), sentence)
    sentence = (
        f"{best.region} wins with {path} before {other.region} with {format_as_path(other.path)}"
    )
    return Combination(candidates, (best.region,), sentence)


def format_as_path(path: tuple[int, ...]) -> str:
    """Return an AS path as text, such as ``65010 65010``."""
    return " ".join(map(str, path))
