"""Find out whether a reload would lower a service only because of the new profile.

The agent starts this in the check of a reload (`run --validate`), with what runs now in a
descriptor; `reload --plan` asks the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from anycastd.bgp.route import Route
from anycastd.cli.live_look import gather_evidence
from anycastd.cli.output import format_duration, print_error
from anycastd.cli.rule_names import UnknownName, find_unknown_names
from anycastd.decision.levels import Level
from anycastd.decision.lowering import Lowering, find_lowerings
from anycastd.evidence.finding import Truth
from anycastd.lease.messages import Levels
from anycastd.profile.key_paths import Path, find_line
from anycastd.profile.model import Profile
from anycastd.profile.validate import Validation, validate_profile
from anycastd.system.exit_codes import DONE, EX_CONFIG

_STEP = re.compile(r"([^.\[\]]+)|\[([0-9]+)\]")


def judge_reload(running: Mapping[str, Any], text: str, path: str) -> int:
    """Print why a reload from what runs to the profile ``text`` is refused; return the exit code.

    ``running`` has ``text``, the profile that runs, ``held``, the routes on the lease, and
    ``leased_levels``, their levels (not from an agent of 0.1.0).
    ``path`` is the new profile's file.  The code is 0, or 78 where a service would be lowered.  A
    profile that cannot be read is no matter of this check.
    """
    old = validate_profile(running["text"], path).profile
    new = validate_profile(text, path)
    if old is None or new.profile is None or old == new.profile:
        return DONE
    leased = [parse_route(item) for item in running["held"]]
    lowered = compare_live(old, new, leased, path, running.get("leased_levels"))
    for line in (*lowered.lines, *lowered.summary):
        print_error(line)
    return EX_CONFIG if lowered.lines else DONE


class Lowered:
    """What a new profile would lower, as ``lines`` for a person, and a ``summary`` of one line.

    ``unseen``: names of the HAProxies that gave no answer now, so that nothing is known.
    """

    def __init__(
        self, lowerings: Sequence[Lowering], lines: Iterable[str], unseen: list[str]
    ) -> None:
        self.lines = tuple(lines)
        self.unseen = unseen
        self.summary = (_summarize(lowerings),) if lowerings else ()


def compare_live(
    old: Profile,
    new: Validation,
    leased: Sequence[Route],
    path: str,
    levels: Levels | None = None,
) -> Lowered:
    """Look at HAProxy for both profiles, and compare what they lead to.

    ``new`` has a profile.  ``leased``: the routes on the lease, with their ``levels``.  ``path``:
    the new profile's file.
    """
    profile = new.profile
    if profile is None:
        return Lowered((), (), [])
    evidence = gather_evidence(profile)
    lowerings = find_lowerings((old, gather_evidence(old)), (profile, evidence), leased, levels)
    if lowerings:
        # HAProxy may have changed between the two looks: look once more, the other way round.
        before = gather_evidence(old)
        evidence = gather_evidence(profile)
        found = find_lowerings((old, before), (profile, evidence), leased, levels)
        again = {it.service for it in found}
        lowerings = tuple(each for each in lowerings if each.service in again)
    unknown = list(find_unknown_names(profile, evidence.haproxy)) if lowerings else []
    lines = [
        line
        for each in lowerings
        for line in (_describe(each), *_explain(each, unknown, new.lines, path))
    ]
    unseen = [name for name, look in evidence.haproxy.items() if not hasattr(look, "backends")]
    return Lowered(lowerings, lines, unseen)


def _describe(lowering: Lowering) -> str:
    when = f"after {format_duration(lowering.delay)}" if lowering.delay else "at once"
    before, after = lowering.before.label.upper(), lowering.after.label.upper()
    return f"{lowering.service} {lowering.vip}  {before} -> {after} {when}"


def _explain(
    lowering: Lowering, unknown: Iterable[UnknownName], lines: Mapping[Path, int], path: str
) -> Iterator[str]:
    """Yield a line for each reason, with the line of the profile that it comes from."""
    named = False
    for each in unknown:
        if each.path[:2] == ("services", lowering.service) and each.kind != "map":
            named = True
            line = find_line(lines, each.path)
            yield f"  {path}:{line}: {each.message}; {each.remedy}"
    if named:
        return
    decision = lowering.decision
    false = [each for each in decision.verdict.findings if each.truth is Truth.FALSE]
    # A cap may have a reason of its own, such as that it is not healthy; the rule says more.
    false.sort(key=lambda each: each.reason is not decision.cap.reason)
    for finding in false[:1]:
        at: Path = ("services", lowering.service, *_parse_path(finding.rule.paths[0]))
        line = find_line(lines, at)
        yield f"  {path}:{line}: {finding.rule.text}: {finding.value}; {finding.reason.sentence}"
        return
    line = find_line(lines, ("services", lowering.service))
    detail = f" ({decision.cap.detail})" if decision.cap.detail else ""
    yield f"  {path}:{line}: {decision.cap.reason.sentence}{detail}"


def _parse_path(text: str) -> Path:
    """Parse the key path of a rule, such as ``serve.all[0]``."""
    return tuple(name or int(index) for name, index in _STEP.findall(text))


def _summarize(lowerings: Sequence[Lowering]) -> str:
    withdrawn = [each.service for each in lowerings if each.after is Level.WITHDRAWN]
    verb, names = (
        ("withdraw", withdrawn) if withdrawn else ("lower", [it.service for it in lowerings])
    )
    return f"this reload would {verb} {', '.join(names)}; if you mean it: anycastd reload --force"


def parse_route(item: Mapping[str, Any]) -> Route:
    """Build a Route from JSON, as the agent's answer to ``running`` has it."""
    return Route(
        neighbor=item["neighbor"],
        prefix=item["prefix"],
        next_hop=item["next_hop"],
        as_path=tuple(item["as_path"]),
        med=item["med"],
        communities=tuple(item["communities"]),
        local_pref=item.get("local_pref"),
    )
