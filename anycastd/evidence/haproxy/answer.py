"""HAProxy's answer to one line of commands -> the answer to each of them (pure).

This is the door for HAProxy's text: what passes it has bounded numbers, lines and text, and can be
printed.  Each command's answer ends with an empty line, and a command that HAProxy refuses is
answered by a message (HAProxy's management manual, section 9.3).
"""

from __future__ import annotations

import re

from anycastd.system.printable import make_printable

MAX_LINE = 1 << 16
"""Maximum size of a row of ``show stat`` in characters, with the line ends in its fields."""
MAX_FIELD_LINES = 100
"""Maximum number of line ends in the fields of one row: a check's output may have some."""
MAX_LINES = 200_000
"""Maximum number of lines of an answer; 10,000 servers have 12,000."""
MAX_HEAD = 8 << 10
"""Maximum size of the beginning of an answer that tells who answers, in bytes."""
MAX_TEXT, MAX_PLAIN_ROW = 250, 1000
"""Characters.  Texts of a row (such as the output of a check) are cut after MAX_TEXT.

A row of at most MAX_PLAIN_ROW characters, all of them printable, is taken as it is.
"""
_MAX_DIGITS = 20  # 64 bits
_FIELD = re.compile(r'"((?:[^"]|"")*)"|([^",]*)')
# `severity-output` of a `stats socket` line marks messages, and nothing else, in one of two ways.
_SEVERITY = re.compile(r"\[(?:[0-7]|emerg|alert|crit|err|warning|notice|info|debug)\]: ")
MASTER_SOCKET = "that is the master's socket: write the path of `stats socket`"
"""Text for operators: who answers there, and what to write into the profile."""
_MASTER_COMMANDS = ("show proc", "@master", "@!<pid>")


class MalformedAnswerError(ValueError):
    """An answer in an unknown format; the message quotes what is wrong."""


class TruncatedAnswerError(MalformedAnswerError):
    """An answer that ends too early."""


def split_answer(text: str) -> list[list[str]]:
    """Split an answer into blocks, one for each command; a block is its lines, without line ends.

    A row of ``show stat`` with line ends between quotes is one line.  Raises TruncatedAnswerError
    when the answer ends too early, MalformedAnswerError when a line is too long or there are too
    many.
    """
    if not text.endswith("\n\n"):
        raise TruncatedAnswerError(f"the answer ends too early, after {len(text)} characters")
    if text.count("\n") > MAX_LINES:
        raise MalformedAnswerError(f"an answer of more than {MAX_LINES} lines")
    quotes = '"' in text
    blocks: list[list[str]] = []
    block: list[str] = []
    row: list[str] = []  # the lines so far of a row whose quotes are open
    for line in text.split("\n"):
        if quotes and block and block[0].startswith("# ") and (row or '"' in line):
            is_odd = line.count('"') % 2 == 1
            row.append(line)
            if is_odd == (len(row) > 1):  # even on the first line, or odd on a later one: closed
                block.append(_join_row(row))
                row = []
            elif len(row) > MAX_FIELD_LINES:
                raise MalformedAnswerError(f"unbalanced quotes: {make_printable(row[0], 80)}")
        elif line:
            block.append(line)
        elif block:
            blocks.append(block)
            block = []
    if block or row:
        raise TruncatedAnswerError("the answer ends inside a block")
    return blocks


def _join_row(lines: list[str]) -> str:
    row = "\n".join(lines)
    if len(row) > MAX_LINE:
        raise MalformedAnswerError(f"a row of {len(row)} characters: {make_printable(row, 80)}")
    return row


def split_row(row: str, last: int) -> tuple[list[str], int]:
    """Split a row of ``show stat`` into fields: returns (printable fields, number of fields).

    Fields after number ``last`` may be joined and cut.  Raises MalformedAnswerError for quotes that
    are not balanced.
    """
    if len(row) > MAX_LINE:
        raise MalformedAnswerError(f"a row of {len(row)} characters: {make_printable(row, 80)}")
    if '"' in row:
        fields = _split_quoted(row)
        count = len(fields)
    else:
        fields = row.split(",", last)
        count = row.count(",") + 1
    if len(row) > MAX_PLAIN_ROW or not row.isprintable():
        fields = [make_printable(field, MAX_TEXT) for field in fields]
    return fields, count


def _split_quoted(row: str) -> list[str]:
    """Split a row of which some fields are quoted (RFC 4180, section 2)."""
    fields: list[str] = []
    at = 0
    while at <= len(row):
        match = _FIELD.match(row, at)
        if match is None or row[match.end() : match.end() + 1] not in ("", ","):
            raise MalformedAnswerError(f"unbalanced quotes: {make_printable(row, 80)}")
        quoted, plain = match.groups()
        fields.append(plain if quoted is None else quoted.replace('""', '"'))
        at = match.end() + 1
    return fields


def parse_count(text: str) -> int:
    """Parse a whole number of at most 64 bits, as HAProxy writes it; an empty one is 0.

    Raises MalformedAnswerError for anything else.
    """
    if not text:
        return 0
    if len(text) <= _MAX_DIGITS and text.isascii() and text.isdecimal():
        return int(text)
    raise MalformedAnswerError(f"expected a number, got {quote_lines([text])}")


def read_message(block: list[str]) -> str:
    """Return a message of HAProxy's on one line, without its severity; printable and bounded."""
    text = " ".join(block[:3])
    severity = _SEVERITY.match(text)
    return make_printable(text[severity.end() :] if severity else text, 120)


def quote_lines(lines: list[str]) -> str:
    """Quote the first of ``lines``, for a message to operators; printable and bounded."""
    return f"'{make_printable(lines[0], 80)}'" if lines else "nothing"


def is_masters_answer(text: str) -> bool:
    """Return whether a master answered, instead of a worker: it lists commands of its own.

    They are described in HAProxy's management manual, section 9.4 (`-S`).
    """
    return "Unknown command" in text[:64] and any(each in text for each in _MASTER_COMMANDS)
