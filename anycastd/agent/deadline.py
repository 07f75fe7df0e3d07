"""Deadlines of requests that change something: a late one is dropped (stdlib only, imports fast).

The client gives up at some time.  A request may reach the agent long after that: it lies in the
socket while the agent is stopped.  So the request says until when it is wanted.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

KEY = "until"
"""Name of the argument with the deadline."""


def compute_deadline(timeout: float) -> float:
    """Return the deadline of a request that is wanted for ``timeout`` seconds from now.

    It is a time of CLOCK_BOOTTIME (clock_gettime(2)), which all processes of a machine share.  It
    also runs while the machine is suspended, and nobody can set it.
    """
    return time.clock_gettime(time.CLOCK_BOOTTIME) + timeout


def is_late(arguments: Mapping[str, Any]) -> bool:
    """Tell whether the deadline in the arguments of a request has passed.

    A request without a deadline (of an older client) is never late; one that is no number always.
    """
    deadline = arguments.get(KEY)
    return deadline is not None and not time.clock_gettime(time.CLOCK_BOOTTIME) <= deadline
