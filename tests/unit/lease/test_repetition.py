"""Which Want need not be sent: only one that the lease has, and that was renewed a moment ago."""

from __future__ import annotations

from dataclasses import replace

import pytest

from anycastd.bgp.route import Route
from anycastd.lease.messages import Report, Want
from anycastd.lease.repetition import MAX_SPARED, SPARED_SHARE, is_repetition

ROUTE = Route("192.0.2.4", "203.0.113.10/32", "192.0.2.10", (65010,))
LAST = Want(7, 5.0, (ROUTE,), 1, 2, expirations=0, levels={"preferred": ("203.0.113.10/32",)})
REPORT = Report("one", 7, 7, 4.0, {}, expirations=0)
SOON = LAST.ttl / SPARED_SHARE - 0.01


def test_a_repetition_is_left_out_for_a_while() -> None:
    """The next one that says the same, with another serial; not for longer than its share."""
    same = replace(LAST, serial=8)
    assert is_repetition(same, LAST, SOON, REPORT)
    assert not is_repetition(same, LAST, SOON + 0.02, REPORT)
    long, longer = replace(LAST, ttl=60.0), replace(same, ttl=60.0)
    assert is_repetition(longer, long, MAX_SPARED - 0.01, REPORT)
    assert not is_repetition(longer, long, MAX_SPARED, REPORT)


@pytest.mark.parametrize(
    "want",
    [
        replace(LAST, routes=()),
        replace(LAST, routes=(replace(ROUTE, as_path=(65010, 65010)),)),
        replace(LAST, ttl=4.0),
        replace(LAST, leaving=True),
        replace(LAST, expirations=1),
        replace(LAST, levels={"degraded": ("203.0.113.10/32",)}),
        replace(LAST, epoch=2),
    ],
    ids=["none", "path", "ttl", "leaving", "expirations", "levels", "epoch"],
)
def test_what_says_anything_else_is_sent(want: Want) -> None:
    """Whatever differs besides the serial."""
    assert not is_repetition(replace(want, serial=8), LAST, 0.0, REPORT)


@pytest.mark.parametrize(
    "report",
    [
        None,
        replace(REPORT, serial=6, acked=6),
        replace(REPORT, acked=6),
        replace(REPORT, errors=("refused",)),
    ],
    ids=["none", "unread", "unconfirmed", "refused"],
)
def test_what_is_not_confirmed_is_sent_again(report: Report | None) -> None:
    """The lease process may not have read it, and ExaBGP may not have taken it."""
    assert not is_repetition(replace(LAST, serial=8), LAST, 0.0, report)


def test_the_first_on_a_connection_is_sent() -> None:
    """There is nothing that it could repeat."""
    assert not is_repetition(LAST, None, 0.0, REPORT)
