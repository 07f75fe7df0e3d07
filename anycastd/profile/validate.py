"""Validate a profile's text: the schema and all rules -> the profile, or what is wrong with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from anycastd.profile import build
from anycastd.profile.document import MAX_PROBLEMS, Problem
from anycastd.profile.key_paths import Path, format_key
from anycastd.profile.model import Profile
from anycastd.profile.rules import (
    attributes,
    bgp,
    checks,
    conditions,
    drains,
    hooks,
    limits,
    route_choice,
    services,
)
from anycastd.profile.schema_check import read_profile_document

RULES = (
    *bgp.RULES,
    *attributes.RULES,
    *limits.RULES,
    *services.RULES,
    *conditions.RULES,
    *checks.RULES,
    *route_choice.RULES,
    *drains.RULES,
    *hooks.RULES,
)
"""All rules across several fields: Document -> Problems."""


@dataclass(frozen=True, slots=True)
class Validation:
    """Result of a validation: a Profile (None if there is an error), and all problems by line.

    ``lines``: key path of each value -> its line, for ``compare_regions``.
    """

    profile: Profile | None
    problems: tuple[Problem, ...]
    lines: Mapping[Path, int] = field(default_factory=dict)


def validate_profile(text: str, file: str) -> Validation:
    """Check a profile's text by the schema and by all rules; ``file`` is its name in problems.

    Never raises, whatever the text is.  A profile with nothing but warnings is valid.
    """
    doc = read_profile_document(text, file)
    problems = [*doc.problems, *(problem for rule in RULES for problem in rule(doc))]
    sound = all(problem.warning for problem in problems)
    shown = _limit_problems(problems, file)
    return Validation(build.build_profile(doc) if sound else None, shown, doc.lines)


def _limit_problems(problems: list[Problem], file: str) -> tuple[Problem, ...]:
    """Return the problems by line; of more than MAX_PROBLEMS the errors first, and their number."""
    if len(problems) > MAX_PROBLEMS:
        problems = sorted(problems, key=lambda problem: (problem.warning, problem.line))
        hidden = problems[MAX_PROBLEMS:]
        message = f"there are more than these {MAX_PROBLEMS} problems"
        warning = all(problem.warning for problem in hidden)
        more = Problem(file, 1, format_key(()), message, "correct these first", warning)
        problems = [more, *problems[:MAX_PROBLEMS]]
    return tuple(sorted(problems, key=lambda problem: problem.line))
