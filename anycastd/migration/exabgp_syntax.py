"""Parse the text of an ExaBGP configuration: words, statements, blocks (pure).

It is the syntax that releases 3, 4 and 5 share: ``word word;`` and ``word word { ... }``, comments
from ``#`` to the end of the line, texts in quotes.  What the words mean is not known here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from anycastd.migration.draft import SourceError

_MAX_DEPTH = 16
_MAX_STATEMENTS = 50_000
_SINGLE = "{};[](),"
_QUOTES = "\"'"


@dataclass(slots=True)
class Statement:
    """A statement: its words, its line, and the statements in its block (None: it has none)."""

    line: int
    words: list[str]
    block: list[Statement] | None = None

    @property
    def keyword(self) -> str:
        """Return its first word, in lower case; empty where it has none."""
        return self.words[0].lower() if self.words else ""


@dataclass(slots=True)
class _Open:
    statements: list[Statement]
    line: int = 0
    words: list[str] = field(default_factory=list)
    words_at: int = 0


def parse_statements(text: str) -> list[Statement]:
    """Parse a configuration.

    Raises SourceError where a block is not closed, a quote does not end, blocks are nested too
    deeply, or there is something that is no text.
    """
    _refuse_binary(text)
    stack = [_Open([])]
    count = 0
    for line, word in _iter_tokens(text):
        top = stack[-1]
        if word not in ("{", "}", ";"):
            if not top.words:
                top.words_at = line
            top.words.append(word.removeprefix("\0"))
            continue
        count += 1
        if count > _MAX_STATEMENTS:
            raise SourceError(line, f"more than {_MAX_STATEMENTS} statements")
        if word == "{":
            _open_block(stack, line)
        elif top.words or word == "}":
            _end_statement(stack, line, closes=word == "}")
    if len(stack) > 1:
        raise SourceError(stack[-1].line, "this block is not closed: a } is missing")
    if stack[0].words:
        _end_statement(stack, stack[0].words_at, closes=False)
    return stack[0].statements


def _refuse_binary(text: str) -> None:
    for number, line in enumerate(text.split("\n"), 1):
        if any(ord(char) < 32 and char not in "\t\r\f" for char in line):  # noqa: PLR2004 - a space
            raise SourceError(number, "a control character: this is no ExaBGP configuration")


def _open_block(stack: list[_Open], line: int) -> None:
    top = stack[-1]
    if len(stack) > _MAX_DEPTH:
        raise SourceError(line, f"blocks are nested deeper than {_MAX_DEPTH}")
    statement = Statement(top.words_at or line, top.words, [])
    top.statements.append(statement)
    top.words, top.words_at = [], 0
    stack.append(_Open(statement.block or [], line))
    statement.block = stack[-1].statements


def _end_statement(stack: list[_Open], line: int, *, closes: bool) -> None:
    top = stack[-1]
    if top.words:
        top.statements.append(Statement(top.words_at, top.words))
        top.words = []
    if closes:
        if len(stack) == 1:
            raise SourceError(line, "a } without its {")
        stack.pop()


def _iter_tokens(text: str) -> Iterator[tuple[int, str]]:
    """Yield (line, word); a word with quotes begins with a zero byte, so it is no sign."""
    for number, line in enumerate(text.split("\n"), 1):
        word, quoted, quote, start = "", False, "", 0
        for column, char in enumerate(line):
            if quote:
                if char == quote:
                    quote = ""
                    continue
                word += char
                continue
            if char in _QUOTES:
                quote, quoted, start = char, True, column
            elif char == "#" or char.isspace() or char in _SINGLE:
                if word or quoted:
                    yield number, "\0" * quoted + word
                word, quoted = "", False
                if char == "#":
                    break
                if not char.isspace():
                    yield number, char
            else:
                word += char
        if quote:
            raise SourceError(number, f"the quote in column {start + 1} does not end in its line")
        if word or quoted:
            yield number, "\0" * quoted + word
