"""The comparison of regions: who wins at the far router, at each level of each, and what is amiss.

Only lengths of AS paths are compared, as the far router does before it looks at anything else that
we send; equal lengths are a tie, which most routers use as ECMP.  Where ``prepends_steer`` is false
lengths say nothing, and nothing is said of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import chain, combinations, product

from anycastd.profile.best_path import (
    PREPEND_KEYS,
    RANKS,
    Candidate,
    Lengths,
    Matrix,
    Offer,
    build_matrices,
    spell,
)
from anycastd.profile.document import Problem
from anycastd.profile.model import Network, Platform, Profile, Service
from anycastd.profile.rules.sections import AZURE_ROUTE_SERVER
from anycastd.profile.rules.services import MAX_PATH
from anycastd.profile.yaml_reader import Path, find_line, format_key

"""Of one matrix: five regions with four levels each; more regions are compared pair by pair."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Matrices per VIP; problems with their lines; notes are no problems."""

    matrices: tuple[Matrix, ...]
    problems: tuple[Problem, ...]
    notes: tuple[str, ...]


def compare_regions(
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
    others: dict[Network, list[Offer]] = {}
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
        matrices=tuple(chain.from_iterable(build_matrices(each) for each in others.values())),
        problems=tuple(problems),
        notes=tuple(_notes([profile for _, profile in profiles])),
    )


def _offer(
    order: int, file: str, lines: Mapping[Path, int], profile: Profile, service: Service
) -> Offer:
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
        for level in PREPEND_KEYS
        if level in prepends
    }
    return Offer(order, file, lines, profile, service, candidates)


def _pairs(regions: Sequence[Sequence[Offer]]) -> Iterator[tuple[Offer, Offer]]:
    """Yield what two regions offer of the same VIP, in the order of files and services."""
    for ones, twos in combinations(regions, 2):
        by_vip = {two.service.vip: two for two in twos}
        for one in ones:
            if one.service.vip in by_vip:
                yield one, by_vip[one.service.vip]


# The matrix --------------------------------------------------------------------------------------


# The order of paths ------------------------------------------------------------------------------


def _order(one: Offer, two: Offer, offers: Sequence[Offer]) -> Iterator[Problem]:
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
        path = spell(blamed.candidates[mine].path)
        if length == against:
            message = f"{here} ties with {there} ({path}), so traffic is split between them (ECMP)"
        else:
            message = f"{here} ({path}) wins against {there}, though its level is worse"
        remedy = _proposal(blamed, offers)
        if level == other == "preferred":
            remedy += ", or ecmp: true in all regions if that is meant"
        yield blamed.problem(PREPEND_KEYS[mine], message, remedy, warning=length != against)


def _clash(one: tuple[str, int], two: tuple[str, int], *, ecmp: bool) -> bool:
    """Whether two levels with their lengths tie unmeant, or the worse one wins."""
    (level, length), (other, against) = one, two
    if length == against:
        return not (ecmp and level == other)
    worse_wins = (RANKS[level] > RANKS[other]) == (length < against)
    return level != other and worse_wins


def _later(one: Offer, two: Offer) -> tuple[Offer, Offer]:
    """Return the two with the less preferred one first: it is the one that should move."""
    return (one, two) if _preference(one) > _preference(two) else (two, one)


def _preference(offer: Offer) -> tuple[int, int]:
    return len(offer.candidates["preferred"].path), offer.order


def _proposal(offer: Offer, offers: Sequence[Offer]) -> str:
    """Propose prepends for one region that clash with no other region's."""
    rivals = tuple(
        (rival.lengths, _preference(rival) < _preference(offer), rival.service.ecmp)
        for rival in offers
        if rival is not offer
    )
    bare = len(offer.candidates["preferred"].path) - offer.service.prepend
    top = MAX_PATH + (offer.profile.platform is Platform.AZURE)
    found = _nearest(offer.lengths, rivals, range(bare, top + 1), ecmp=offer.service.ecmp)
    if found is None:
        return _spread(offers)
    words = [
        f"{'.'.join(PREPEND_KEYS[level])}: {length - bare}"
        for (level, before), length in zip(offer.lengths, found, strict=True)
        if length != before
    ]
    return f"write {', '.join(words)} in {offer.profile.region}"


def _spread(offers: Sequence[Offer]) -> str:
    """Propose prepends for all regions, where no change of one of them would do."""
    step = len(PREPEND_KEYS)
    if len(offers) > step:
        return f"announce it in {step} regions at most, for more do not fit into short paths"
    words = [
        f"{place}, {place + step}, {place + 2 * step} in {offer.profile.region}"
        for place, offer in enumerate(sorted(offers, key=_preference))
    ]
    return f"write {', '.join(words)} (prepend, degraded.prepend, standby.prepend)"


# Of a rival: its lengths, whether it is preferred to us, whether it has ecmp.
_Rival = tuple[Lengths, bool, bool]


@cache
def _nearest(
    own: Lengths, rivals: tuple[_Rival, ...], lengths: range, *, ecmp: bool
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
            line = find_line(lines.get(file, {}), ("region",))
            message = f"{profile.region} is also the region of {seen[profile.region]}"
            yield Problem(file, line, "region", message, "write each region's own name")
        seen.setdefault(profile.region, file)


def _steering(
    profiles: Sequence[tuple[str, Profile]], lines: Mapping[str, Mapping[Path, int]]
) -> Iterator[Problem]:
    """Warn where regions disagree on whether prepends steer: it is a property of the far side."""
    steer = {profile.bgp.prepends_steer: profile.region for _, profile in profiles}
    for file, profile in profiles:
        if len(steer) > 1 and not profile.bgp.prepends_steer:
            path: Path = ("bgp", "prepends_steer")
            line = find_line(lines.get(file, {}), path)
            message = f"is false, and true in {steer[True]}"
            remedy = "write the same in each region: it is the far side that compares the paths"
            yield Problem(file, line, format_key(path), message, remedy, warning=True)


def _vips(
    regions: Sequence[Sequence[Offer]],
    profiles: Sequence[tuple[str, Profile]],
    lines: Mapping[str, Mapping[Path, int]],
) -> Iterator[Problem]:
    """Ask for the same services with the same VIPs in each region."""
    first: dict[str, Offer] = {}
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
                    message = f"{own.service.vip} is another VIP than {vip} in {where}"
                    remedy = f"write {vip}, or give the service another name"
                    yield own.problem(("vip",), message, remedy, warning=False)
            elif vip not in names:
                path: Path = ("services", name)
                message = f"is missing here, and has {vip} in {where}"
                remedy = "add it, or this VIP has fewer regions than the others"
                line = find_line(lines.get(file, {}), path)
                yield Problem(file, line, format_key(path), message, remedy)
            elif known.order < order:
                message = f"has the VIP that is called {name} in {where}"
                yield names[vip].problem((), message, f"call it {name} here too", warning=False)


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
        yield f"the regions use the AS numbers {spell(tuple(numbers))}: only lengths are compared"
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
