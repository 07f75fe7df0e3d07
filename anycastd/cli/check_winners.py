"""Show which region wins, as `anycastd check` prints it for several profiles."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations

from anycastd.cli.output import format_table, shorten_path
from anycastd.profile.best_path import WITHDRAWN, Candidate, Matrix, Ranking

_PAIR = 2
MAX_FAILING = 24
"""Maximum number of regions of which every two are taken away; with more, every single one."""
MAX_NAMES = 4
"""Maximum number of names in a line that says who wins, or who fails."""


def describe_winners(ranking: Ranking, width: int) -> Iterator[str]:
    """Yield the lines on who wins for one VIP: a table for two regions, cases for more."""
    if ranking.unsteered:
        yield f"{ranking.service} {ranking.vip}: prepends do not decide which region wins"
    elif len(ranking.regions) == _PAIR:
        yield from _matrix(ranking, width)
    else:
        yield from _order(ranking)
        yield from _cases(ranking)
    yield ""


def describe_combinations(matrix: Matrix) -> Iterator[str]:
    """Yield a line for each combination of levels, and an empty one."""
    against = " against ".join(matrix.regions)
    yield f"{matrix.service} {matrix.vip}: every combination, {against}"
    for each in matrix.combinations:
        levels = ", ".join(candidate.level for candidate in each.candidates)
        yield f"  {levels}: {each.sentence}"
    yield ""


def _matrix(ranking: Ranking, width: int) -> Iterator[str]:
    """Show who wins for each pair of levels: rows are levels here, columns those there."""
    here, there = ranking.regions
    rows, columns = (_levels(ranking, region) for region in (here, there))
    yield f"{ranking.service} {ranking.vip}: who wins (rows: {here}, columns: {there})"
    cells = [["", *columns]]
    for level, label in zip((*_names(rows), WITHDRAWN), (*rows, WITHDRAWN), strict=True):
        row = [label]
        for other in (*_names(columns), WITHDRAWN):
            winners = ranking.find_winners({here: level, there: other})
            row.append("both" if len(winners) > 1 else winners[0] if winners else "nobody")
        cells.append(row)
    cells[0].append(WITHDRAWN)
    room = (width - 2 - 2 * len(cells[0])) // len(cells[0])
    yield from format_table([[cell[:room] for cell in row] for row in cells])


def _names(labels: Sequence[str]) -> list[str]:
    return [label.split()[0] for label in labels]


def _levels(ranking: Ranking, region: str) -> list[str]:
    """Return the levels of a region with the length of the path at each, best level first."""
    found: Mapping[str, Candidate] = {
        each.level: each for group in ranking.groups for each in group if each.region == region
    }
    order = ("preferred", "degraded", "standby")
    return [f"{level} {len(found[level].path)}" for level in order if level in found]


# More than two -----------------------------------------------------------------------------------


def _order(ranking: Ranking) -> Iterator[str]:
    """Show the order of all levels, a row for those whose paths are equally long."""
    yield f"{ranking.service} {ranking.vip}: the first of these that is announced wins"
    rows = []
    for place, group in enumerate(ranking.groups, 1):
        by_level: dict[str, list[Candidate]] = {}
        for each in group:
            by_level.setdefault(each.level, []).append(each)
        split = (
            ""
            if len(group) == 1
            else "  (split)"
            if _are_of_one_region(group)
            else "  (ties: split)"
        )
        for level, found in by_level.items():
            names = [each.region for each in found]
            path = shorten_path(found[0].path) if _have_one_path(found) else "paths of this length"
            rows.append((f"{place}", level, path, _join_names(names, ranking) + split))
    yield from format_table(rows)


def _are_of_one_region(group: Sequence[Candidate]) -> bool:
    """Whether all candidates are appliances of one region."""
    return len({each.region.partition("/")[0] for each in group}) == 1


def _have_one_path(found: Sequence[Candidate]) -> bool:
    return len({each.path for each in found}) == 1


def _cases(ranking: Ranking) -> Iterator[str]:
    """Show who wins in the cases that matter; what ends the same is one line."""
    rows = [("nobody fails", _describe_outcome(ranking, set()))]
    for failing in (1, 2) if len(ranking.regions) <= MAX_FAILING else (1,):
        rows += _failures(ranking, failing)
    for level, case in (("degraded", "all are degraded"), ("standby", "all are at standby")):
        if winners := ranking.find_winners(dict.fromkeys(ranking.regions, level)):
            rows.append((case, _say(winners, set(ranking.regions), ranking)))
    yield "  who has the traffic, where all others are preferred"
    yield from format_table(rows)


def _failures(ranking: Ranking, failing: int) -> Iterator[tuple[str, str]]:
    """Yield (which regions fail, who wins) for sets of ``failing`` regions, the likes joined."""
    outcomes: dict[str, list[tuple[str, ...]]] = {}
    for gone in combinations(ranking.regions, failing):
        outcomes.setdefault(_describe_outcome(ranking, set(gone)), []).append(gone)
    most = max(outcomes, key=lambda each: len(outcomes[each]))
    rest = most if len(outcomes[most]) > 1 else None
    for outcome, cases in outcomes.items():
        if outcome != rest:
            yield _describe_cases(cases, len(ranking.regions)), outcome
    if rest is not None:
        yield (_ANY if len(outcomes) == 1 else _REST)[failing], rest


_ANY = {1: "any one fails", 2: "any two fail"}
_REST = {1: "another one fails", 2: "two others fail"}


def _describe_outcome(ranking: Ranking, gone: set[str]) -> str:
    """Describe who wins where some regions are withdrawn and all others preferred."""
    left = [region for region in ranking.regions if region not in gone]
    return _say(ranking.find_winners(dict.fromkeys(left, "preferred")), set(left), ranking)


def _say(winners: Sequence[str], left: set[str], ranking: Ranking) -> str:
    if not winners:
        return "nobody"
    if len(winners) > 1 and set(winners) == left:
        return (
            f"all {len(left)} that are left share it"
            if len(left) < len(ranking.regions)
            else (f"all {len(left)} share it")
        )
    return _join_names(winners, ranking) + (" share it" if len(winners) > 1 else "")


def _describe_cases(cases: Sequence[tuple[str, ...]], count: int) -> str:
    """Describe which regions fail in these cases, which end in the same way."""
    if len(cases[0]) == 1:
        names = [name for (name,) in cases]
        return f"{_list_some(names, 'or')} fails"
    if len(cases) == 1:
        return f"{' and '.join(cases[0])} fail"
    common = set(cases[0]).intersection(*cases[1:])
    if not common:
        return f"{_list_some([' and '.join(case) for case in cases], 'or')} fail"
    first = common.pop()
    others = [name for case in cases for name in case if name != first]
    # Pairs of it that end in another way have a line of their own.
    some = "another one" if len(others) > count // 2 else _list_some(others, "or")
    return f"{first} and {some} fail"


def _list_some(names: Sequence[str], word: str) -> str:
    if len(names) > MAX_NAMES:
        return f"{', '.join(names[:MAX_NAMES])} {word} {len(names) - MAX_NAMES} more"
    return f" {word} ".join((", ".join(names[:-1]), names[-1])) if len(names) > 1 else names[0]


def _join_names(names: Sequence[str], ranking: Ranking) -> str:
    if len(names) == len(ranking.regions):
        return f"all {len(names)}"
    return _list_some(names, "and")
