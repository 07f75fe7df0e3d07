"""Reading any text as a profile gives problems, never an exception."""

from __future__ import annotations

import string

from hypothesis import given
from hypothesis import strategies as st

from anycastd.profile.validate import validate_profile
from support.broken_profiles import LEAST

WORDS = [*LEAST.split(), *string.punctuation, "\n", "\n  ", "\t", "&a", "*a", "!!int", "0x", "- "]


@given(st.text() | st.lists(st.sampled_from(WORDS)).map(" ".join))
def test_arbitrary_text_is_only_ever_refused(text: str) -> None:
    """No text raises an exception; an invalid text has problems of one line each."""
    validation = validate_profile(text, "p.yaml")
    assert validation.profile is None
    assert validation.problems
    assert all(str(problem).isprintable() for problem in validation.problems)


LINES = LEAST.splitlines(keepends=True)


@given(st.data())
def test_damaged_profiles_are_only_ever_refused(data: st.DataObject) -> None:
    """A profile with one value replaced by any other is either valid or refused."""
    number = data.draw(st.integers(0, len(LINES) - 1))
    key, colon, _ = LINES[number].partition(": ")
    value = data.draw(
        st.sampled_from(["", "[]", "{}", "[[]]", "{a: b}", "-1", "1e400", "true", "x", "~", "0"])
        | st.text(string.printable)
    )
    text = "".join([*LINES[:number], f"{key}{colon}{value}\n", *LINES[number + 1 :]])
    validation = validate_profile(text, "p.yaml")
    errors = [problem for problem in validation.problems if not problem.warning]
    assert (validation.profile is None) == bool(errors)
    assert all(str(problem).isprintable() for problem in validation.problems)
