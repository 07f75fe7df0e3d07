"""Validate a profile's text: the schema and all rules -> the profile, or what is wrong with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from anycastd.profile import build
from anycastd.profile.document import Problem
from anycastd.profile.model import Profile
from anycastd.profile.rules import bgp, conditions, drains, services
from anycastd.profile.yaml_reader import Path

RULES = (
    *bgp.RULES,
    *services.RULES,
    *conditions.RULES,
    *drains.RULES,
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
    doc = build.read_profile_document(text, file)
    problems = [*doc.problems, *(problem for rule in RULES for problem in rule(doc))]
    problems.sort(key=lambda problem: problem.line)
    sound = all(problem.warning for problem in problems)
    return Validation(build.build_profile(doc) if sound else None, tuple(problems), doc.lines)
