"""YAML text and a JSON Schema -> Document: complete values, and each problem with its line.

The schema (draft 2020-12) has types, defaults, help and examples.  The caller passes a parser for
each ``format`` in it.  Invalid values are left out of the Document, so that the rules can check
the rest and all problems are reported at once.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from jsonschema import Draft202012Validator, ValidationError, validators

from anycastd.profile import yaml_reader
from anycastd.profile.schema_errors import EXAMPLE_PROFILE, Schema, describe_error
from anycastd.profile.yaml_reader import (
    Path,
    Value,
    escape_unprintable,
    find_line,
    format_key,
)

Format = Callable[[Any], Any]
"""Parser of a schema's ``format``: value of the file -> value of the Document.

Raises FormatError.
"""

MAX_SIZE = 1 << 20
"""Maximum size of a profile in characters: 1,000 services with all keys have a third of it."""
MAX_PROBLEMS = 100
"""Problems that are described; more of them have one line together."""

_INVALID = object()


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


def read_document(text: str, file: str, schema: Schema, formats: Mapping[str, Format]) -> Document:
    """Parse ``text`` and check it by ``schema``; ``file`` is its name in problems.

    ``formats``: format of the schema -> its parser.  Never raises, whatever ``text`` is: all errors
    are in the Document's ``problems``.  Raises KeyError where the schema has a format without a
    parser.
    """
    if len(text) > MAX_SIZE:
        message = f"the file has more than {MAX_SIZE >> 20} MiB, which no profile needs"
        remedy = f"see that it is the right file; {EXAMPLE_PROFILE} is a profile"
        return Document(file, {}, {}, (Problem(file, 1, format_key(()), message, remedy),))
    yaml = yaml_reader.read_yaml(text)
    document = Document(file, {}, yaml.lines, ())
    problems = [
        Problem(file, problem.line, format_key(problem.path), problem.message, problem.remedy)
        for problem in yaml.problems
    ]
    if yaml.value is None:
        if not problems:
            message = "the file is empty"
            remedy = f"write a profile; {EXAMPLE_PROFILE} is one, and `anycastd init` writes one"
            problems.append(Problem(file, 1, format_key(()), message, remedy))
        return Document(file, {}, yaml.lines, tuple(problems))
    # One problem per path: a wrong type breaks other rules too, and they add nothing.
    found: dict[Path, tuple[str, str]] = {}
    for path, message, remedy, decisive in _iter_schema_errors(schema, yaml.value):
        if path not in found or decisive:
            found[path] = (message, remedy)
        if len(found) > MAX_PROBLEMS:
            # The rest is not looked for, so what is not found may be invalid: no value is used.
            problems += [document.make_problem(at, *texts) for at, texts in found.items()]
            return Document(file, {}, yaml.lines, tuple(problems))
    completer = _Completer(schema, formats, found)
    tree = completer.complete(schema, yaml.value, ())
    found |= {path: (error.message, error.remedy) for path, error in completer.errors}
    problems += [document.make_problem(path, *texts) for path, texts in found.items()]
    return Document(file, tree if isinstance(tree, dict) else {}, yaml.lines, tuple(problems))


def _iter_schema_errors(schema: Schema, value: Value) -> Iterator[tuple[Path, str, str, bool]]:
    """Yield (key path, message, remedy, whether it is the only problem of that path to tell)."""
    for error in _Validator(schema).iter_errors(value):
        for path, message, remedy in describe_error(error):
            yield path, message, remedy, error.validator == "type"


def _find_repeated(
    _: Value, unique: bool, items: Value, _schema: Schema
) -> Iterator[ValidationError]:
    """Find a text that is in a list twice; all lists with ``uniqueItems`` are lists of texts.

    jsonschema compares each item with each other one as soon as one of them is no text: a
    profile of 40 kB took 12 s.
    """
    if unique and isinstance(items, list):
        texts = [item for item in items if isinstance(item, str)]
        if len(set(texts)) != len(texts):
            yield ValidationError("repeated")


# By the type stubs of jsonschema this function has no types.
_Validator: Any = validators.extend(  # type: ignore[no-untyped-call]
    Draft202012Validator, {"uniqueItems": _find_repeated}
)


def resolve_ref(schema: Schema, root: Schema) -> Schema:
    """Replace the ``$ref`` of a schema by its target; keys beside the ``$ref`` win.

    ``root`` is the whole schema.  Raises KeyError where it does not have the target.
    """
    if "$ref" not in schema:
        return schema
    target: Any = root
    for step in schema["$ref"].removeprefix("#/").split("/"):
        target = target[step]
    return {**target, **{key: value for key, value in schema.items() if key != "$ref"}}


class _Completer:
    """Fill in defaults, parse formats and leave out invalid values; nothing is changed in place."""

    def __init__(
        self, root: Schema, formats: Mapping[str, Format], invalid: Container[Path]
    ) -> None:
        self.errors: list[tuple[Path, FormatError]] = []
        self._root = root
        self._formats = formats
        self._invalid = invalid

    def complete(self, schema: Schema, value: Value, path: Path) -> Value:
        if path in self._invalid:
            return _INVALID
        schema = resolve_ref(schema, self._root)
        if isinstance(value, str):
            value = schema.get("x-short", {}).get(value, value)  # a short form of a whole block
        if isinstance(value, dict):
            return self._complete_object(schema, value, path)
        if isinstance(value, list):
            items = [
                self.complete(schema["items"], item, (*path, index))
                for index, item in enumerate(value)
            ]
            return [None if item is _INVALID else item for item in items]
        if "format" in schema:
            try:
                return self._formats[schema["format"]](value)
            except FormatError as error:
                self.errors.append((path, error))
                return _INVALID
        return value

    def _complete_object(self, schema: Schema, value: dict[str, Any], path: Path) -> Value:
        whole: dict[str, Any] = {}
        keys = schema.get("properties", {})
        other = schema["additionalProperties"]
        for key in [*keys, *(key for key in value if key not in keys)]:
            member_schema = keys.get(key, other)
            if member_schema is False:
                continue
            if key in value:
                member = self.complete(member_schema, value[key], (*path, key))
            elif "default" in member_schema:
                member = self.complete(member_schema, member_schema["default"], (*path, key))
            else:
                continue
            if member is not _INVALID:
                whole[key] = member
        return whole
