"""YAML text and a JSON Schema -> Document: complete values, and each problem with its line.

The schema (draft 2020-12) carries types, defaults, help and examples; a ``format`` in it is a
parser that the caller brings.  What is wrong is cut out, and the rest is handed on, so that all
problems can be told at once.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

from anycastd import yamltext
from anycastd.yamltext import Path, Value, shown

# What a schema's ``format`` makes of a value; raises FormatError.
Format = Callable[[Any], Any]
_Schema = Mapping[str, Any]

_KINDS = {
    "integer": "a whole number",
    "number": "a number",
    "string": "text",
    "boolean": "true or false",
    "array": "a list",
    "object": "a block of keys",
}
_EXAMPLE = "a block of keys, as in profiles/primary.yaml"
_CUT = object()


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong in a file; ``str()`` is ``FILE:LINE: key: what is wrong; what to write``.

    A ``warning`` does not keep the profile from being used.
    """

    file: str
    line: int
    key: str
    wrong: str
    instead: str
    warning: bool = False

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.key}: {self.wrong}; {self.instead}"


class FormatError(ValueError):
    """A value does not have its format: what is wrong, what to write instead."""

    def __init__(self, wrong: str, instead: str) -> None:
        super().__init__(wrong)
        self.wrong = wrong
        self.instead = instead


@dataclass(frozen=True, slots=True)
class Document:
    """A file's values with defaults filled in and formats parsed, invalid parts left out.

    In a list an invalid item is None, so that indexes (and with them paths) stay as written.
    """

    file: str
    tree: Mapping[str, Any]
    lines: Mapping[Path, int]
    problems: tuple[Problem, ...]

    def get(self, *path: str | int) -> Value:
        """Return the value at ``path``, None where there is none."""
        value: Value = self.tree
        for step in path:
            if isinstance(value, Mapping):
                value = value.get(step)
            elif isinstance(value, list) and isinstance(step, int) and step < len(value):
                value = value[step]
            else:
                return None
        return value

    def written(self, path: Path) -> bool:
        """Whether the file says this itself, rather than leaving it to its default."""
        return path in self.lines

    def line(self, path: Path) -> int:
        """Return the line of ``path``, or of what is nearest above it."""
        return line_of(self.lines, path)

    def problem(self, path: Path, wrong: str, instead: str, *, warning: bool = False) -> Problem:
        """Make a problem at ``path`` in this file."""
        return Problem(self.file, self.line(path), key_of(path), wrong, instead, warning)


def line_of(lines: Mapping[Path, int], path: Path) -> int:
    """Return the line of ``path``, or of what is nearest above it."""
    while path and path not in lines:
        path = path[:-1]
    return lines.get(path, 1)


def key_of(path: Path) -> str:
    """``bgp.neighbors[0].peer_as`` for a path, ``profile`` for the whole."""
    key = "".join(f"[{step}]" if isinstance(step, int) else f".{shown(step)}" for step in path)
    return key.removeprefix(".") or "profile"


def read(text: str, file: str, schema: _Schema, formats: Mapping[str, Format]) -> Document:
    """Read ``text`` (called ``file`` in problems) by ``schema``; never raises for any text."""
    yaml = yamltext.read(text)
    document = Document(file, {}, yaml.lines, ())
    problems = [
        Problem(file, fault.line, key_of(fault.path), fault.wrong, fault.instead)
        for fault in yaml.faults
    ]
    if yaml.value is None:
        if not problems:
            wrong, instead = "the file is empty", "write a profile; profiles/primary.yaml is one"
            problems.append(Problem(file, 1, key_of(()), wrong, instead))
        return Document(file, {}, yaml.lines, tuple(problems))
    # One problem per path: what has the wrong type breaks other rules too, which says nothing new.
    found: dict[Path, tuple[str, str]] = {}
    for error in Draft202012Validator(schema).iter_errors(yaml.value):
        for path, wrong, instead in _words(error):
            if path not in found or error.validator == "type":
                found[path] = (wrong, instead)
    completer = _Completer(schema, formats, found)
    tree = completer.complete(schema, yaml.value, ())
    found |= {path: (fault.wrong, fault.instead) for path, fault in completer.faults}
    problems += [document.problem(path, *words) for path, words in found.items()]
    return Document(file, tree if isinstance(tree, dict) else {}, yaml.lines, tuple(problems))


def resolved(schema: _Schema, root: _Schema) -> _Schema:
    """Replace a schema's ``$ref`` by what it names; what stands beside it wins."""
    if "$ref" not in schema:
        return schema
    target: Any = root
    for step in schema["$ref"].removeprefix("#/").split("/"):
        target = target[step]
    return {**target, **{key: value for key, value in schema.items() if key != "$ref"}}


class _Completer:
    """Fills in defaults, parses formats, cuts out what is bad; all blocks and lists are new."""

    def __init__(self, root: _Schema, formats: Mapping[str, Format], bad: Container[Path]) -> None:
        self.faults: list[tuple[Path, FormatError]] = []
        self._root = root
        self._formats = formats
        self._bad = bad

    def complete(self, schema: _Schema, value: Value, path: Path) -> Value:
        if path in self._bad:
            return _CUT
        schema = resolved(schema, self._root)
        if isinstance(value, str):
            value = schema.get("x-short", {}).get(value, value)  # one word for a whole block
        if isinstance(value, dict):
            return self._object(schema, value, path)
        if isinstance(value, list):
            items = [
                self.complete(schema["items"], item, (*path, index))
                for index, item in enumerate(value)
            ]
            return [None if item is _CUT else item for item in items]
        if "format" in schema:
            try:
                return self._formats[schema["format"]](value)
            except FormatError as fault:
                self.faults.append((path, fault))
                return _CUT
        return value

    def _object(self, schema: _Schema, value: dict[str, Any], path: Path) -> Value:
        whole: dict[str, Any] = {}
        keys = schema.get("properties", {})
        other = schema["additionalProperties"]
        for key in [*keys, *(key for key in value if key not in keys)]:
            known = keys.get(key, other)
            if known is False:
                continue
            if key in value:
                member = self.complete(known, value[key], (*path, key))
            elif "default" in known:
                member = self.complete(known, known["default"], (*path, key))
            else:
                continue
            if member is not _CUT:
                whole[key] = member
        return whole


# The schema's rules in words: path, what is wrong, what to write instead -------------------------

_Words = Iterator[tuple[Path, str, str]]


def _words(error: ValidationError) -> _Words:
    """Say in our words what jsonschema found."""
    path: Path = tuple(error.absolute_path)
    # The stubs allow for errors that carry no schema; those of a validator all do.
    rule, schema = str(error.validator), cast("_Schema", error.schema)
    if "propertyNames" in error.absolute_schema_path:
        name = str(error.instance)
        allowed = f"write {schema['x-allowed']}"
        return iter([((*path, name), "cannot be used as a name", allowed)])
    # A rule that the schema did not use when this was written still gets a sentence.
    return _BY_RULE.get(rule, _unfit)(path, schema, error.instance)


def _required(path: Path, schema: _Schema, value: Value) -> _Words:
    for name in schema["required"]:
        if name not in value:
            yield (*path, name), "is missing", f"add {_example(name, schema['properties'][name])}"


def _unknown(path: Path, schema: _Schema, value: Value) -> _Words:
    known = schema["properties"]
    where = f"in {key_of(path)}" if path else "in a profile"
    for name in value:
        if name not in known:
            near = nearest(name, known)
            instead = f"write {near}" if near else f"write {_one_of(known)}, or remove it"
            yield (*path, name), f"there is no such key {where}", instead


def _type(path: Path, schema: _Schema, value: Value) -> _Words:
    kinds = schema["type"]
    wanted = " or ".join(_KINDS[kind] for kind in ([kinds] if isinstance(kinds, str) else kinds))
    if value is None:
        found = "empty"
    elif isinstance(value, str):
        found = f"the text {shown(value)}"
    elif isinstance(value, dict | list):
        found = _KINDS["array" if isinstance(value, list) else "object"]
    else:
        found = shown(value)
    key = path[-1] if path else ""
    instead = _example(key, schema)
    free_text = kinds == "string" and "format" not in schema and "enum" not in schema
    if "x-allowed" in schema and isinstance(kinds, list):
        instead = schema["x-allowed"]
    elif free_text and isinstance(value, int | float):
        instead = f'{key}: "{shown(value)}", with the quotes'
    yield path, f"is {found}, and {wanted} is wanted", f"write {instead}"


def _enum(path: Path, schema: _Schema, value: Value) -> _Words:
    near = nearest(value, schema["enum"]) if isinstance(value, str) else None
    yield path, f"{shown(value)} is not known", f"write {near or _one_of(schema['enum'])}"


def _minimum(path: Path, schema: _Schema, value: Value) -> _Words:
    yield path, f"{shown(value)} is less than {_measure(schema, 'minimum')}", _range(schema)


def _maximum(path: Path, schema: _Schema, value: Value) -> _Words:
    yield path, f"{shown(value)} is more than {_measure(schema, 'maximum')}", _range(schema)


def _measure(schema: _Schema, limit: str) -> str:
    return f"{schema[limit]} {schema.get('x-unit', '')}".rstrip()


def _range(schema: _Schema) -> str:
    return f"write a number from {schema['minimum']} to {schema['maximum']}"


def _empty(path: Path, schema: _Schema, _: Value) -> _Words:
    yield path, "is empty", f"write {_example(path[-1], schema)}"


def _repeated(path: Path, _schema: _Schema, _: Value) -> _Words:
    yield path, "holds the same entry twice", "write each entry once"


def _pattern(path: Path, schema: _Schema, value: Value) -> _Words:
    yield path, f"{shown(value)} cannot be used here", f"write {schema['x-allowed']}"


def _unfit(path: Path, schema: _Schema, value: Value) -> _Words:
    yield path, f"{shown(value)} does not fit", f"write {_example(path[-1], schema)}"


_BY_RULE: Mapping[str, Callable[[Path, _Schema, Value], _Words]] = {
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


def _example(key: str | int, schema: _Schema) -> str:
    """Show a key with what it may hold, or with its first example; list items have no key."""
    if "enum" in schema:
        text = _one_of(schema["enum"])
    elif schema.get("type") == "boolean":
        text = "true or false"
    else:
        text = flow(schema["examples"][0]) if "examples" in schema else _EXAMPLE
    return f"{key}: {text}" if isinstance(key, str) and key else text


def _one_of(words: Iterable[str]) -> str:
    *others, last = words
    return f"{', '.join(others)} or {last}" if others else last


def flow(value: object) -> str:
    """Write a value in YAML's one-line form, for examples."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(flow(item) for item in value) + "]"
    return shown(value)


def nearest(word: str, known: Iterable[str]) -> str | None:
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
