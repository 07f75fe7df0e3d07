"""The comparison of regions: who wins at the far router, at each level of each, and what is amiss.

Only lengths of AS paths are compared, as the far router does before it looks at anything else that
we send; equal lengths are a tie, which most routers use as ECMP.  Where ``prepends_steer`` is false
lengths say nothing, and nothing is said of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import chain, combinations, product

from anycastd.document import Problem, key_of, line_of
from anycastd.profile import Network, Platform, Profile, Service
from anycastd.rules_bgp import AZURE_ROUTE_SERVER
from anycastd.rules_services import LONGEST_PATH
from anycastd.yamltext import Path

# Best first; the keys hold the number of prepends at each announced level.
_KEYS: Mapping[str, tuple[str, ...]] = {
    "preferred": ("prepend",),
    "degraded": ("degraded", "prepend"),
    "standby": ("standby", "prepend"),
}
WITHDRAWN = "withdrawn"
_RANKS = {level: rank for rank, level in enumerate((*_KEYS, WITHDRAWN))}

ROWS_MAX = 1024
"""Of one matrix: five regions with four levels each; more regions are compared pair by pair."""

# Of one offer: (level, length of its path), best first.
_Lengths = tuple[tuple[str, int], ...]


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
class Comparison:
    """Matrices per VIP; problems with their lines; notes are no problems."""

    matrices: tuple[Matrix, ...]
    problems: tuple[Problem, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Offer:
    """A service as one file has it; ``order`` is the place of the file among all."""

    order: int
    file: str
    lines: Mapping[Path, int]
    profile: Profile
    service: Service
    candidates: Mapping[str, Candidate] = field(default_factory=dict)

    @property
    def lengths(self) -> _Lengths:
        return tuple((level, len(each.path)) for level, each in self.candidates.items())

    def problem(self, keys: Path, wrong: str, instead: str, *, warning: bool = True) -> Problem:
        path = ("services", self.service.name, *keys)
        line = line_of(self.lines, path)
        return Problem(self.file, line, key_of(path), wrong, instead, warning)


def compare(
    profiles: Sequence[tuple[str, Profile]],
    lines: Mapping[str, Mapping[Path, int]] | None = None,
) -> Comparison:
    """Compare the profiles of several regions, each with the name of its file.

    ``lines`` has for each file what ``rules.accept`` found there; without it, problems are said of
    line 1.
    """
    found = lines or {}
    regions = [
        [
            _offer(order, file, found.get(file, {}), profile, service)
            for service in profile.services.values()
        ]
        for order, (file, profile) in enumerate(profiles)
    ]
    pairs = list(_pairs(regions))
    others: dict[Network, list[_Offer]] = {}
    for offer in chain.from_iterable(regions):
        others.setdefault(offer.service.vip, []).append(offer)
    problems = [
        *_same_region(profiles, found),
        *_vips(regions, profiles, found),
        *_steering(profiles, found),
        *dict.fromkeys(
            problem for one, two in pairs for problem in _order(one, two, others[one.service.vip])
        ),
    ]
    return Comparison(
        matrices=tuple(chain.from_iterable(_matrices(each) for each in others.values())),
        problems=tuple(problems),
        notes=tuple(_notes([profile for _, profile in profiles])),
    )


def _offer(
    order: int, file: str, lines: Mapping[Path, int], profile: Profile, service: Service
) -> _Offer:
    prepends = {"preferred": service.prepend, "standby": service.standby.prepend}
    if service.healthy is not None and service.prepends_steer:
        prepends["degraded"] = service.degraded.prepend
    # The far router hears the shortest of what the neighbors were told.
    least = min(neighbor.prepend for neighbor in profile.bgp.neighbors)
    server = (AZURE_ROUTE_SERVER,) if profile.platform is Platform.AZURE else ()
    candidates = {
        level: Candidate(
            profile.region,
            level,
            server + (profile.bgp.local_as,) * (1 + prepends[level] + least),
            service.prepends_steer,
        )
        for level in _KEYS
        if level in prepends
    }
    return _Offer(order, file, lines, profile, service, candidates)


def _pairs(regions: Sequence[Sequence[_Offer]]) -> Iterator[tuple[_Offer, _Offer]]:
    """Yield what two regions offer of the same VIP, in the order of files and services."""
    for ones, twos in combinations(regions, 2):
        by_vip = {two.service.vip: two for two in twos}
        for one in ones:
            if one.service.vip in by_vip:
                yield one, by_vip[one.service.vip]


# The matrix --------------------------------------------------------------------------------------


def _matrices(offers: Sequence[_Offer]) -> Iterator[Matrix]:
    """Yield one matrix of all regions that have a VIP; of too many one for each pair."""
    if len(offers) < 2:  # noqa: PLR2004 - one region cannot be compared
        return
    if math.prod(len(offer.candidates) + 1 for offer in offers) > ROWS_MAX:
        yield from (_matrix(pair) for pair in combinations(offers, 2))
    else:
        yield _matrix(offers)


def _matrix(offers: Sequence[_Offer]) -> Matrix:
    levels = product(*((*offer.candidates.values(), _withdrawn(offer)) for offer in offers))
    return Matrix(
        service=offers[0].service.name,
        vip=offers[0].service.vip,
        regions=tuple(offer.profile.region for offer in offers),
        combinations=tuple(_combination(each) for each in levels),
    )


def _withdrawn(offer: _Offer) -> Candidate:
    return Candidate(offer.profile.region, WITHDRAWN, ())


def _combination(candidates: tuple[Candidate, ...]) -> Combination:
    announced = sorted((each for each in candidates if each.path), key=lambda each: len(each.path))
    if not announced:
        return Combination(candidates, (), "nobody announces it")
    best = announced[0]
    path = _spelt(best.path)
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
        one, *more = (f"{each.region} with {_spelt(each.path)}" for each in equal)
        sentence = f"{one} ties with {' and '.join(more)}: traffic is split (ECMP)"
        return Combination(candidates, tuple(each.region for each in equal), sentence)
    sentence = f"{best.region} wins with {path} before {other.region} with {_spelt(other.path)}"
    return Combination(candidates, (best.region,), sentence)


def _spelt(path: tuple[int, ...]) -> str:
    return " ".join(map(str, path))


# The order of paths ------------------------------------------------------------------------------


def _order(one: _Offer, two: _Offer, offers: Sequence[_Offer]) -> Iterator[Problem]:
    """Refuse two regions that tie, and warn where a worse level wins against a better one.

    ``offers`` are those of the same VIP in all regions: a proposal must suit each of them.
    """
    if not (one.service.prepends_steer and two.service.prepends_steer):
        return
    ecmp = one.service.ecmp and two.service.ecmp
    for first, second in product(one.lengths, two.lengths):
        if not _clash(first, second, ecmp=ecmp):
            continue
        (level, length), (other, against) = first, second
        if length == against:
            blamed, rival = _later(one, two)
        else:
            blamed, rival = (one, two) if length < against else (two, one)
        mine, theirs = (level, other) if blamed is one else (other, level)
        here = f"{mine} in {blamed.profile.region}"
        there = f"{theirs} in {rival.profile.region}"
        path = _spelt(blamed.candidates[mine].path)
        if length == against:
            wrong = f"{here} ties with {there} ({path}), so traffic is split between them (ECMP)"
        else:
            wrong = f"{here} ({path}) wins against {there}, though its level is worse"
        instead = _proposal(blamed, offers)
        if level == other == "preferred":
            instead += ", or ecmp: true in all regions if that is meant"
        yield blamed.problem(_KEYS[mine], wrong, instead, warning=length != against)


def _clash(one: tuple[str, int], two: tuple[str, int], *, ecmp: bool) -> bool:
    """Whether two levels with their lengths tie unmeant, or the worse one wins."""
    (level, length), (other, against) = one, two
    if length == against:
        return not (ecmp and level == other)
    worse_wins = (_RANKS[level] > _RANKS[other]) == (length < against)
    return level != other and worse_wins


def _later(one: _Offer, two: _Offer) -> tuple[_Offer, _Offer]:
    """Return the two with the less preferred one first: it is the one that should move."""
    return (one, two) if _preference(one) > _preference(two) else (two, one)


def _preference(offer: _Offer) -> tuple[int, int]:
    return len(offer.candidates["preferred"].path), offer.order


def _proposal(offer: _Offer, offers: Sequence[_Offer]) -> str:
    """Propose prepends for one region that clash with no other region's."""
    rivals = tuple(
        (rival.lengths, _preference(rival) < _preference(offer), rival.service.ecmp)
        for rival in offers
        if rival is not offer
    )
    bare = len(offer.candidates["preferred"].path) - offer.service.prepend
    top = LONGEST_PATH + (offer.profile.platform is Platform.AZURE)
    found = _nearest(offer.lengths, rivals, range(bare, top + 1), ecmp=offer.service.ecmp)
    if found is None:
        return _spread(offers)
    words = [
        f"{'.'.join(_KEYS[level])}: {length - bare}"
        for (level, before), length in zip(offer.lengths, found, strict=True)
        if length != before
    ]
    return f"write {', '.join(words)} in {offer.profile.region}"


def _spread(offers: Sequence[_Offer]) -> str:
    """Propose prepends for all regions, where no change of one of them would do."""
    step = len(_KEYS)
    if len(offers) > step:
        return f"announce it in {step} regions at most, for more do not fit into short paths"
    words = [
        f"{place}, {place + step}, {place + 2 * step} in {offer.profile.region}"
        for place, offer in enumerate(sorted(offers, key=_preference))
    ]
    return f"write {', '.join(words)} (prepend, degraded.prepend, standby.prepend)"


# Of a rival: its lengths, whether it is preferred to us, whether it has ecmp.
_Rival = tuple[_Lengths, bool, bool]


@cache
def _nearest(
    own: _Lengths, rivals: tuple[_Rival, ...], lengths: range, *, ecmp: bool
) -> tuple[int, ...] | None:
    """Return those of ``lengths`` nearest to ``own`` that suit all rivals, None if none do."""
    levels = [level for level, _ in own]
    before = [length for _, length in own]
    fitting = (
        chosen
        for chosen in combinations(lengths, len(own))
        if all(_suits(dict(zip(levels, chosen, strict=True)), rival, ecmp=ecmp) for rival in rivals)
    )
    distance = {
        chosen: sum(abs(new - old) for new, old in zip(chosen, before, strict=True))
        for chosen in fitting
    }
    return min(distance, key=lambda chosen: distance[chosen], default=None)


def _suits(own: Mapping[str, int], rival: _Rival, *, ecmp: bool) -> bool:
    """Whether lengths clash with no level of a rival, and keep to who is preferred."""
    lengths, preferred, also = rival
    if any(
        _clash(mine, theirs, ecmp=ecmp and also) for mine, theirs in product(own.items(), lengths)
    ):
        return False
    return all(
        level not in own or own[level] == length or (own[level] > length) == preferred
        for level, length in lengths
    )


# Names and VIPs ----------------------------------------------------------------------------------


def _same_region(
    profiles: Sequence[tuple[str, Profile]], lines: Mapping[str, Mapping[Path, int]]
) -> Iterator[Problem]:
    seen: dict[str, str] = {}
    for file, profile in profiles:
        if profile.region in seen:
            line = line_of(lines.get(file, {}), ("region",))
            wrong = f"{profile.region} is also the region of {seen[profile.region]}"
            yield Problem(file, line, "region", wrong, "write each region's own name")
        seen.setdefault(profile.region, file)


def _steering(
    profiles: Sequence[tuple[str, Profile]], lines: Mapping[str, Mapping[Path, int]]
) -> Iterator[Problem]:
    """Warn where regions disagree on whether prepends steer: it is a property of the far side."""
    steer = {profile.bgp.prepends_steer: profile.region for _, profile in profiles}
    for file, profile in profiles:
        if len(steer) > 1 and not profile.bgp.prepends_steer:
            path: Path = ("bgp", "prepends_steer")
            line = line_of(lines.get(file, {}), path)
            wrong = f"is false, and true in {steer[True]}"
            instead = "write the same in each region: it is the far side that compares the paths"
            yield Problem(file, line, key_of(path), wrong, instead, warning=True)


def _vips(
    regions: Sequence[Sequence[_Offer]],
    profiles: Sequence[tuple[str, Profile]],
    lines: Mapping[str, Mapping[Path, int]],
) -> Iterator[Problem]:
    """Ask for the same services with the same VIPs in each region."""
    first: dict[str, _Offer] = {}
    for offer in chain.from_iterable(regions):
        first.setdefault(offer.service.name, offer)
    for order, (file, _) in enumerate(profiles):
        names = {offer.service.vip: offer for offer in regions[order]}
        by_name = {offer.service.name: offer for offer in regions[order]}
        for name, known in first.items():
            vip, where = known.service.vip, f"{known.profile.region} ({known.file})"
            if name in by_name:
                own = by_name[name]
                if own.service.vip != vip:
                    wrong = f"{own.service.vip} is another VIP than {vip} in {where}"
                    instead = f"write {vip}, or give the service another name"
                    yield own.problem(("vip",), wrong, instead, warning=False)
            elif vip not in names:
                path: Path = ("services", name)
                wrong = f"is missing here, and has {vip} in {where}"
                instead = "add it, or this VIP has fewer regions than the others"
                line = line_of(lines.get(file, {}), path)
                yield Problem(file, line, key_of(path), wrong, instead)
            elif known.order < order:
                wrong = f"has the VIP that is called {name} in {where}"
                yield names[vip].problem((), wrong, f"call it {name} here too", warning=False)


def _notes(profiles: Sequence[Profile]) -> Iterator[str]:
    """Say what is no problem, and would be asked."""
    if len(profiles) < 2:  # noqa: PLR2004 - one region cannot be compared
        return
    numbers = sorted({profile.bgp.local_as for profile in profiles})
    if len(numbers) == 1:
        yield (
            f"all regions use AS {numbers[0]}: that is fine, each drops the other's route as its "
            "own, and none has to learn it"
        )
    else:
        yield f"the regions use the AS numbers {_spelt(tuple(numbers))}: only lengths are compared"
    unsteered = [profile.region for profile in profiles if not profile.bgp.prepends_steer]
    if unsteered:
        yield (
            f"prepends do not steer in {' and '.join(unsteered)} (prepends_steer: false): degraded "
            "and drained are withdrawn there, and what wins is not for these paths to say"
        )
    platforms = sorted({profile.platform.value for profile in profiles})
    if len(platforms) > 1:
        yield (
            f"the regions are on {' and '.join(platforms)}: no one router may see all of these "
            "paths as they are shown"
        )
    if "azure" in platforms:
        yield (
            "on Azure the paths are those at the MSEE; ExpressRoute removes private AS numbers, so "
            "on-premises routers see 12076 alone"
        )
