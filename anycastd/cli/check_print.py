"""Print what `anycastd check` has found: problems, the decision, who wins, the verdict."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence

from anycastd.cli.check_result import CheckedProfile, CheckResult, Found, count_noun
from anycastd.cli.check_winners import describe_combinations, describe_winners
from anycastd.cli.folding import NO_BREAK, find_width, fold_line
from anycastd.cli.output import (
    NO_STEERING,
    format_duration,
    print_error,
    print_lines,
    shorten_path,
)
from anycastd.decision.forecast import ForecastStep
from anycastd.decision.routes import build_wanted_path, find_wanted_local_pref
from anycastd.profile.model import Profile
from anycastd.speaker.directory import lease_command
from anycastd.speaker.exabgp import config

_PAIR = 2
_SKIPPED = (
    "this machine: not looked at for those whose local_address is not here; --here looks at it all "
    "the same"
)


def print_result(result: CheckResult, *, verbose: bool, show_config: bool) -> None:
    """Print everything for a person, problems on standard error, and the verdict as last line.

    ``verbose``: also every combination of levels.  ``show_config``: also ExaBGP's configuration.
    """
    width = find_width()
    alike: dict[tuple[object, ...], list[Found]] = {}
    for found in sorted(result.problems, key=lambda each: each.warning):
        alike.setdefault((found.key, found.message, found.remedy, found.warning), []).append(found)
    for group in alike.values():
        _print_problem(group, width)
    many = len(result.profiles) > _PAIR
    lines = [line for each in result.profiles for line in _profile(each, show_config, short=many)]
    if many and any(_is_skipped(each) for each in result.profiles):
        lines += [f"  {_SKIPPED}", ""]
    for ranking in result.comparison.rankings:
        lines += describe_winners(ranking, width)
    if verbose:
        for matrix in result.comparison.matrices:
            lines += describe_combinations(matrix)
    lines += [f"note: {note}" for note in result.notes]
    print_lines(folded for line in lines for folded in fold_line(line, width))
    sys.stdout.flush()
    if result.code:
        print_error(f"anycastd: {result.verdict}")
    else:
        print_lines([result.verdict])


def _print_problem(group: Sequence[Found], width: int) -> None:
    """Print one problem, once where several profiles have it: what is wrong, then what to do."""
    found = group[0]
    # The place stays on the first line, so that other programs find it there.
    places = ", ".join(f"{each.file}:{each.line}" for each in group[1:])
    head = f"{'warning' if found.warning else 'error'}: {found.place}:".replace(" ", NO_BREAK)
    for line in (
        *fold_line(f"{head} {found.message}", width, "    "),
        *(fold_line(f"    also {places}", width, "    ") if places else ()),
        *fold_line(f"    -> {found.remedy}", width, "   "),
    ):
        print_error(line)


def _is_skipped(checked: CheckedProfile) -> bool:
    return checked.machine.startswith("not looked at, because")


def _profile(checked: CheckedProfile, show_config: bool, *, short: bool) -> Iterator[str]:
    """Describe a profile; ``short``: in one line, where there is nothing else to say."""
    profile = checked.profile
    is_bare = short and _is_skipped(checked)
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
    if not is_bare:
        yield f"  this machine: {checked.machine}"
    if show_config:
        yield "  ExaBGP configuration, as the speaker would write it"
        hidden = {each.address: "(hidden)" for each in profile.bgp.neighbors if each.md5_file}
        text = config.build_config(profile, lease_command("/run/anycastd-speaker"), hidden)
        # Whoever copies a part of it wants its lines as they are.
        yield from (f"    {line}".rstrip().replace(" ", NO_BREAK) for line in text.splitlines())
    if not is_bare or show_config:
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
