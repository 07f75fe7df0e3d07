"""Encoded answers: what JSON lacks, and how often they are built."""

from __future__ import annotations

import json
import time

import pytest

from anycastd.agent.json_cache import JsonCache, encode_json


@pytest.mark.parametrize("number", [float("inf"), float("-inf"), float("nan")])
def test_numbers_that_json_lacks_become_null(number: float) -> None:
    """A program that reads the status reads JSON as RFC 8259 says it."""
    value = {"a": number, "b": [1.5, (number, "x")], "c": {"d": number}}
    answer = json.loads(encode_json(value), parse_constant=pytest.fail)
    assert answer == {"a": None, "b": [1.5, [None, "x"]], "c": {"d": None}}


def test_texts_of_any_kind_are_ascii() -> None:
    """Escape sequences and surrogates are escaped by JSON itself."""
    assert encode_json("\x1b[2J\ud800\u202e") == rb'"\u001b[2J\ud800\u202e"'


def test_what_costs_much_is_built_rarely() -> None:
    """Whoever asks without a pause takes a fifth of the time, or a little more."""
    built: list[float] = []

    def build() -> int:
        ends_at = time.monotonic() + 0.02
        while time.monotonic() < ends_at:
            pass
        built.append(time.monotonic())
        return len(built)

    cache = JsonCache(build)
    began_at = time.monotonic()
    while time.monotonic() - began_at < 1:
        cache.read(0.0)
    assert 1 < len(built) <= 11
    assert cache.read(0.0) == b"%d\n" % len(built)
    cache.clear()
    assert cache.read(60.0) == b"%d\n" % len(built)
    assert cache.read(60.0) == b"%d\n" % len(built)
