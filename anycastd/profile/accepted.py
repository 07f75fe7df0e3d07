"""An accepted profile as JSON, and back: build it again without checking it again (pure).

The JSON has every value with the defaults filled in.  A value that has a format in the schema
stands as an object with the format's name, so that loading needs neither YAML nor the schema.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from anycastd.profile.build import build_profile
from anycastd.profile.document import Document, Format
from anycastd.profile.formats import FORMATS
from anycastd.profile.key_paths import Path, Value
from anycastd.profile.model import Profile

FORMAT_KEY = ""
"""The only key of an object that stands for a value with a format: no key of a profile is empty."""


@dataclass(frozen=True, slots=True)
class AcceptedProfile:
    """A profile that was checked, its warnings, and its text without secrets, for recordings."""

    profile: Profile
    warnings: tuple[str, ...]
    text_without_secrets: str


def _tag(name: str) -> Format:
    return lambda value: {FORMAT_KEY: [name, value]}


TAGS: Mapping[str, Format] = {name: _tag(name) for name in FORMATS}
"""Format of the schema -> what writes its value as an object."""


def dump_accepted(tree: Value, lines: Mapping[Path, int], accepted: AcceptedProfile) -> str:
    """Write an accepted profile as a line of JSON, which ``load_accepted`` reads.

    ``tree`` has the values of its file with defaults, and formats by ``TAGS``.
    """
    return json.dumps(
        {
            "tree": tree,
            "lines": [[list(path), line] for path, line in lines.items()],
            "warnings": accepted.warnings,
            "shown": accepted.text_without_secrets,
        }
    )


def load_accepted(text: str) -> AcceptedProfile:
    """Build the profile of what ``dump_accepted`` wrote.

    Raises ValueError where it is anything else.  It checks no rule: see that nobody else wrote it.
    """
    try:
        found = json.loads(text)
        lines = {tuple(path): int(line) for path, line in found["lines"]}
        tree = _parse_formats(found["tree"])
        profile = build_profile(Document("", tree, lines, ()))
        warnings, shown = tuple(map(str, found["warnings"])), str(found["shown"])
    except (LookupError, TypeError, AttributeError, ArithmeticError, RecursionError) as error:
        raise ValueError(f"it is no accepted profile: {error!r}") from None
    return AcceptedProfile(profile, warnings, shown)


def _parse_formats(value: Any) -> Any:  # noqa: ANN401 - any value of JSON
    """Replace each object that stands for a value with a format by that value."""
    if isinstance(value, dict):
        if FORMAT_KEY in value:
            name, text = value[FORMAT_KEY]
            return FORMATS[name](text)
        return {key: _parse_formats(each) for key, each in value.items()}
    return [_parse_formats(each) for each in value] if isinstance(value, list) else value
