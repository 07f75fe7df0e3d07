"""YAML text and a JSON Schema -> Document: complete values, and each problem with its line.

The schema (draft 2020-12) carries types, defaults, help and examples; a ``format`` in it is a
parser that the caller brings.  What is wrong is cut out, and the rest is handed on, so that all
problems can be told at once.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass
from typing import Any

from jsonschema import Draft202012Validator

from anycastd.profile import yaml_reader
from anycastd.profile.schema_errors import Schema, describe_error
from anycastd.profile.yaml_reader import Path, Value, find_line, format_key

# What a schema's ``format`` makes of a value; raises FormatError.
Format = Callable[[Any], Any]

_CUT = object()


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong in a file; ``str()`` is ``FILE:LINE: key: what is wrong; what to write``.

    A ``warning`` does not keep the profile from being used.
    """

    file: str
    line: int
    key: str
    message: str
    remedy: str
    warning: bool = False

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.key}: {self.message}; {self.remedy}"


class FormatError(ValueError):
    """A value does not have its format: what is wrong, what to write instead."""

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy


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

    def is_explicit(self, path: Path) -> bool:
        """Whether the file says this itself, rather than leaving it to its default."""
        return path in self.lines

    def line(self, path: Path) -> int:
        """Return the line of ``path``, or of what is nearest above it."""
        return find_line(self.lines, path)

    def problem(self, path: Path, message: str, remedy: str, *, warning: bool = False) -> Problem:
        """Make a problem at ``path`` in this file."""
        return Problem(self.file, self.line(path), format_key(path), message, remedy, warning)


def read_document(text: str, file: str, schema: Schema, formats: Mapping[str, Format]) -> Document:
    """Read ``text`` (called ``file`` in problems) by ``schema``; never raises for any text."""
    yaml = yaml_reader.read_yaml(text)
    document = Document(file, {}, yaml.lines, ())
    problems = [
        Problem(file, problem.line, format_key(problem.path), problem.message, problem.remedy)
        for problem in yaml.problems
    ]
    if yaml.value is None:
        if not problems:
            message, remedy = "the file is empty", "write a profile; profiles/primary.yaml is one"
            problems.append(Problem(file, 1, format_key(()), message, remedy))
        return Document(file, {}, yaml.lines, tuple(problems))
    # One problem per path: what has the wrong type breaks other rules too, which says nothing new.
    found: dict[Path, tuple[str, str]] = {}
    for error in Draft202012Validator(schema).iter_errors(yaml.value):
        for path, message, remedy in describe_error(error):
            if path not in found or error.validator == "type":
                found[path] = (message, remedy)
    completer = _Completer(schema, formats, found)
    tree = completer.complete(schema, yaml.value, ())
    found |= {path: (error.message, error.remedy) for path, error in completer.errors}
    problems += [document.problem(path, *texts) for path, texts in found.items()]
    return Document(file, tree if isinstance(tree, dict) else {}, yaml.lines, tuple(problems))


def resolve_ref(schema: Schema, root: Schema) -> Schema:
    """Replace a schema's ``$ref`` by what it names; what stands beside it wins."""
    if "$ref" not in schema:
        return schema
    target: Any = root
    for step in schema["$ref"].removeprefix("#/").split("/"):
        target = target[step]
    return {**target, **{key: value for key, value in schema.items() if key != "$ref"}}


class _Completer:
    """Fills in defaults, parses formats, cuts out what is bad; all blocks and lists are new."""

    def __init__(self, root: Schema, formats: Mapping[str, Format], bad: Container[Path]) -> None:
        self.errors: list[tuple[Path, FormatError]] = []
        self._root = root
        self._formats = formats
        self._bad = bad

    def complete(self, schema: Schema, value: Value, path: Path) -> Value:
        if path in self._bad:
            return _CUT
        schema = resolve_ref(schema, self._root)
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
            except FormatError as error:
                self.errors.append((path, error))
                return _CUT
        return value

    def _object(self, schema: Schema, value: dict[str, Any], path: Path) -> Value:
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
