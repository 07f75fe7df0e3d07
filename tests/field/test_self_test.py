"""Self-tests that meet rate limits and leftover processes, on a whole appliance."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.appliance import BODY, PROFILE, Appliance, own_network
from support.haproxy import HAProxy, Web, free_port, until
from support.watched import Watched

pytestmark = pytest.mark.root

TESTED = PROFILE.replace(
    "    failed: withdraw\n", "    failed: withdraw\n    self_test: {{http: 80, timeout: 0.3}}\n"
)
LIMIT = """\
    stick-table type ip size 1m expire 2s store http_req_rate(2s)
    http-request track-sc0 src
    http-request {action} if {{{{ sc_http_req_rate(0) gt 8 }}}}
    default_backend web
"""


def limited(action: str) -> str:
    """Give a frontend that refuses clients with more than four requests a second."""
    return BODY.replace("    default_backend web\n", LIMIT.format(action=action))


@contextlib.contextmanager
def self_tested(place: Path, body: str) -> Iterator[Watched]:
    """Run an appliance with a self-test, and do not wait: what it meets first may be over soon."""
    with own_network(), Appliance(place, body=body, profile=TESTED, deadline=1, ttl=3) as one:
        one.start_speaker()
        one.start_agent()
        one.wait_answers()
        yield Watched(one)


def tell_answers(one: Watched) -> dict[str, str]:
    """Read what the status reports about the rule on the VIP's answers."""
    rules = one.appliance.ask_status()["services"]["web"]["rules"]
    (rule,) = [each for each in rules if "VIP answers" in each["rule"]]
    return dict(rule)


def test_a_rate_limit_that_refuses_the_self_test(tmp_path: Path) -> None:
    """A 429 costs nothing, is named while it lasts, and the self-test goes slower by itself."""
    # FC-LIMITER: discourse issue 41569 (health checks counted as abusers, all backends down)
    with self_tested(tmp_path, limited("deny deny_status 429")) as one:
        one.wait_problem("answers it with 429")
        one.wait_well()
        began = time.monotonic()
        until(lambda: tell_answers(one)["truth"] == "true", 30, 0.1)
        one.assert_calm(began, time.monotonic() - began + 1)
        assert one.service()["level"] == "preferred"


def test_a_rate_limit_that_drops_in_silence(tmp_path: Path) -> None:
    """Dropped requests look like an overload: degraded at most, and it does not stay so."""
    # FC-LIMITER, the variant of haproxy issue 1770 (silent-drop)
    with self_tested(tmp_path, limited("silent-drop")) as one:
        until(lambda: tell_answers(one)["truth"] == "false", 30, 0.01)
        until(lambda: tell_answers(one)["truth"] == "true", 30, 0.1)
        one.wait_well()
        assert not any("x" in each.split() for each in one.wire.describe_changes(0.0))


def test_a_leftover_process_on_the_port(tmp_path: Path) -> None:
    """A second HAProxy answers half of the requests with 503: degraded, and the cause is named."""
    # FC-STRANDED: ray issue 64063 (a worker left behind got a share of the connections)
    place = tmp_path / "left"
    place.mkdir()
    with self_tested(tmp_path, BODY) as one:
        one.wait_well()
        dead = Web()
        dead.stop()
        left = HAProxy(place, BODY.format(inter="50ms", one=dead.port, two=free_port()))
        began = time.monotonic()
        left.start()
        try:
            one.wire.wait(4, 30)
            one.wait_reason("vip_mixed")
            who = one.wait_problem("on port 80 listen")
            for haproxy in (left, one.haproxy):
                assert f"pid {haproxy.worker} (haproxy)" in who
            assert not any("x" in each.split() for each in one.wire.describe_changes(began))
        finally:
            left.kill()
        one.wait_well()
