"""Compare the profiles of several regions or appliances: who wins, and what is wrong.

Only the lengths of AS paths are compared.  The far router compares them before everything else
that a profile can set (RFC 4271 section 9.1.2.2).  Equal lengths are a tie, which most routers use
as ECMP; within one region that is meant, and a note tells where MEDs differ.  Where
``prepends_steer`` is false, lengths have no effect and are not checked.
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
    Matrix,
    Offer,
    PathLengths,
    Ranking,
    build_matrices,
    build_ranking,
    format_as_path,
)
from anycastd.profile.compare_notes import iter_notes
from anycastd.profile.copies import check_copies
from anycastd.profile.document import Problem
from anycastd.profile.key_paths import Path, find_line, format_key
from anycastd.profile.model import Network, Platform, Profile, Service
from anycastd.profile.rules.sections import AZURE_ROUTE_SERVER
from anycastd.profile.rules.services import MAX_PATH_LENGTH


@dataclass(frozen=True, slots=True)
class Comparison:
    """Result of a comparison: problems with their lines, notes, and the offers of each shared VIP.

    A note is a sentence for operators about what looks like a problem and is none.
    """

    problems: tuple[Problem, ...]
    notes: tuple[str, ...]
    offers: tuple[tuple[Offer, ...], ...]

    @property
    def rankings(self) -> tuple[Ranking, ...]:
        """Return the order of all levels for each VIP that several regions have."""
        return tuple(build_ranking(each) for each in self.offers)

    @property
    def matrices(self) -> tuple[Matrix, ...]:
        """Return every combination of levels for each VIP; slow where there are many regions."""
        return tuple(chain.from_iterable(build_matrices(each) for each in self.offers))


def compare_regions(
    profiles: Sequence[tuple[str, Profile]],
    lines: Mapping[str, Mapping[Path, int]] | None = None,
) -> Comparison:
    """Compare the profiles of several regions, given as (file, profile).

    ``lines``: file -> its ``Validation.lines``; without it, problems are at line 1.
    """
    found = lines or {}
    regions = [
        [
            _build_offer(order, file, found.get(file, {}), profile, service)
            for service in profile.services.values()
        ]
        for order, (file, profile) in enumerate(profiles)
    ]
    pairs = list(_iter_pairs(regions))
    by_vip: dict[Network, list[Offer]] = {}
    for offer in chain.from_iterable(regions):
        by_vip.setdefault(offer.service.vip, []).append(offer)
    problems = [
        *_check_names(profiles, found),
        *_check_vips(regions, profiles, found),
        *_check_steering(profiles, found),
        *check_copies(profiles, found),
        *dict.fromkeys(
            problem
            for one, two in pairs
            for problem in _check_order(one, two, by_vip[one.service.vip])
        ),
    ]
    return Comparison(
        problems=tuple(problems),
        notes=(
            *iter_notes([profile for _, profile in profiles]),
            *_iter_shared(list(by_vip.values())),
        ),
        offers=tuple(tuple(each) for each in by_vip.values() if len(each) > 1),
    )


def _build_offer(
    order: int, file: str, lines: Mapping[Path, int], profile: Profile, service: Service
) -> Offer:
    prepends = {"preferred": service.prepend, "standby": service.standby.prepend}
    if service.healthy is not None and service.prepends_steer:
        prepends["degraded"] = service.degraded.prepend
    # The far router uses the shortest of the paths that the neighbors got.
    family = f"ipv{service.vip.version}"
    carrying = [each for each in profile.bgp.neighbors if family in each.families]
    least = min(neighbor.prepend for neighbor in carrying)
    server = (AZURE_ROUTE_SERVER,) if profile.platform is Platform.AZURE else ()
    candidates = {
        level: Candidate(
            profile.agent_name,
            level,
            server + (profile.bgp.local_as,) * (1 + prepends[level] + least),
            service.prepends_steer,
        )
        for level in PREPEND_KEYS
        if level in prepends
    }
    return Offer(order, file, lines, profile, service, candidates)


def _iter_pairs(regions: Sequence[Sequence[Offer]]) -> Iterator[tuple[Offer, Offer]]:
    """Yield the offers of the same VIP in two regions, in the order of files and services."""
    for ones, twos in combinations(regions, 2):
        by_vip = {two.service.vip: two for two in twos}
        for one in ones:
            if one.service.vip in by_vip:
                yield one, by_vip[one.service.vip]


def _check_order(one: Offer, two: Offer, offers: Sequence[Offer]) -> Iterator[Problem]:
    """Yield an error where two regions tie, and a warning where a worse level wins.

    ``offers`` are the offers of the same VIP in all regions; a remedy must fit all of them.
    """
    if not (one.service.prepends_steer and two.service.prepends_steer):
        return
    ecmp = _may_share(one, two)
    for first, second in product(one.lengths, two.lengths):
        if not _is_conflict(first, second, ecmp=ecmp):
            continue
        (level, length), (other_level, other_length) = first, second
        if length == other_length:
            blamed, rival = _order_by_blame(one, two)
        else:
            blamed, rival = (one, two) if length < other_length else (two, one)
        mine, theirs = (level, other_level) if blamed is one else (other_level, level)
        here = f"{mine} in {blamed.profile.agent_name}"
        there = f"{theirs} in {rival.profile.agent_name}"
        path = format_as_path(blamed.candidates[mine].path)
        if length == other_length:
            message = f"{here} ties with {there} ({path}), so traffic is split between them (ECMP)"
        else:
            message = f"{here} ({path}) wins against {there}, though its level is worse"
        remedy = _propose_prepends(blamed, offers)
        if level == other_level == "preferred":  # in two regions: within one it is no conflict
            remedy += ", or ecmp: true in all regions if this is intended"
        yield blamed.make_problem(
            PREPEND_KEYS[mine], message, remedy, warning=length != other_length
        )


def _may_share(one: Offer, two: Offer) -> bool:
    """Return whether equal paths are meant: within one region, or with `ecmp` in both."""
    same = one.profile.region == two.profile.region
    return same or (one.service.ecmp and two.service.ecmp)


def _is_conflict(one: tuple[str, int], two: tuple[str, int], *, ecmp: bool) -> bool:
    """Return whether two levels tie without ``ecmp``, or the worse one wins."""
    (level, length), (other_level, other_length) = one, two
    if length == other_length:
        return not (ecmp and level == other_level)
    worse_wins = (RANKS[level] > RANKS[other_level]) == (length < other_length)
    return level != other_level and worse_wins


def _order_by_blame(one: Offer, two: Offer) -> tuple[Offer, Offer]:
    """Return the two offers, the less preferred one first: it is the one to change."""
    return (one, two) if _preference_key(one) > _preference_key(two) else (two, one)


def _preference_key(offer: Offer) -> tuple[int, int]:
    return len(offer.candidates["preferred"].path), offer.order


def _propose_prepends(offer: Offer, offers: Sequence[Offer]) -> str:
    """Propose prepends for one region that conflict with no other region."""
    rivals = tuple(
        (rival.lengths, _preference_key(rival) < _preference_key(offer), _may_share(offer, rival))
        for rival in offers
        if rival is not offer
    )
    bare = len(offer.candidates["preferred"].path) - offer.service.prepend
    top = MAX_PATH_LENGTH + (offer.profile.platform is Platform.AZURE)
    found = _find_nearest_lengths(offer.lengths, rivals, range(bare, top + 1))
    if found is None:
        return _propose_for_all(offers)
    proposals = [
        f"{'.'.join(PREPEND_KEYS[level])}: {length - bare}"
        for (level, before), length in zip(offer.lengths, found, strict=True)
        if length != before
    ]
    return f"write {', '.join(proposals)} in {offer.profile.agent_name}"


def _propose_for_all(offers: Sequence[Offer]) -> str:
    """Propose prepends for all regions, for when changing one of them is not enough."""
    step = len(PREPEND_KEYS)
    if len(offers) > step:
        return f"announce it in at most {step} regions; more do not fit into short paths"
    proposals = [
        f"{place}, {place + step}, {place + 2 * step} in {offer.profile.agent_name}"
        for place, offer in enumerate(sorted(offers, key=_preference_key))
    ]
    return f"write {', '.join(proposals)} (prepend, degraded.prepend, standby.prepend)"


# Path lengths of another offer, whether it is preferred to ours, whether equal paths are meant.
_Rival = tuple[PathLengths, bool, bool]


@cache
def _find_nearest_lengths(
    own: PathLengths, rivals: tuple[_Rival, ...], lengths: range
) -> tuple[int, ...] | None:
    """Choose of ``lengths`` the nearest to ``own`` that fit all rivals; None if none do."""
    levels = [level for level, _ in own]
    before = [length for _, length in own]
    fitting = (
        chosen
        for chosen in combinations(lengths, len(own))
        if all(_fits(dict(zip(levels, chosen, strict=True)), rival) for rival in rivals)
    )
    distance = {
        chosen: sum(abs(new - old) for new, old in zip(chosen, before, strict=True))
        for chosen in fitting
    }
    return min(distance, key=lambda chosen: distance[chosen], default=None)


def _fits(own: Mapping[str, int], rival: _Rival) -> bool:
    """Return whether lengths conflict with no level of a rival and keep the order of preference."""
    lengths, preferred, ecmp = rival
    if any(_is_conflict(mine, theirs, ecmp=ecmp) for mine, theirs in product(own.items(), lengths)):
        return False
    return all(
        level not in own or own[level] == length or (own[level] > length) == preferred
        for level, length in lengths
    )


def _check_names(
    profiles: Sequence[tuple[str, Profile]], lines: Mapping[str, Mapping[Path, int]]
) -> Iterator[Problem]:
    """Refuse two profiles of one region, unless each names an appliance of its own."""
    seen: dict[str, list[tuple[str, Profile]]] = {}
    for file, profile in profiles:
        others = seen.setdefault(profile.region, [])
        region, appliance = profile.region, profile.appliance
        clash = next(
            (
                where
                for where, other in others
                if None in (appliance, other.appliance) or other.appliance == appliance
            ),
            None,
        )
        others.append((file, profile))
        if clash is None:
            continue
        remedy = (
            "give each region its own name; where they are two appliances of one region, give "
            "each profile an appliance: of its own, and list both in regions as agents"
        )
        key, message = "region", f"{region} is also the region of {clash}"
        if appliance is not None:
            key, message = "appliance", f"{profile.agent_name} is also that of {clash}"
        yield Problem(file, find_line(lines.get(file, {}), (key,)), key, message, remedy)


def _check_steering(
    profiles: Sequence[tuple[str, Profile]], lines: Mapping[str, Mapping[Path, int]]
) -> Iterator[Problem]:
    """Warn where regions differ in ``prepends_steer``, which is a property of the far routers."""
    steer = {profile.bgp.prepends_steer: profile.agent_name for _, profile in profiles}
    for file, profile in profiles:
        if len(steer) > 1 and not profile.bgp.prepends_steer:
            path: Path = ("bgp", "prepends_steer")
            line = find_line(lines.get(file, {}), path)
            message = f"is false here, but true in {steer[True]}"
            remedy = "write the same value in each region: the same far routers compare the paths"
            yield Problem(file, line, format_key(path), message, remedy, warning=True)


def _check_vips(
    regions: Sequence[Sequence[Offer]],
    profiles: Sequence[tuple[str, Profile]],
    lines: Mapping[str, Mapping[Path, int]],
) -> Iterator[Problem]:
    """Require the same services with the same VIPs in each region."""
    first: dict[str, Offer] = {}
    for offer in chain.from_iterable(regions):
        first.setdefault(offer.service.name, offer)
    for order, (file, _) in enumerate(profiles):
        by_vip = {offer.service.vip: offer for offer in regions[order]}
        by_name = {offer.service.name: offer for offer in regions[order]}
        for name, seen in first.items():
            vip, where = seen.service.vip, f"{seen.profile.agent_name} ({seen.file})"
            if name in by_name:
                own = by_name[name]
                if own.service.vip != vip:
                    message = f"{own.service.vip} differs from the VIP {vip} in {where}"
                    remedy = f"write {vip}, or give the service another name"
                    yield own.make_problem(("vip",), message, remedy, warning=False)
            elif vip not in by_vip:
                path: Path = ("services", name)
                message = f"is missing here, but has {vip} in {where}"
                remedy = "add it, or this VIP is announced in fewer regions"
                line = find_line(lines.get(file, {}), path)
                yield Problem(file, line, format_key(path), message, remedy)
            elif seen.order < order:
                message = f"has the same VIP as {name} in {where}"
                yield by_vip[vip].make_problem(
                    (), message, f"call it {name} here too", warning=False
                )


def _iter_shared(offers: Sequence[Sequence[Offer]]) -> Iterator[str]:
    """Yield a note for each region whose appliances share a VIP by equal paths."""
    found: dict[tuple[str, ...], list[str]] = {}
    for each in offers:
        by_region: dict[str, list[Offer]] = {}
        for offer in each:
            by_region.setdefault(offer.profile.region, []).append(offer)
        for region, mine in by_region.items():
            best = min(len(offer.candidates["preferred"].path) for offer in mine)
            equal = [o for o in mine if len(o.candidates["preferred"].path) == best]
            if len(equal) > 1 and all(o.service.prepends_steer for o in equal):
                key = (region, *(str(offer.profile.appliance) for offer in equal))
                found.setdefault(key, []).append(equal[0].service.name)
    for (region, *names), services in found.items():
        yield (
            f"{' and '.join(names)} of {region} have equal paths for {', '.join(services)}: this "
            "is fine, the routers of the region share the traffic (ECMP) and each appliance backs "
            "the other"
        )
