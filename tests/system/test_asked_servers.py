"""Servers that are asked by TCP: a HAProxy that nobody tuned, and what the peers see.

HAProxy's own checks take twenty seconds or more to notice a dead server here.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from support.appliance import BODY, PROFILE
from support.haproxy import Web, free_port, until
from support.watched import Watched, run_anycastd, watched

pytestmark = pytest.mark.root

SLOW = "check inter 10s fall 3 rise 1"
UNTUNED = BODY.replace("check inter {inter} fall 1 rise 1", SLOW)
NOT_LATER_THAN = 15.0
"""Seconds; HAProxy needs twenty."""


def build_profile(ask_servers: str = "true") -> str:
    """Give a profile with a self-test by HTTP, and no ring."""
    text = PROFILE.replace("ring: {ring}, ", f"ask_servers: {ask_servers}, ")
    test = "    failed: withdraw\n    self_test: {{http: 80, path: /}}\n"
    return text.replace("    failed: withdraw\n", test)


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """Run an appliance for all tests of this file."""
    place = tmp_path_factory.mktemp("asked")
    with watched(place, body=UNTUNED, profile=build_profile(), deadline=3, ttl=5) as it:
        it.wait_well()
        yield it


def show_states(one: Watched) -> list[str]:
    """Ask HAProxy for the states of the two servers."""
    return [one.haproxy.row("web", name)["status"] for name in ("s1", "s2")]


def test_dead_servers_are_found_before_haproxy_finds_them(one: Watched) -> None:
    """Withdrawn while HAProxy shows both as UP, with a reason of its own, and back by itself."""
    for web in one.appliance.backends:
        web.stop()
    one.wire.wait(0, NOT_LATER_THAN, one.appliance.log())
    one.wait_reason("servers_refuse", "0 of 2 usable", "server s1 refuses connections")
    states = show_states(one)
    assert not any("DOWN" in each for each in states), states
    shown = run_anycastd(
        one.appliance, "explain", "web", "--directory", one.appliance.directory_of("agent")
    )
    assert "server s1 refuses connections (asked twice, " in " ".join(shown.split()), shown
    for web in one.appliance.backends:
        web.start()
    one.wait_well()


def test_one_dead_server_of_two(one: Watched) -> None:
    """The rule still holds with the other one; the dead one does not count."""
    began = time.monotonic()
    one.appliance.backends[0].stop()

    def is_found() -> bool:
        rules = one.service()["rules"]
        return any("1 of 2 usable; server s1 refuses" in each["value"] for each in rules)

    until(is_found, NOT_LATER_THAN, 0.05)
    # The self-test may fail at the dead one: degraded at most.
    assert not any("x" in each.split() for each in one.wire.describe_changes(began))
    one.appliance.backends[0].start()
    until(lambda: not is_found(), 30, 0.1)
    one.wait_well()


def test_servers_that_answer_503_are_never_withdrawn(one: Watched) -> None:
    """The self-test fails, the servers are asked, and their connections stand."""
    began = time.monotonic()
    answers = [web.answer for web in one.appliance.backends]
    for web in one.appliance.backends:
        web.answer = b"HTTP/1.0 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"
    one.wire.wait(4, 30, one.appliance.log())  # degraded, as without asking
    until(lambda: time.monotonic() - began > 3, 6)
    assert not any("x" in each.split() for each in one.wire.describe_changes(began))
    for web, answer in zip(one.appliance.backends, answers, strict=True):
        web.answer = answer
    one.wait_well()


def test_a_check_at_another_port_is_not_contradicted(one: Watched) -> None:
    """HAProxy's check passes elsewhere: what refuses at the port of the traffic proves nothing."""
    health = Web()
    first, second = (web.port for web in one.appliance.backends)
    dead = free_port()
    began = one.reload(
        (f"127.0.0.1:{first}", f"127.0.0.1:{dead} port {health.port}"),
        (f"127.0.0.1:{second}", f"127.0.0.1:{dead} port {health.port}"),
    )
    one.wire.wait(4, 30, one.appliance.log())  # the self-test fails
    until(lambda: time.monotonic() - began > 3, 6)
    assert not any("x" in each.split() for each in one.wire.describe_changes(began))
    assert one.service()["reason"]["name"] != "servers_refuse"
    health.stop()
    one.reload()
    one.wait_well()
