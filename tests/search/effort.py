"""How far searches go: briefly with every run of the tests, far with `make search`.

It imports nothing of ours, so that what a search raises is the same for whatever code it searches.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, Phase, settings

LONG = bool(os.environ.get("ANYCASTD_SEARCH"))
PATIENCE = 3600 if LONG else 120
"""Seconds that a search may take."""


class BrokenError(AssertionError):
    """What a search has found: something that must hold does not."""


def thorough(examples: int, *, shrink: bool = True) -> settings:
    """Give the settings of a random search; a short one finds the same in each run."""
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
