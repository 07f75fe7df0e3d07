"""Describe errors of jsonschema: path, what is wrong, what to write instead (pure)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from difflib import get_close_matches
from typing import cast

from jsonschema.exceptions import ValidationError

from anycastd.profile.key_paths import Path, Value, format_key, quote_value
from anycastd.profile.schema import Schema

_KINDS = {
    "integer": "a whole number",
    "number": "a number",
    "string": "text",
    "boolean": "true or false",
    "array": "a list",
    "object": "a block of keys",
}
# Longer names are cut before they are compared, which takes quadratic time.
_MAX_COMPARED = 40
EXAMPLE_PROFILE = (
    "/etc/anycastd/examples/primary.yaml"
    if __file__.startswith("/usr/")
    else "profiles/primary.yaml"
)
"""A shipped profile, for hints: in the package, or in a checkout of the source."""
_EXAMPLE = f"a block of keys, as in {EXAMPLE_PROFILE}"
_ASDOT = r"[0-9]{1,5}\.[0-9]{1,5}"
_NUMBERS = {
    "integer": r"[-+]?[0-9]+",
    "number": r"[-+]?[0-9]+(?:\.[0-9]+)?",
    "boolean": "true|false",
}
# Path, message and remedy of each problem.
_Problems = Iterator[tuple[Path, str, str]]


def describe_error(error: ValidationError) -> _Problems:
    """Describe an error of jsonschema: yields (key path, message, remedy) of each problem.

    Raises KeyError where the schema lacks a key that the remedy is made of: ``x-allowed`` beside
    ``pattern`` and ``propertyNames``, ``minimum`` and ``maximum`` together.
    """
    path: Path = tuple(error.absolute_path)
    # By the type stubs an error may have no schema; those of a validator always have one.
    keyword, schema = str(error.validator), cast("Schema", error.schema)
    if "propertyNames" in error.absolute_schema_path:
        name = str(error.instance)
        allowed = f"write {schema['x-allowed']}"
        return iter([((*path, name), "cannot be used as a name", allowed)])
    # _describe_other is for keywords that the schema does not use today.
    return _BY_KEYWORD.get(keyword, _describe_other)(path, schema, error.instance)


def _describe_missing(path: Path, schema: Schema, value: Value) -> _Problems:
    for name in schema["required"]:
        if name not in value:
            example = _format_example(name, schema["properties"][name])
            if value.get("platform") in _OTHER_PEERS:  # the example is Azure's
                example = example.replace(_AZURE_PEER, _OTHER_PEER)
            yield (*path, name), "is missing", f"add {example}"


_OTHER_PEERS = ("aws", "plain")
_AZURE_PEER, _OTHER_PEER = "peer_as: 65515", "peer_as: 64512"


def _describe_unknown(path: Path, schema: Schema, value: Value) -> _Problems:
    keys = schema["properties"]
    where = f"in {format_key(path)}" if path else "in a profile"
    for name in value:
        if name not in keys:
            near = suggest_similar(name, keys)
            remedy = f"write {near}" if near else f"write {_join_choices(keys)}, or remove it"
            yield (*path, name), f"there is no such key {where}", remedy


def _describe_type(path: Path, schema: Schema, value: Value) -> _Problems:
    kinds = schema["type"]
    expected = " or ".join(_KINDS[kind] for kind in ([kinds] if isinstance(kinds, str) else kinds))
    if value is None:
        found = "empty"
    elif isinstance(value, str):
        found = f"the text {quote_value(value)}"
    elif isinstance(value, dict | list):
        found = _KINDS["array" if isinstance(value, list) else "object"]
    else:
        found = quote_value(value)
    key = path[-1] if path else ""
    remedy = _format_example(key, schema)
    one = kinds if isinstance(kinds, str) else ""
    if isinstance(value, str) and one in _NUMBERS and re.fullmatch(_NUMBERS[one], value, re.ASCII):
        yield path, f'is "{value}" in quotes, but must be {expected}', "take the quotes off"
        return
    if schema.get("x-asn") and re.fullmatch(_ASDOT, str(value), re.ASCII):
        yield path, f"is {value}, but must be {expected}", _explain_asdot(value)
        return
    if isinstance(value, str) and one in ("integer", "number"):
        remedy = f"{_KINDS[one]}, such as {remedy}"
    free_text = kinds == "string" and "format" not in schema and "enum" not in schema
    if "x-allowed" in schema and isinstance(kinds, list):
        remedy = schema["x-allowed"]
    elif free_text and isinstance(value, int | float):
        remedy = f'{quote_value(key)}: "{quote_value(value)}", with the quotes'
    yield path, f"is {found}, but must be {expected}", f"write {remedy}"


def _explain_asdot(value: Value) -> str:
    """Return the remedy for an ASN as HIGH.LOW (asdot, RFC 5396): as text its value is known.

    YAML reads one without quotes as a number, in which 1.1 and 1.10 are the same.
    """
    if not isinstance(value, str):
        return "write an AS number HIGH.LOW as one number: HIGH * 65536 + LOW"
    high, low = map(int, value.split("."))
    return f"write {high * 65536 + low}"


def _describe_enum(path: Path, schema: Schema, value: Value) -> _Problems:
    near = suggest_similar(value, schema["enum"]) if isinstance(value, str) else None
    yield (
        path,
        f"{quote_value(value)} is not a valid value",
        f"write {near or _join_choices(schema['enum'])}",
    )


def _describe_minimum(path: Path, schema: Schema, value: Value) -> _Problems:
    yield (
        path,
        f"{quote_value(value)} is less than {_format_limit(schema, 'minimum')}",
        _format_range(schema),
    )


def _describe_maximum(path: Path, schema: Schema, value: Value) -> _Problems:
    yield (
        path,
        f"{quote_value(value)} is more than {_format_limit(schema, 'maximum')}",
        _format_range(schema),
    )


def _format_limit(schema: Schema, limit: str) -> str:
    unit = schema.get("x-unit", "")
    return f"{schema[limit]} {unit.removesuffix('s') if schema[limit] == 1 else unit}".rstrip()


def _format_range(schema: Schema) -> str:
    return f"write a number from {schema['minimum']} to {schema['maximum']}"


def _describe_empty(path: Path, schema: Schema, _: Value) -> _Problems:
    yield path, "is empty", f"write {_format_example(path[-1], schema)}"


def _describe_repeated(path: Path, _schema: Schema, _: Value) -> _Problems:
    yield path, "contains the same entry twice", "write each entry once"


def _describe_pattern(path: Path, schema: Schema, value: Value) -> _Problems:
    yield path, f"{quote_value(value)} cannot be used here", f"write {schema['x-allowed']}"


def _describe_other(path: Path, schema: Schema, value: Value) -> _Problems:
    yield path, f"{quote_value(value)} does not fit", f"write {_format_example(path[-1], schema)}"


_BY_KEYWORD: Mapping[str, Callable[[Path, Schema, Value], _Problems]] = {
    "required": _describe_missing,
    "additionalProperties": _describe_unknown,
    "type": _describe_type,
    "enum": _describe_enum,
    "minimum": _describe_minimum,
    "maximum": _describe_maximum,
    "minItems": _describe_empty,
    "minProperties": _describe_empty,
    "uniqueItems": _describe_repeated,
    "pattern": _describe_pattern,
}


def _format_example(key: str | int, schema: Schema) -> str:
    """Return ``key: VALUE`` with all valid values or the first example; list items have no key."""
    if "enum" in schema:
        text = _join_choices(schema["enum"])
    elif schema.get("type") == "boolean":
        text = "true or false"
    else:
        text = format_flow(schema["examples"][0]) if "examples" in schema else _EXAMPLE
    return f"{quote_value(key)}: {text}" if isinstance(key, str) and key else text


def _join_choices(names: Iterable[str]) -> str:
    *first, last = names
    return f"{', '.join(first)} or {last}" if first else last


def format_flow(value: object) -> str:
    """Return a value in YAML's one-line (flow) form, for examples."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {format_flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(format_flow(item) for item in value) + "]"
    return quote_value(value)


def suggest_similar(name: str, candidates: Iterable[str]) -> str | None:
    """Return the candidate that is most similar to ``name``, None if none is similar."""
    return next(iter(get_close_matches(name[:_MAX_COMPARED], candidates, n=1)), None)
