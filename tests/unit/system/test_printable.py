"""What others write is printable before it is shown, logged or compared."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anycastd.system.printable import make_printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("", ""),
        ("HTTP/1.1 500 über", "HTTP/1.1 500 über"),
        ("\x1b[2J\x1b]0;owned\x07", "\\x1b[2J\\x1b]0;owned\\x07"),
        ("one\r\ntwo\ttab", "one\\r\\ntwo\\ttab"),
        ("right\u202eleft\ufeff\u200b\u00a0", "right\\u202eleft\\ufeff\\u200b\\xa0"),
        ("\udc80\U000e0001", "\\udc80\\U000e0001"),
        ("x" * 41, "x" * 36 + " ..."),
        ("\x1b" * 20, "\\x1b" * 9 + " ..."),
    ],
)
def test_what_cannot_be_printed_is_escaped(text: str, shown: str) -> None:
    """Each such character becomes its escape; what is too long is cut, and says so."""
    assert make_printable(text, 40) == shown


@given(st.text(st.characters(), max_size=60), st.integers(5, 50))
def test_any_text_becomes_printable(text: str, max_length: int) -> None:
    """Whatever it is, the result is printable, no longer than allowed, and stays as it is then."""
    shown = make_printable(text, max_length)
    assert shown.isprintable()
    assert len(shown) <= max_length
    assert make_printable(shown, max_length) == shown


def test_a_huge_text_costs_nothing() -> None:
    """The time depends on what is kept."""
    huge = "\x1b" * 50_000_000
    began_at = time.thread_time()
    make_printable(huge, 200)
    assert time.thread_time() - began_at < 0.05
