"""YAML text -> plain values with the line of each, and its problems (pure).

Scalars are read by YAML 1.2's core schema (https://yaml.org/spec/1.2.2/#103-core-schema): ``true``,
``false``, ``null``, decimal, ``0o`` and ``0x`` numbers, and floats.  So ``65535:0`` and ``off`` are
text, and ``010`` is ten.  This uses PyYAML's events, not its composer: the composer has no limit of
depth and takes a minute for a hostile line of brackets.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from anycastd.profile.key_paths import Path, Value, quote_value

LOADER: Any = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader
"""PyYAML's loader.  The pure Python one reads the same, but takes five times as long.

Debian builds PyYAML with libyaml.
"""

_MAX_DEPTH = 32
_MAX_ALIASED = 100_000
_MAX_NUMBER_LENGTH = 40

_CORE_SCHEMA = (
    (re.compile(r"~|null|Null|NULL|"), None),
    (re.compile(r"true|True|TRUE"), True),
    (re.compile(r"false|False|FALSE"), False),
)
_DECIMAL = re.compile(r"[-+]?[0-9]+")
_OTHER_INTEGER = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
# .inf and .nan stay text: no key needs them, and a range check does not catch nan.
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

_TOO_DEEP = (
    f"blocks and lists are nested more than {_MAX_DEPTH} deep",
    "write it flatter; no rule needs that many levels",
)
_ESCAPE = ("text in double quotes contains an invalid backslash", "use single quotes")
# Part of an error text of PyYAML or libyaml (they differ), message, remedy.
_PHRASES: tuple[tuple[str, str, str], ...] = (
    (
        "mapping values are not allowed",
        "there is a colon where no key can begin",
        "indent this line like the keys beside it, or put text with a colon in quotes",
    ),
    (
        "sequence entries are not allowed",
        "there is a list item where none can begin",
        "put each `- item` on a line of its own, or write [item, item]",
    ),
    (
        "could not find expected ':'",
        "a key has no colon and value",
        "write `key: value`",
    ),
    (
        "cannot start any token",
        "a value begins with a character that YAML reserves",
        "put the value in quotes",
    ),
    (
        "unexpected end of stream",
        "a quotation mark is opened here and not closed",
        "close it",
    ),
    ("',' or ']'", "a list is opened with [ and not closed", "close it with ]"),
    ("',' or '}'", "a block is opened with { and not closed", "close it with }"),
    (
        "node content",
        "a value is missing, or begins with a character that YAML reserves",
        "write a value, in quotes if it begins with a colon or a bracket",
    ),
    ("escape", *_ESCAPE),
    (
        "tag handle",
        "a tag (a word with !) has no meaning here",
        "remove it, or put the value in quotes",
    ),
    (
        "incompatible YAML document",
        "the file requires another version of YAML",
        "remove the line that begins with %YAML",
    ),
)
_OTHER_ERROR = (
    "this line does not fit the lines above it",
    "check its indentation (two spaces per level), and that quotes and brackets are closed",
)


class _RefusedError(Exception):
    """The text cannot be read any further; ``problem`` says why."""

    def __init__(self, line: int, message: str, remedy: str) -> None:
        super().__init__(message)
        self.problem = YamlProblem((), line, message, remedy)


@dataclass(frozen=True, slots=True)
class YamlProblem:
    """One problem at ``path``: ``message`` says what is wrong, ``remedy`` what to write instead."""

    path: Path
    line: int
    message: str
    remedy: str


@dataclass(frozen=True, slots=True)
class YamlDocument:
    """A YAML text that was read: its value, the line of each key path, and its problems.

    ``value`` is None if the text is empty or could not be read (then there is a problem).
    """

    value: Any
    lines: Mapping[Path, int]
    problems: tuple[YamlProblem, ...]


@dataclass(slots=True)
class _Node:
    """A node of YAML: a text, or a list of nodes (in a mapping: key, value, key, value ...)."""

    line: int
    text: str | None = None
    items: list[_Node] = field(default_factory=list)
    plain: bool = False
    mapping: bool = False
    anchor: str | None = None
    alias: bool = False


def read_yaml(text: str, loader: Value = LOADER) -> YamlDocument:
    """Read one YAML document; never raises, whatever ``text`` is.

    ``loader`` is a loader of PyYAML: the one with libyaml or the pure Python one.
    """
    try:
        reader = _Reader()
        value = reader.convert(_build_nodes(text, loader))
    except _RefusedError as refused:
        return YamlDocument(None, {}, (refused.problem,))
    except yaml.MarkedYAMLError as error:
        return YamlDocument(
            None, {}, (_find_excess_depth(text) or _describe_syntax_error(text, error),)
        )
    except (yaml.YAMLError, ValueError, OverflowError):
        # Characters that YAML does not allow: lone surrogates, controls, \U escapes out of range.
        return YamlDocument(None, {}, (_describe_unprintable(text),))
    return YamlDocument(value, reader.lines, tuple(reader.problems))


def _build_nodes(text: str, loader: Value) -> _Node:
    """Build nodes from events, without recursion; an alias shares the items of its anchor."""
    root: _Node | None = None
    stack: list[_Node] = []
    anchors: dict[str, _Node] = {}
    for event in yaml.parse(text, Loader=loader):
        if isinstance(event, yaml.DocumentStartEvent) and root is not None:
            raise _RefusedError(
                _line_of(event),
                "a second document begins here",
                "keep one profile per file, without a line --- inside it",
            )
        if isinstance(event, yaml.CollectionStartEvent):
            stack.append(_build_node(event, anchors))
            if len(stack) > _MAX_DEPTH:
                raise _RefusedError(stack[-1].line, *_TOO_DEEP)
            continue
        if isinstance(event, yaml.CollectionEndEvent):
            node = stack.pop()
        elif isinstance(event, yaml.NodeEvent):
            node = _build_node(event, anchors)
        else:
            continue
        # An anchor counts from the end of its node on, so that no node can contain itself.
        if node.anchor is not None:
            anchors[node.anchor] = node
        if stack:
            stack[-1].items.append(node)
        else:
            root = node
    return root or _Node(1, "", plain=True)


def _find_excess_depth(text: str) -> YamlProblem | None:
    """Return a problem if ``text`` is nested too deep, None if it is not.

    libyaml reads up to 1,024 characters ahead and has a depth limit of its own since 0.2.6, so it
    may fail before our limit is reached.  The pure Python loader has no such limit.
    """
    try:
        _build_nodes(text, yaml.SafeLoader)
    except _RefusedError as refused:
        if (refused.problem.message, refused.problem.remedy) == _TOO_DEEP:
            return refused.problem
    except (yaml.YAMLError, ValueError, OverflowError):
        pass
    return None


def _line_of(event: Value) -> int:
    return int(event.start_mark.line) + 1


def _build_node(event: Value, anchors: Mapping[str, _Node]) -> _Node:
    line = _line_of(event)
    if isinstance(event, yaml.AliasEvent):
        name = quote_value(event.anchor)
        if event.anchor is None or event.anchor not in anchors:
            raise _RefusedError(
                line,
                f"the alias *{name} refers to no complete value above this line",
                f"mark a value above it with &{name}, or write the value here",
            )
        target = anchors[event.anchor]
        return _Node(line, target.text, target.items, target.plain, target.mapping, alias=True)
    if event.tag is not None:
        raise _RefusedError(
            line,
            f"the tag {quote_value(event.tag)} is not used in a profile",
            'remove it; text that looks like a number is written in quotes: "65010"',
        )
    if isinstance(event, yaml.ScalarEvent):
        return _Node(line, event.value, plain=event.implicit[0], anchor=event.anchor)
    mapping = isinstance(event, yaml.MappingStartEvent)
    return _Node(line, mapping=mapping, anchor=event.anchor)


class _Reader:
    """Convert nodes to values; collect the line of each path and the problems of keys."""

    def __init__(self) -> None:
        self.lines: dict[Path, int] = {}
        self.problems: list[YamlProblem] = []
        self._aliased = 0

    def convert(self, node: _Node, path: Path = (), *, aliased: bool = False) -> Value:
        aliased = aliased or node.alias
        self._aliased += aliased
        if len(path) > _MAX_DEPTH:
            raise _RefusedError(node.line, *_TOO_DEEP)
        if self._aliased > _MAX_ALIASED:
            raise _RefusedError(
                node.line,
                f"aliases expand this file to more than {_MAX_ALIASED} values",
                "write the values themselves",
            )
        # The line of a key is used for its value, which may begin further down.
        self.lines.setdefault(path, node.line)
        if node.text is not None:
            return _convert_scalar(node.text) if node.plain else node.text
        if node.mapping:
            return dict(self._convert_members(node, path, aliased))
        return [
            self.convert(item, (*path, index), aliased=aliased)
            for index, item in enumerate(node.items)
        ]

    def _convert_members(self, node: _Node, path: Path, aliased: bool) -> Iterator[tuple[str, Any]]:
        seen: dict[str, int] = {}
        for key, value in zip(node.items[::2], node.items[1::2], strict=True):
            # Keys are text as written: a service may be called 1 or off.
            name = key.text
            if name is None:
                message = "a key is a list or a block"
                self.problems.append(
                    YamlProblem(path, key.line, message, "write a word as the key")
                )
                continue
            if name in seen:
                both = f"lines {seen[name]} and {key.line}"
                where = f"in {both}" if seen[name] < key.line else f"twice in line {key.line}"
                message, remedy = f"the same key is {where}", "keep one of them"
                self.problems.append(YamlProblem((*path, name), key.line, message, remedy))
                continue
            seen[name] = key.line
            self.lines[(*path, name)] = key.line
            yield name, self.convert(value, (*path, name), aliased=aliased)


def _convert_scalar(text: str) -> Value:
    for pattern, value in _CORE_SCHEMA:
        if pattern.fullmatch(text):
            return value
    if len(text) <= _MAX_NUMBER_LENGTH:
        if _DECIMAL.fullmatch(text):
            return int(text)
        if _OTHER_INTEGER.fullmatch(text):
            return int(text, 0)
        if _FLOAT.fullmatch(text):
            return float(text)
    return text


def _describe_syntax_error(text: str, error: yaml.MarkedYAMLError) -> YamlProblem:
    """Describe a syntax error of PyYAML, at the line where it was found or where it began."""
    mark = error.problem_mark or error.context_mark
    line = mark.line + 1 if mark else 1
    problem = error.problem or ""
    # A missing end is found at the end of the file, far from the cause.
    unclosed = "end of stream" in problem or "',' or" in problem
    if unclosed and error.context_mark:
        line = error.context_mark.line + 1
    lines = text.splitlines()
    near = lines[line - 1] if line <= len(lines) else ""
    if "\t" in near[: len(near) - len(near.lstrip())]:
        return YamlProblem((), line, "a tab is used to indent", "indent with spaces")
    for phrase, message, remedy in _PHRASES:
        if phrase in problem:
            return YamlProblem((), line, message, remedy)
    return YamlProblem((), line, *_OTHER_ERROR)


def _describe_unprintable(text: str) -> YamlProblem:
    found = _UNPRINTABLE.search(text)
    if not found:
        # Only the pure Python loader: an escape such as \\UFFFFFFFF has no line.
        return YamlProblem((), 1, *_ESCAPE)
    line = text.count("\n", 0, found.start()) + 1
    code = f"U+{ord(found.group()):04X}"
    return YamlProblem((), line, f"the character {code} cannot be part of YAML text", "remove it")
