"""What `anycastd check` has found: problems, profiles, who wins; as values and as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from anycastd.decision.forecast import ForecastStep
from anycastd.decision.levels import Level
from anycastd.decision.routes import build_wanted_path, find_wanted_local_pref
from anycastd.evidence.machine.facts import MachineProblem
from anycastd.profile.best_path import Ranking
from anycastd.profile.compare import Comparison
from anycastd.profile.document import Problem
from anycastd.profile.key_paths import Path
from anycastd.profile.model import Profile
from anycastd.system.exit_codes import DONE, EX_CONFIG

VERSION = 1
"""Version of the JSON; keys are only ever added."""


@dataclass(frozen=True, slots=True)
class Found:
    """One problem: ``message`` says what is wrong, ``remedy`` what to do.

    ``line`` is 0 where it is of no line.  ``key`` is the key in the profile, or ``this machine``.
    ``warning``: the profile can be used all the same.
    """

    file: str
    line: int
    key: str
    message: str
    remedy: str
    warning: bool

    @classmethod
    def from_problem(cls, problem: Problem) -> Found:
        """Convert a problem of a profile."""
        return cls(
            problem.file,
            problem.line,
            problem.key,
            problem.message,
            problem.remedy,
            problem.warning,
        )

    @classmethod
    def from_machine(cls, file: str, problem: MachineProblem) -> Found:
        """Convert a problem of this machine for the profile ``file``."""
        return cls(file, 0, "this machine", problem.message, problem.remedy, not problem.hopeless)

    @property
    def place(self) -> str:
        """Return where it is: ``FILE:LINE: KEY``."""
        return f"{self.file}{f':{self.line}' if self.line else ''}: {self.key}"


@dataclass(frozen=True, slots=True)
class CheckedProfile:
    """One profile that can be used.

    ``lines``: key path -> its line in ``file``.  ``facts``: (what, what was seen of it), for
    people.  ``forecast``: service -> what would be announced; None where nothing was looked at.
    ``machine`` says how far this machine was looked at.
    """

    file: str
    profile: Profile
    lines: Mapping[Path, int] = field(default_factory=dict)
    facts: tuple[tuple[str, str], ...] = ()
    forecast: Mapping[str, Sequence[ForecastStep]] | None = None
    machine: str = ""


@dataclass(frozen=True, slots=True)
class CheckResult:
    """All that a check has found; ``files`` is how many profiles were named."""

    files: int
    problems: tuple[Found, ...]
    profiles: tuple[CheckedProfile, ...]
    comparison: Comparison
    notes: tuple[str, ...]

    @property
    def errors(self) -> int:
        """Return the number of errors."""
        return sum(not each.warning for each in self.problems)

    @property
    def warnings(self) -> int:
        """Return the number of warnings."""
        return len(self.problems) - self.errors

    @property
    def code(self) -> int:
        """Return the exit code: 0, or 78 where there is an error."""
        return EX_CONFIG if self.errors or len(self.profiles) < self.files else DONE

    @property
    def verdict(self) -> str:
        """Return the verdict in one line."""
        errors, warnings = count_noun(self.errors, "error"), count_noun(self.warnings, "warning")
        unusable = self.files - len(self.profiles)
        if unusable:
            which = "the profile" if self.files == 1 else f"{unusable} of {self.files} profiles"
            return f"{which} cannot be used: {errors}, {warnings}"
        if not self.errors:
            tail = f"; {warnings} above" if self.warnings else ""
            return f"{count_noun(self.files, 'profile')} can be used{tail}"
        if any(not each.warning for each in map(Found.from_problem, self.comparison.problems)):
            return f"the profiles do not fit together: {errors}, {warnings}"
        return f"this cannot work on this machine: {errors}, {warnings}"

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON values; docs/check.md describes them."""
        return {
            "v": VERSION,
            "verdict": self.verdict,
            "exit_code": self.code,
            "errors": self.errors,
            "warnings": self.warnings,
            "problems": [
                {
                    "severity": "warning" if each.warning else "error",
                    "file": each.file,
                    "line": each.line or None,
                    "key": each.key,
                    "message": each.message,
                    "remedy": each.remedy,
                }
                for each in self.problems
            ],
            "profiles": [_profile_to_json(each) for each in self.profiles],
            "winners": [_ranking_to_json(each) for each in self.comparison.rankings],
            "notes": list(self.notes),
        }


def count_noun(number: int, noun: str) -> str:
    """Return a number with its noun: ``1 error``, ``2 errors``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _profile_to_json(checked: CheckedProfile) -> dict[str, Any]:
    profile = checked.profile
    return {
        "file": checked.file,
        "region": profile.region,
        "appliance": profile.appliance,
        "platform": profile.platform.value,
        "neighbors": [str(each.address) for each in profile.bgp.neighbors],
        "facts": [{"what": what, "text": text} for what, text in checked.facts],
        "machine": checked.machine,
        "services": {
            name: {
                "vip": service.prefix,
                "forecast": None
                if checked.forecast is None
                else [_step_to_json(profile, name, step) for step in checked.forecast[name]],
                "prepends_steer": service.prepends_steer,
            }
            for name, service in profile.services.items()
        },
    }


def _step_to_json(profile: Profile, name: str, step: ForecastStep) -> dict[str, Any]:
    level, cap = step.decision.level, step.decision.cap
    path = build_wanted_path(profile, profile.services[name], level)
    return {
        "after": round(step.after, 3),
        "level": level.label,
        "as_path": None if path is None else list(path),
        "local_pref": find_wanted_local_pref(profile, profile.services[name], level),
        "reason": cap.reason.name.lower(),
        "text": cap.reason.sentence,
        "detail": cap.detail,
    }


def _ranking_to_json(ranking: Ranking) -> dict[str, Any]:
    return {
        "service": ranking.service,
        "vip": str(ranking.vip),
        "regions": list(ranking.regions),
        "unsteered": list(ranking.unsteered),
        "order": [
            [
                {"region": each.region, "level": each.level, "as_path": list(each.path)}
                for each in group
            ]
            for group in ranking.groups
        ],
    }


def is_withdrawn_at_last(steps: Sequence[ForecastStep]) -> bool:
    """Return whether a forecast ends with a withdrawn service."""
    return not steps or steps[-1].decision.level is Level.WITHDRAWN
