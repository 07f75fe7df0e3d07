"""A profile's text by the schema and all rules: the profile, or what is wrong with it."""

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


@dataclass(frozen=True, slots=True)
class Validation:
    """A profile, None if there is an error, and all problems in the order of their lines.

    ``lines`` has the line of each path in the file, as ``regions.compare`` takes it.
    """

    profile: Profile | None
    problems: tuple[Problem, ...]
    lines: Mapping[Path, int] = field(default_factory=dict)


def validate(text: str, file: str) -> Validation:
    """Read a profile's text, called ``file`` in problems, by the schema and by all rules.

    Never raises, whatever the text is.  Warnings do not keep a profile from being used.
    """
    doc = build.read_profile_document(text, file)
    problems = [*doc.problems, *(problem for rule in RULES for problem in rule(doc))]
    problems.sort(key=lambda problem: problem.line)
    sound = all(problem.warning for problem in problems)
    return Validation(build.build_profile(doc) if sound else None, tuple(problems), doc.lines)
