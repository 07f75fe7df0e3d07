"""Which Want an agent need not send: one that repeats what the lease has (stdlib only, pure)."""

from __future__ import annotations

from dataclasses import replace

from anycastd.lease.messages import Report, Want

SPARED_SHARE = 8
"""A Want is left out for its time to live divided by this: half the time between two renewals."""
MAX_SPARED = 1.0
"""Seconds for which one is left out at most: reports are answers, and an operator reads them."""


def is_repetition(want: Want, last: Want | None, age: float, report: Report | None) -> bool:
    """Return whether ``want`` need not be sent.

    ``last`` is the Want that was sent before on this connection (None: there was none), ``age``
    seconds ago by the system's clock: after a stall of its own an agent has to renew at once.
    ``report`` is the newest report.  Only what ExaBGP has confirmed is not sent again.
    """
    return (
        last is not None
        and report is not None
        and age < min(MAX_SPARED, last.ttl / SPARED_SHARE)
        and report.serial == report.acked == last.serial
        and not report.errors
        and replace(want, serial=last.serial) == last
    )
