"""The values of a profile's file, complete, with the line of each; and its problems (pure)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from anycastd.profile.key_paths import Path, Value, escape_unprintable, find_line, format_key

Format = Callable[[Any], Any]
"""Parser of a schema's ``format``: value of the file -> value of the Document.

Raises FormatError.
"""

MAX_SIZE = 1 << 20
"""Maximum size of a profile in characters: 1,000 services with all keys have a third of it."""
MAX_PROBLEMS = 100
"""Problems that are described; more of them have one line together."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One problem in a file; ``str()`` gives ``FILE:LINE: key: message; remedy``.

    ``message`` says what is wrong, ``remedy`` what to write instead.  A profile that has only
    problems with ``warning`` True is valid.
    """

    file: str
    line: int
    key: str
    message: str
    remedy: str
    warning: bool = False

    def __str__(self) -> str:
        text = f"{self.file}:{self.line}: {self.key}: {self.message}; {self.remedy}"
        return escape_unprintable(text)


class FormatError(ValueError):
    """A value is not of its format: ``message`` says what is wrong, ``remedy`` what to write."""

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy


@dataclass(frozen=True, slots=True)
class Document:
    """The values of a file, with defaults filled in and formats parsed, without invalid values.

    ``lines`` maps the path of each value in the file to its line.  In a list an invalid item is
    None, so that the indexes in paths stay the same as in the file.
    """

    file: str
    tree: Mapping[str, Any]
    lines: Mapping[Path, int]
    problems: tuple[Problem, ...]

    def get(self, *path: str | int) -> Value:
        """Return the value at the key path ``path``, or None if it is missing or invalid."""
        value: Value = self.tree
        for step in path:
            if isinstance(value, Mapping):
                value = value.get(step)
            elif isinstance(value, list) and isinstance(step, int) and step < len(value):
                value = value[step]
            else:
                return None
        return value

    def is_explicit(self, path: Path) -> bool:
        """Return whether ``path`` is written in the file, not filled in by default."""
        return path in self.lines

    def find_line(self, path: Path) -> int:
        """Return the line of ``path``, or of its nearest parent that is in the file; else 1."""
        return find_line(self.lines, path)

    def make_problem(
        self, path: Path, message: str, remedy: str, *, warning: bool = False
    ) -> Problem:
        """Build a Problem at ``path`` in this file."""
        return Problem(self.file, self.find_line(path), format_key(path), message, remedy, warning)
