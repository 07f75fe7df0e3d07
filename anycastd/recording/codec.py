"""JSON <-> values: a ``Codec`` describes both ways, and refuses anything else (pure).

A value that is None is left out of its object, so that a patch (``patch``) can say that it went.
Enums are written by their names, objects of one of several classes with their class as ``kind``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from math import isfinite
from typing import Any

MAX_TEXT = 1 << 20
"""Characters of a text at most."""
MAX_INTEGER = 2**63 - 1
"""Largest integer, and largest number."""
KIND = "kind"
"""Key of the class where there are several."""

Json = Any
"""A value of JSON."""


class FormatError(ValueError):
    """A value is not what its place in a recording takes; the text says where and what is wrong."""


@dataclass(frozen=True, slots=True)
class Codec:
    """Both ways of one kind of value: ``dump`` to JSON, ``load`` from it.

    ``load`` takes the place of the value, for messages, and raises FormatError.
    """

    dump: Callable[[Any], Json]
    load: Callable[[Json, str], Any]


def _same(value: Json) -> Json:
    return value


def _load_text(value: Json, place: str) -> str:
    if type(value) is not str or len(value) > MAX_TEXT:
        raise FormatError(f"{place} is no text")
    return value


def _load_boolean(value: Json, place: str) -> bool:
    if type(value) is not bool:
        raise FormatError(f"{place} is neither true nor false")
    return value


def _load_integer(value: Json, place: str) -> int:
    if type(value) is not int or not -MAX_INTEGER <= value <= MAX_INTEGER:
        raise FormatError(f"{place} is no integer")
    return value


def _load_number(value: Json, place: str) -> float:
    if type(value) is float and isfinite(value):
        return value
    if type(value) is int and -MAX_INTEGER <= value <= MAX_INTEGER:
        return float(value)
    raise FormatError(f"{place} is no number")


TEXT = Codec(_same, _load_text)
BOOLEAN = Codec(_same, _load_boolean)
INTEGER = Codec(_same, _load_integer)
NUMBER = Codec(_same, _load_number)


def optional(each: Codec) -> Codec:
    """Return the codec of a value that may be None: then its key is left out."""

    def dump(value: Any) -> Json:  # noqa: ANN401 - any value
        return None if value is None else each.dump(value)

    return Codec(dump, each.load)


def of_enum(kind: type[Enum]) -> Codec:
    """Return the codec of an enum's members, by their names."""
    members = kind.__members__

    def load(value: Json, place: str) -> Enum:
        found = members.get(value) if type(value) is str else None
        if found is None:
            raise FormatError(f"{place} is none of: {', '.join(members)}")
        return found

    return Codec(lambda member: member.name, load)


def list_of(each: Codec) -> Codec:
    """Return the codec of a tuple of values: a list."""

    def load(value: Json, place: str) -> tuple[Any, ...]:
        if type(value) is not list:
            raise FormatError(f"{place} is no list")
        return tuple(each.load(item, f"{place}[{n}]") for n, item in enumerate(value))

    return Codec(lambda values: [each.dump(value) for value in values], load)


def numbered(each: Codec) -> Codec:
    """Return the codec of a long tuple, as an object by number: a patch names only what changed."""

    def dump(values: Iterable[Any]) -> Json:
        return {str(number): each.dump(value) for number, value in enumerate(values)}

    def load(value: Json, place: str) -> tuple[Any, ...]:
        members = as_object(value, place)
        try:
            return tuple(each.load(members[str(n)], f"{place}.{n}") for n in range(len(members)))
        except KeyError:
            raise FormatError(f"{place} is not numbered from 0 without a gap") from None

    return Codec(dump, load)


def table_of(each: Codec) -> Codec:
    """Return the codec of a mapping with names as keys."""

    def load(value: Json, place: str) -> dict[str, Any]:
        items = as_object(value, place).items()
        return {_load_text(key, place): each.load(item, f"{place}.{key}") for key, item in items}

    return Codec(lambda table: {key: each.dump(value) for key, value in table.items()}, load)


def pairs_of(key: Codec, each: Codec) -> Codec:
    """Return the codec of a mapping with keys that are no texts: a list of pairs."""

    def dump(table: Mapping[Any, Any]) -> Json:
        return [[key.dump(name), each.dump(value)] for name, value in table.items()]

    def load(value: Json, place: str) -> dict[Any, Any]:
        if type(value) is not list or any(type(p) is not list or len(p) != 2 for p in value):  # noqa: PLR2004 - a pair
            raise FormatError(f"{place} is no list of pairs")
        return {
            key.load(name, place): None if item is None else each.load(item, place)
            for name, item in value
        }

    return Codec(dump, load)


def record_of(build: Callable[..., Any], **fields: Codec) -> Codec:
    """Return the codec of a dataclass: an object with its fields, without those that are None.

    ``build`` makes the value from the fields that are there.  Another key is refused.
    """
    names = frozenset(fields)

    def dump(value: Any) -> Json:  # noqa: ANN401 - any dataclass
        found = {name: each.dump(getattr(value, name)) for name, each in fields.items()}
        return {name: item for name, item in found.items() if item is not None}

    def load(value: Json, place: str) -> Any:  # noqa: ANN401 - what `build` makes
        members = as_object(value, place)
        if not names.issuperset(members):
            other = next(name for name in members if name not in names)
            raise FormatError(f"{place} has the unknown key {other[:40]!r}")
        loaded = {
            name: fields[name].load(item, f"{place}.{name}") for name, item in members.items()
        }
        try:
            return build(**loaded)
        except TypeError:
            raise FormatError(f"{place} lacks a key; it has: {', '.join(members)}") from None

    return Codec(dump, load)


def row_of(build: Callable[..., Any], **fields: Codec) -> Codec:
    """Return the codec of a dataclass of which there are many: a list of all its fields."""

    def dump(value: Any) -> Json:  # noqa: ANN401 - any dataclass
        return [each.dump(getattr(value, name)) for name, each in fields.items()]

    def load(value: Json, place: str) -> Any:  # noqa: ANN401 - what `build` makes
        if type(value) is not list or len(value) != len(fields):
            raise FormatError(f"{place} is no list of {len(fields)} values")
        items = zip(fields.items(), value, strict=True)
        return build(**{name: c.load(item, f"{place}.{name}") for (name, c), item in items})

    return Codec(dump, load)


def one_of(**kinds: Codec) -> Codec:
    """Return the codec of a value of one of several classes, by the names of the classes."""

    def dump(value: Any) -> Json:  # noqa: ANN401 - a value of one of the classes
        kind = type(value).__name__
        return {KIND: kind, **kinds[kind].dump(value)}

    def load(value: Json, place: str) -> Any:  # noqa: ANN401 - likewise
        members = dict(as_object(value, place))
        codec = kinds.get(str(members.pop(KIND, "")))
        if codec is None:
            raise FormatError(f"{place} is none of: {', '.join(kinds)}")
        return codec.load(members, place)

    return Codec(dump, load)


def as_object(value: Json, place: str) -> dict[str, Json]:
    """Return ``value`` if it is a JSON object; raises FormatError for anything else."""
    if type(value) is not dict:
        raise FormatError(f"{place} is no object")
    return value
