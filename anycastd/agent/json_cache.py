"""Encode JSON, and reuse it for a moment: questions cost a bounded share of the time."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable

MAX_SHARE = 0.2
"""Share of its time that the agent may spend on most values, however often they are asked for."""

Costs = dict[object, float]
"""Seconds that each value of a group last cost: the values of a group share one ``max_share``."""


class ByteCache:
    """A value as bytes; ``build`` builds it anew where the last one is too old.

    ``max_share`` is the share of its time that the agent may spend on this value, or on all values
    of the group whose ``costs`` are given.  Ages are of the monotonic clock, not of own time.
    """

    def __init__(
        self,
        build: Callable[[], bytes],
        max_share: float = MAX_SHARE,
        costs: Costs | None = None,
    ) -> None:
        self._build = build
        self._max_share = max_share
        self._costs = {} if costs is None else costs
        self._body = b""
        self._built_at = 0.0

    def read(self, max_age: float) -> bytes:
        """Return the value, built within ``max_age`` seconds, or before.

        A value whose group costs C seconds is used for C / ``max_share`` seconds at least.
        """
        began_at = time.monotonic()
        age = began_at - self._built_at
        if not self._body or age >= max(max_age, sum(self._costs.values()) / self._max_share):
            self._body = self._build()
            self._built_at = began_at
            self._costs[self] = time.monotonic() - began_at
        return self._body

    def clear(self) -> None:
        """Forget the value, because something was changed."""
        self._body = b""


class JsonCache(ByteCache):
    """A value that ``build`` gives as an object, encoded as a line of JSON."""

    def __init__(
        self,
        build: Callable[[], object],
        max_share: float = MAX_SHARE,
        costs: Costs | None = None,
    ) -> None:
        super().__init__(lambda: encode_json(build()) + b"\n", max_share, costs)


def encode_json(value: object) -> bytes:
    """Encode a value as JSON (RFC 8259) in ASCII; numbers that JSON lacks become null."""
    try:
        return json.dumps(value, allow_nan=False).encode("ascii")
    except ValueError:
        return json.dumps(_replace_infinite(value)).encode("ascii")


def _replace_infinite(value: object) -> object:
    if isinstance(value, dict):
        return {key: _replace_infinite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_replace_infinite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
