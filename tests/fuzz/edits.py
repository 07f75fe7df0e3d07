"""Edits that turn a sound input into a hostile one (pure).

An edit is plain data, so that a random generator and hypothesis work with the same ones.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

MAX_SIZE = 1 << 16
"""Maximum size in bytes of an input that edits have made."""

HOSTILE_BYTES: tuple[bytes, ...] = (
    b"",
    b"\0",
    b"\n",
    b"\r\n",
    b"\t",
    b" ",
    b'"',
    b"'",
    b"\\",
    b"%",
    b",",
    b";",
    b":",
    b"/",
    b"#",
    b"-",
    b"\x1b[2J\x1b]0;x\x07",
    b"\xff\xfe",
    b"\xef\xbb\xbf",
    b"\xf0\x9f\x98\x80",
    "\u202e\u200b".encode(),
    b"\xed\xa0\x80",
    b"[",
    b"]",
    b"{",
    b"}",
    b"nan",
    b"inf",
    b"-1",
    b"0",
    b"1e999",
    b"4294967296",
    b"18446744073709551616",
    b"9" * 4301,
    b"1." + b"0" * 400,
    b"null",
    b"true",
    b"fe80::1%eth0",
    b"::ffff:192.0.2.1",
    b"192.0.2.1/33",
    b"999.999.999.999",
)
"""What parsers of any kind may stumble over."""

HOSTILE_VALUES: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    -1,
    1,
    1 << 31,
    1 << 63,
    10**400,
    1e308,
    float("inf"),
    float("nan"),
    "",
    "x",
    "\0",
    "\x1b[31m",
    "fe80::1%a b\nneighbor",
    "\ud83d",
    "9" * 4301,
    [],
    {},
    [[]],
    [{}],
    {"": None},
    ["x"] * 200,
)
"""What may stand in the place of any value of a JSON document."""


@dataclass(frozen=True, slots=True)
class Edit:
    """One change of an input.

    ``kind`` is an index into the kinds of edits, ``place`` and ``length`` are shares (0 to 1) of
    the input, ``piece`` is an index into the pieces, ``times`` is how often it is inserted.  Each
    index is taken modulo what there is, so that every edit can be applied to every input.
    """

    kind: int
    place: float
    length: float
    piece: int
    times: int


def draw_edit(source: random.Random) -> Edit:
    """Draw an edit; one of forty inserts its piece thousands of times."""
    times = source.choice((10, 100, 1000, 20_000)) if source.random() < 0.025 else 1
    return Edit(
        source.randrange(1 << 16),
        source.random(),
        source.random() ** 4,
        source.randrange(1 << 16),
        times,
    )


def apply_edits(seed: bytes, edits: Sequence[Edit], pieces: Sequence[bytes]) -> bytes:
    """Apply edits to an input, one after the other; the result has at most MAX_SIZE bytes."""
    data = seed
    for edit in edits:
        data = _KINDS[edit.kind % len(_KINDS)](data, edit, pieces)[:MAX_SIZE]
    return data


def _span(data: bytes, edit: Edit) -> tuple[int, int]:
    start = int(edit.place * len(data))
    return start, min(len(data), start + 1 + int(edit.length * len(data)))


def _piece(edit: Edit, pieces: Sequence[bytes]) -> bytes:
    index = edit.piece % (len(pieces) + len(HOSTILE_BYTES))
    piece = pieces[index] if index < len(pieces) else HOSTILE_BYTES[index - len(pieces)]
    return piece * min(edit.times, MAX_SIZE // max(1, len(piece)) + 1)


def _insert(data: bytes, edit: Edit, pieces: Sequence[bytes]) -> bytes:
    start = int(edit.place * (len(data) + 1))
    return data[:start] + _piece(edit, pieces) + data[start:]


def _replace(data: bytes, edit: Edit, pieces: Sequence[bytes]) -> bytes:
    start, end = _span(data, edit)
    return data[:start] + _piece(edit, pieces) + data[end:]


def _cut(data: bytes, edit: Edit, _: Sequence[bytes]) -> bytes:
    start, end = _span(data, edit)
    return data[:start] + data[end:]


def _end_early(data: bytes, edit: Edit, _: Sequence[bytes]) -> bytes:
    return data[: int(edit.place * len(data))]


def _repeat(data: bytes, edit: Edit, _: Sequence[bytes]) -> bytes:
    start, end = _span(data, edit)
    return (
        data[:end]
        + data[start:end] * min(edit.times, MAX_SIZE // (end - start + 1) + 1)
        + data[end:]
    )


def _flip(data: bytes, edit: Edit, _: Sequence[bytes]) -> bytes:
    if not data:
        return data
    start = min(int(edit.place * len(data)), len(data) - 1)
    return data[:start] + bytes((data[start] ^ (1 << edit.piece % 8),)) + data[start + 1 :]


_SEPARATORS = (b",", b";", b" ", b":", b"=", b"\n")
_SEPARATOR = re.compile(rb"[,; :=\n]")


def _replace_field(data: bytes, edit: Edit, pieces: Sequence[bytes]) -> bytes:
    """Replace one field of a line, as it stands between commas, spaces, colons or equals signs."""
    place = int(edit.place * len(data))
    start = max(data.rfind(separator, 0, place) for separator in _SEPARATORS) + 1
    found = _SEPARATOR.search(data, place)
    end = len(data) if found is None else found.start()
    return data[:start] + _piece(edit, pieces) + data[end:]


def _replace_json_value(data: bytes, edit: Edit, pieces: Sequence[bytes]) -> bytes:
    """Put a hostile value into a JSON line; what is no JSON gets a piece instead."""
    lines = data.split(b"\n")
    index = int(edit.place * len(lines)) % len(lines)
    try:
        document = json.loads(lines[index])
    except (ValueError, RecursionError):
        return _replace_field(data, edit, pieces)
    places = _list_places(document)
    value = HOSTILE_VALUES[edit.piece % len(HOSTILE_VALUES)]
    if not places:
        document = value
    else:
        container, key = places[int(edit.length * len(places)) % len(places)]
        container[key] = value
    try:
        lines[index] = json.dumps(document).encode()
    except (ValueError, RecursionError):  # more digits than Python writes
        return _replace_field(data, edit, pieces)
    return b"\n".join(lines)


def _list_places(document: Any) -> list[tuple[Any, Any]]:
    """List (container, key) of every value in a JSON document."""
    places: list[tuple[Any, Any]] = []
    waiting = [document]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            keys: list[Any] = list(node)
        elif isinstance(node, list):
            keys = list(range(len(node)))
        else:
            continue
        for key in keys:
            places.append((node, key))
            waiting.append(node[key])
    return places


_KINDS: tuple[Callable[[bytes, Edit, Sequence[bytes]], bytes], ...] = (
    _insert,
    _replace,
    _cut,
    _end_early,
    _repeat,
    _flip,
    _replace_field,
    _replace_field,
    _replace_json_value,
    _replace_json_value,
)
