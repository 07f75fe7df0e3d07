"""YAML text and a JSON Schema -> Document: complete values, and each problem with its line.

The schema (draft 2020-12) has types, defaults, help and examples.  The caller passes a parser for
each ``format`` in it.  Invalid values are left out of the Document, so that the rules can check
the rest and all problems are reported at once.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from typing import Any

from jsonschema import Draft202012Validator, ValidationError, validators

from anycastd.profile import formats, yaml_reader
from anycastd.profile.document import (
    MAX_PROBLEMS,
    MAX_SIZE,
    Document,
    Format,
    FormatError,
    Problem,
)
from anycastd.profile.key_paths import Path, Value, format_key
from anycastd.profile.schema import Schema, load_schema, resolve_ref
from anycastd.profile.schema_errors import EXAMPLE_PROFILE, describe_error

_INVALID = object()


def read_profile_document(text: str, file: str) -> Document:
    """Parse a profile's text and check it by the schema; ``file`` is its name in problems.

    Never raises: all errors are in the Document's ``problems``.
    """
    return read_document(text, file, load_schema(), formats.FORMATS)


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


def complete_values(value: Value, schema: Schema, formats: Mapping[str, Format]) -> Value:
    """Fill in the defaults of a file's values, and parse formats by ``formats``.

    ``value`` fits ``schema``.  Raises KeyError where it has a format without a parser.
    """
    return _Completer(schema, formats, ()).complete(schema, value, ())


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
