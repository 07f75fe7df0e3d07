"""How far the searches go: short in every run of the tests, long with `make search`.

This module imports nothing of ours.  So a search raises the same class of error, whichever copy of
the code it searches.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, Phase, settings

LONG = bool(os.environ.get("ANYCASTD_SEARCH"))
SEARCH_TIMEOUT = 3600 if LONG else 120
"""Seconds that one search may take."""


class InvariantError(AssertionError):
    """An invariant does not hold."""


def search_settings(examples: int, *, shrink: bool = True) -> settings:
    """Return the settings of a random search; a short search does the same in each run."""
    return settings(
        max_examples=examples,
        stateful_step_count=40 if LONG else 25,
        deadline=None,
        derandomize=not LONG,
        database=None,
        suppress_health_check=list(HealthCheck),
        print_blob=False,
        phases=(Phase.generate, *((Phase.shrink,) if shrink else ())),
    )
