"""Describe what jsonschema found: path, what is wrong, what to write instead (pure)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, cast

from jsonschema.exceptions import ValidationError

from anycastd.profile.yaml_reader import Path, Value, format_key, quote

Schema = Mapping[str, Any]


_KINDS = {
    "integer": "a whole number",
    "number": "a number",
    "string": "text",
    "boolean": "true or false",
    "array": "a list",
    "object": "a block of keys",
}


_EXAMPLE = "a block of keys, as in profiles/primary.yaml"


# The schema's rules in words: path, what is wrong, what to write instead -------------------------

_Words = Iterator[tuple[Path, str, str]]


def describe_error(error: ValidationError) -> _Words:
    """Say in our words what jsonschema found."""
    path: Path = tuple(error.absolute_path)
    # The stubs allow for errors that carry no schema; those of a validator all do.
    rule, schema = str(error.validator), cast("Schema", error.schema)
    if "propertyNames" in error.absolute_schema_path:
        name = str(error.instance)
        allowed = f"write {schema['x-allowed']}"
        return iter([((*path, name), "cannot be used as a name", allowed)])
    # A rule that the schema did not use when this was written still gets a sentence.
    return _BY_RULE.get(rule, _unfit)(path, schema, error.instance)


def _required(path: Path, schema: Schema, value: Value) -> _Words:
    for name in schema["required"]:
        if name not in value:
            yield (*path, name), "is missing", f"add {_example(name, schema['properties'][name])}"


def _unknown(path: Path, schema: Schema, value: Value) -> _Words:
    known = schema["properties"]
    where = f"in {format_key(path)}" if path else "in a profile"
    for name in value:
        if name not in known:
            near = suggest(name, known)
            remedy = f"write {near}" if near else f"write {_one_of(known)}, or remove it"
            yield (*path, name), f"there is no such key {where}", remedy


def _type(path: Path, schema: Schema, value: Value) -> _Words:
    kinds = schema["type"]
    wanted = " or ".join(_KINDS[kind] for kind in ([kinds] if isinstance(kinds, str) else kinds))
    if value is None:
        found = "empty"
    elif isinstance(value, str):
        found = f"the text {quote(value)}"
    elif isinstance(value, dict | list):
        found = _KINDS["array" if isinstance(value, list) else "object"]
    else:
        found = quote(value)
    key = path[-1] if path else ""
    remedy = _example(key, schema)
    free_text = kinds == "string" and "format" not in schema and "enum" not in schema
    if "x-allowed" in schema and isinstance(kinds, list):
        remedy = schema["x-allowed"]
    elif free_text and isinstance(value, int | float):
        remedy = f'{key}: "{quote(value)}", with the quotes'
    yield path, f"is {found}, and {wanted} is wanted", f"write {remedy}"


def _enum(path: Path, schema: Schema, value: Value) -> _Words:
    near = suggest(value, schema["enum"]) if isinstance(value, str) else None
    yield path, f"{quote(value)} is not known", f"write {near or _one_of(schema['enum'])}"


def _minimum(path: Path, schema: Schema, value: Value) -> _Words:
    yield path, f"{quote(value)} is less than {_measure(schema, 'minimum')}", _range(schema)


def _maximum(path: Path, schema: Schema, value: Value) -> _Words:
    yield path, f"{quote(value)} is more than {_measure(schema, 'maximum')}", _range(schema)


def _measure(schema: Schema, limit: str) -> str:
    return f"{schema[limit]} {schema.get('x-unit', '')}".rstrip()


def _range(schema: Schema) -> str:
    return f"write a number from {schema['minimum']} to {schema['maximum']}"


def _empty(path: Path, schema: Schema, _: Value) -> _Words:
    yield path, "is empty", f"write {_example(path[-1], schema)}"


def _repeated(path: Path, _schema: Schema, _: Value) -> _Words:
    yield path, "holds the same entry twice", "write each entry once"


def _pattern(path: Path, schema: Schema, value: Value) -> _Words:
    yield path, f"{quote(value)} cannot be used here", f"write {schema['x-allowed']}"


def _unfit(path: Path, schema: Schema, value: Value) -> _Words:
    yield path, f"{quote(value)} does not fit", f"write {_example(path[-1], schema)}"


_BY_RULE: Mapping[str, Callable[[Path, Schema, Value], _Words]] = {
    "required": _required,
    "additionalProperties": _unknown,
    "type": _type,
    "enum": _enum,
    "minimum": _minimum,
    "maximum": _maximum,
    "minItems": _empty,
    "minProperties": _empty,
    "uniqueItems": _repeated,
    "pattern": _pattern,
}


def _example(key: str | int, schema: Schema) -> str:
    """Show a key with what it may hold, or with its first example; list items have no key."""
    if "enum" in schema:
        text = _one_of(schema["enum"])
    elif schema.get("type") == "boolean":
        text = "true or false"
    else:
        text = format_flow(schema["examples"][0]) if "examples" in schema else _EXAMPLE
    return f"{key}: {text}" if isinstance(key, str) and key else text


def _one_of(words: Iterable[str]) -> str:
    *others, last = words
    return f"{', '.join(others)} or {last}" if others else last


def format_flow(value: object) -> str:
    """Write a value in YAML's one-line form, for examples."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {format_flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(format_flow(item) for item in value) + "]"
    return quote(value)


def suggest(word: str, known: Iterable[str]) -> str | None:
    """Return the known word that ``word`` was probably meant to be, None if none is near."""
    word = word[:40]
    near = min(known, key=lambda other: _distance(word, other), default="")
    return near if near and _distance(word, near) <= max(1, len(near) // 3) else None


def _distance(one: str, other: str) -> int:
    """Count as Levenshtein does: insertions, removals and replacements between two words.

    difflib would do, but it is not among the few modules that stages may import.
    """
    row = list(range(len(other) + 1))
    for i, a in enumerate(one, 1):
        before, row = row, [i]
        for j, b in enumerate(other, 1):
            row.append(min(row[-1] + 1, before[j] + 1, before[j - 1] + (a != b)))
    return row[-1]
