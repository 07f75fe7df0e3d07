"""The values of a profile's file, their key paths, and both as text for a message (pure)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Path = tuple[str | int, ...]
"""Key path of a value in the file: keys, and indexes of lists."""
Value = Any
"""None, bool, int, float, str, or a list or dict (with str keys) of these."""

_MAX_QUOTED = 60


def quote_value(value: object) -> str:
    """Return a value as text for a one-line message: 60 characters, no control characters."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    text = str(value) if isinstance(value, str | int | float) else type(value).__name__
    text = escape_unprintable(text)
    text = text if len(text) <= _MAX_QUOTED else f"{text[: _MAX_QUOTED - 3]}..."
    # Quotes only where the end of the text could not be seen without them.
    return f"'{text}'" if not text or " " in text else text


def escape_unprintable(text: str) -> str:
    r"""Return ``text`` with an escape such as ``\u202e`` for what a terminal would not print."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def find_line(lines: Mapping[Path, int], path: Path) -> int:
    """Return the line of ``path``, or of its nearest parent that has one; 1 if none has."""
    while path and path not in lines:
        path = path[:-1]
    return lines.get(path, 1)


def format_key(path: Path) -> str:
    """Return a path as ``bgp.neighbors[0].peer_as``; the empty path is ``profile``."""
    key = "".join(
        f"[{step}]" if isinstance(step, int) else f".{quote_value(step)}" for step in path
    )
    return key.removeprefix(".") or "profile"
