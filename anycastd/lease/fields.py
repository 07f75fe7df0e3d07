"""Read typed and bounded values from parsed JSON (stdlib only, pure).

Python's own conversions accept too much: ``true`` is an int, ``int("7")`` is 7, a float may be
infinite, and an int has no bound. All of that is refused here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

MAX_NUMBER = 2**63 - 1
"""Largest integer of a message."""

_MAX_SHOWN = 40  # characters of a text in a message

UNREADABLE = (KeyError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError)
"""Raised where JSON, or a value in it, is not of the expected form."""


def load_object(text: str | bytes | bytearray, *, strict: bool = True) -> dict[str, Any]:
    """Parse the text of one JSON object; not ``strict``: a text in it may have control characters.

    Raises ValueError for anything else, JSON that is nested too deep included.
    """
    try:
        data = json.loads(text, strict=strict)
    except RecursionError:
        raise ValueError("nested too deep") from None
    if type(data) is not dict:
        raise ValueError("not a JSON object")
    return data


def read_int(value: object, name: str, maximum: int = MAX_NUMBER) -> int:
    """Return ``value`` if it is an integer from 0 to ``maximum``.

    Raises ValueError, with ``name`` in its text, for anything else: a boolean, a float, a text.
    """
    if type(value) is not int or not 0 <= value <= maximum:
        raise ValueError(f"{name} is {_show(value)}, not an integer from 0 to {maximum}")
    return value


def read_seconds(value: object, name: str) -> float:
    """Return ``value`` if it is a number of seconds, 0 or more and finite.

    Raises ValueError, with ``name`` in its text, for anything else.
    """
    if type(value) not in (int, float) or not 0 <= value <= MAX_NUMBER:  # type: ignore[operator]
        raise ValueError(f"{name} is {_show(value)}, not a number of seconds")
    return float(value)  # type: ignore[arg-type]


def read_text(value: object, name: str, maximum: int) -> str:
    """Return ``value`` if it is a text of at most ``maximum`` characters.

    Raises ValueError, with ``name`` in its text, for anything else.
    """
    if type(value) is not str or len(value) > maximum:
        raise ValueError(f"{name} is {_show(value)}, not a text of at most {maximum} characters")
    return value


def read_list(value: object, name: str, maximum: int) -> list[Any]:
    """Return ``value`` if it is a list of at most ``maximum`` items.

    Raises ValueError, with ``name`` in its text, for anything else.
    """
    if type(value) is not list:
        raise ValueError(f"{name} is {_show(value)}, not a list")
    if len(value) > maximum:
        raise ValueError(f"{name} has {len(value)} items; {maximum} are allowed")
    return value


def read_mapping(value: object, name: str) -> Mapping[str, Any]:
    """Return ``value`` if it is a JSON object; raises ValueError for anything else."""
    if type(value) is not dict:
        raise ValueError(f"{name} is {_show(value)}, not an object")
    return value


def _show(value: object) -> str:
    """Show a value in a message: the kind of what may be long, else the value itself."""
    if isinstance(value, bool | float) or value is None:
        return repr(value)
    if isinstance(value, int):
        return str(value) if abs(value) <= MAX_NUMBER else "a larger number"
    if isinstance(value, str):
        return ascii(value if len(value) <= _MAX_SHOWN else value[:_MAX_SHOWN] + "...")
    return f"of type {type(value).__name__}"
