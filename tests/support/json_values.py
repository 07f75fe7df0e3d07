"""Strategies of hypothesis: JSON values, sound and hostile, as a damaged file may have them."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

HOSTILE: tuple[Any, ...] = (
    10**400,
    -(10**400),
    10**4000,
    float("nan"),
    float("inf"),
    float("-inf"),
    1e308,
    -1,
    True,
    "",
    "1",
    "\x1b[2J\u202e",
    "\ud800",
    [],
    {},
    None,
)
"""Values that have broken a reader before, or are of their kind."""


def json_values() -> st.SearchStrategy[Any]:
    """Return a strategy of JSON values in which hostile ones are frequent."""
    leaf = st.sampled_from(HOSTILE) | st.integers() | st.floats() | st.text(max_size=8)
    return st.recursive(leaf, lambda inner: st.lists(inner, max_size=3), max_leaves=5)


def json_documents() -> st.SearchStrategy[bytes]:
    """Return a strategy of state files: the right keys, each with any value, or missing."""
    value = json_values()
    sound = st.fixed_dictionaries(
        {},
        optional={
            "v": st.just(1) | st.just(2) | value,
            "boot": st.just("") | st.just("another") | value,
            "awake": st.floats(0, 1e9) | value,
            "wall": st.floats(0, 2e9) | value,
            "value": value,
        },
    )
    return sound.map(lambda document: json.dumps(document).encode())
