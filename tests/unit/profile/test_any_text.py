"""Whatever the text is, reading it as a profile ends in problems and never in an exception."""

from __future__ import annotations

import string

from hypothesis import given
from hypothesis import strategies as st

from anycastd.profile.validate import validate
from support.broken_profiles import LEAST

WORDS = [*LEAST.split(), *string.punctuation, "\n", "\n  ", "\t", "&a", "*a", "!!int", "0x", "- "]


@given(st.text() | st.lists(st.sampled_from(WORDS)).map(" ".join))
def test_arbitrary_text_is_only_ever_refused(text: str) -> None:
    """No text raises anything; what is no profile has problems, of one line each."""
    accepted = validate(text, "p.yaml")
    assert accepted.profile is None
    assert accepted.problems
    assert all(str(problem).isprintable() for problem in accepted.problems)


LINES = LEAST.splitlines(keepends=True)


@given(st.data())
def test_damaged_profiles_are_only_ever_refused(data: st.DataObject) -> None:
    """A profile in which a value was replaced by any other is accepted whole or refused."""
    number = data.draw(st.integers(0, len(LINES) - 1))
    key, colon, _ = LINES[number].partition(": ")
    value = data.draw(
        st.sampled_from(["", "[]", "{}", "[[]]", "{a: b}", "-1", "1e400", "true", "x", "~", "0"])
        | st.text(string.printable)
    )
    text = "".join([*LINES[:number], f"{key}{colon}{value}\n", *LINES[number + 1 :]])
    accepted = validate(text, "p.yaml")
    errors = [problem for problem in accepted.problems if not problem.warning]
    assert (accepted.profile is None) == bool(errors)
    assert all(str(problem).isprintable() for problem in accepted.problems)
