"""Print what `anycastd check` has found: problems, the decision, who wins, the verdict."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence

from anycastd.cli.check_result import CheckedProfile, CheckResult, Found, count_noun
from anycastd.cli.folding import NO_BREAK, find_width, fold_line
from anycastd.cli.output import (
    NO_STEERING,
    format_duration,
    format_table,
    print_error,
    print_lines,
    shorten_path,
)
from anycastd.decision.forecast import ForecastStep
from anycastd.decision.routes import build_wanted_path, find_wanted_local_pref
from anycastd.profile.best_path import WITHDRAWN, Candidate, Matrix, Ranking
from anycastd.profile.model import Profile
from anycastd.speaker.directory import lease_command
from anycastd.speaker.exabgp import config

_PAIR = 2


def print_result(result: CheckResult, *, verbose: bool, show_config: bool) -> None:
    """Print everything for a person, problems on standard error, and the verdict as last line.

    ``verbose``: also every combination of levels.  ``show_config``: also ExaBGP's configuration.
    """
    width = find_width()
    for found in sorted(result.problems, key=lambda each: each.warning):
        _print_problem(found, width)
    lines = [line for each in result.profiles for line in _profile(each, show_config)]
    for ranking in result.comparison.rankings:
        lines += _winners(ranking, width)
    if verbose:
        for matrix in result.comparison.matrices:
            lines += _combinations(matrix)
    lines += [f"note: {note}" for note in result.notes]
    print_lines(folded for line in lines for folded in fold_line(line, width))
    sys.stdout.flush()
    if result.code:
        print_error(f"anycastd: {result.verdict}")
    else:
        print_lines([result.verdict])


def _print_problem(found: Found, width: int) -> None:
    """Print one problem: what is wrong, then what to do; `--json` is for other programs."""
    # The place stays on the first line, so that other programs find it there.
    head = f"{'warning' if found.warning else 'error'}: {found.place}:".replace(" ", NO_BREAK)
    for line in (
        *fold_line(f"{head} {found.message}", width, "    "),
        *fold_line(f"    -> {found.remedy}", width, "   "),
    ):
        print_error(line)


def _profile(checked: CheckedProfile, show_config: bool) -> Iterator[str]:
    profile = checked.profile
    services, neighbors = len(profile.services), len(profile.bgp.neighbors)
    yield (
        f"{checked.file}:{NO_BREAK}region {profile.agent_name} on {profile.platform.value}, "
        f"{count_noun(services, 'service')}, {count_noun(neighbors, 'neighbor')}"
    )
    for what, text in checked.facts:
        yield f"  {what}: {text}"
    if not profile.bgp.prepends_steer:
        yield f"  {NO_STEERING}"
    for name, steps in (checked.forecast or {}).items():
        yield from _steps(profile, name, steps)
    yield f"  this machine: {checked.machine}"
    if show_config:
        yield "  ExaBGP configuration, as the speaker would write it"
        hidden = {each.address: "(hidden)" for each in profile.bgp.neighbors if each.md5_file}
        text = config.build_config(profile, lease_command("/run/anycastd-speaker"), hidden)
        # Whoever copies a part of it wants its lines as they are.
        yield from (f"    {line}".rstrip().replace(" ", NO_BREAK) for line in text.splitlines())
    yield ""


def _steps(profile: Profile, name: str, steps: Sequence[ForecastStep]) -> Iterator[str]:
    """Describe what `run` would decide, if all sessions were up and nothing changed."""
    service = profile.services[name]
    yield f"  {name} {service.prefix} would be"
    for step in steps:
        level, cap = step.decision.level, step.decision.cap
        path = build_wanted_path(profile, service, level)
        asns = (
            ""
            if path is None
            else f" {shorten_path(path, find_wanted_local_pref(profile, service, level))}"
        )
        when = f"after {format_duration(step.after)}" if step.after else "at first"
        detail = f" ({cap.detail})" if cap.detail else ""
        yield f"    {when:13}{level.label.upper()}{asns}: {cap.reason.sentence}{detail}"


# Who wins ----------------------------------------------------------------------------------------


def _winners(ranking: Ranking, width: int) -> Iterator[str]:
    if ranking.unsteered:
        yield f"{ranking.service} {ranking.vip}: prepends do not decide which region wins"
    elif len(ranking.regions) == _PAIR:
        yield from _matrix(ranking, width)
    else:
        yield from _order(ranking)
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


def _order(ranking: Ranking) -> Iterator[str]:
    """Show the order of all levels; the first one that is announced wins."""
    yield f"{ranking.service} {ranking.vip}: the first of these that is announced wins"
    rows = []
    for place, group in enumerate(ranking.groups, 1):
        for each in group:
            others = [other.region for other in group if other is not each]
            own = each.region.partition("/")[0]
            within = all(other.partition("/")[0] == own for other in others)
            tie = f"{'shared' if within else 'ties'} with {', '.join(others)}" if others else ""
            rows.append((f"{place}", each.region, each.level, shorten_path(each.path), tie))
    yield from format_table(rows)


def _combinations(matrix: Matrix) -> Iterator[str]:
    against = " against ".join(matrix.regions)
    yield f"{matrix.service} {matrix.vip}: every combination, {against}"
    for each in matrix.combinations:
        levels = ", ".join(candidate.level for candidate in each.candidates)
        yield f"  {levels}: {each.sentence}"
    yield ""
