"""Tests of drains under load, in two regions whose agents query each other."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from anycastd.lab.network.appliance import LabSettings
from anycastd.lab.network.azure import PRIMARY, SECONDARY
from anycastd.lab.network.faults import kill_processes
from anycastd.lab.network.lab import Lab
from anycastd.lab.network.outage import RequestResult
from anycastd.lab.network.table import paths_by_next_hop
from support.peered_profiles import write_peered_profiles

pytestmark = [pytest.mark.root, pytest.mark.slow]

QUICK = {"rise": 1, "hold_down": 1, "hold_down_max": 1, "spacing": 0}
DRAIN = {"wait": 2, "linger": 1, "stop": 2}
RATE = 1000
"""Requests a second; fewer on a slow machine."""
MIN_RATE = 125
SLOW = 0.05
"""Median seconds for an answer above which the rate is too high for the machine."""
REASON = ("--reason", "new kernel")


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Build the network once, with profiles whose agents query each other."""
    profiles = write_peered_profiles(tmp_path_factory.mktemp("profiles"))
    settings = LabSettings(return_timers=QUICK, drain_times=DRAIN, profiles=profiles)
    # A packet that a busy machine drops is sent again after seconds; the drain is not about that.
    with Lab(settings, interval=1 / RATE, timeout=20.0, resend=True) as made:
        made.wait_preferred()
        yield made


def start_load(lab: Lab) -> int:
    """Start to send at the highest rate that the machine can serve, and return the rate."""
    lab.wait_preferred()
    rate = RATE
    while True:
        lab.client.interval = 1 / rate
        lab.client.start()
        lab.wait_answers(PRIMARY, rate // 2, 60)
        took = sorted(each.ended_at - each.due_at for each in lab.client.results()[-rate // 2 :])
        if took[len(took) // 2] < SLOW or rate <= MIN_RATE:
            return rate
        rate //= 2


def stop_load(lab: Lab, since: float) -> list[RequestResult]:
    """Stop the client when all requests sent so far have ended; return the results since a time."""
    now = time.monotonic()
    lab.wait(
        "the requests to end",
        lambda: any(answer.sent_at > now for answer in lab.client.results(since)),
        30,
    )
    lab.client.stop()
    return lab.client.results(since)


def level(lab: Lab, region: str) -> str:
    """Return the level of a region's service, as its agent reports it."""
    services = (lab.status(region) or {}).get("services", {})
    return next((str(service["level"]) for service in services.values()), "")


def wait_moved(lab: Lab, since: float, *next_hops: str) -> float:
    """Return when the MSEE's route first led over one of ``next_hops``; its monitor may be late."""
    watch = lab.monitors["msee"]
    return lab.wait("the MSEE to move", lambda: watch.moved_at(since, *next_hops), 20, lab.describe)


def wait_lost(lab: Lab, since: float) -> float:
    """Return when the primary's first route server lost the route; its monitor may be late."""
    watch = lab.monitors[PRIMARY.node("ars0")]
    return lab.wait("the route to go", lambda: watch.lost_at(since), 20, lab.describe)


def test_a_drain_under_load_loses_no_request(lab: Lab) -> None:
    """Every one of 1,000 requests a second is answered, during the drain and the undrain.

    One whose handshake the route's change cuts in two is sent once more, as browsers do; there
    are only those that were open in that moment.
    """
    rate = start_load(lab)
    began = time.monotonic()
    done = lab.primary.run_command("drain", *REASON, "--wait")
    assert done.returncode == 0, done.stderr
    assert "safe to reboot" in done.stdout.splitlines()[-1]
    assert level(lab, PRIMARY.name) == "withdrawn"
    away, gone = wait_moved(lab, began, *SECONDARY.gateways), wait_lost(lab, began)
    lab.wait_answers(SECONDARY, rate // 2, 60, began)
    # The last region that serves is not drained.
    refused = lab.secondary.run_command("drain", *REASON)
    assert refused.returncode == 4
    assert "northeurope does not serve" in refused.stderr
    middle = time.monotonic()
    assert lab.primary.run_command("undrain").returncode == 0
    lab.wait_preferred()
    back = wait_moved(lab, middle, *PRIMARY.gateways)
    lab.wait_answers(PRIMARY, rate // 2, 60, middle)
    answers = stop_load(lab, began)
    assert [answer for answer in answers if not answer.ok] == []
    assert len(answers) > 2 * rate  # the drain alone takes so long
    again = [answer for answer in answers if answer.resent]
    assert away + 1 < gone  # make before break
    for answer in again:
        assert any(answer.sent_at - 0.5 < moment < answer.ended_at + 0.5 for moment in (away, back))


def test_two_regions_that_are_drained_at_once_do_not_both_leave(lab: Lab) -> None:
    """With two drains at once, one region still answers all the time."""
    rate = start_load(lab)
    began = time.monotonic()
    with ThreadPoolExecutor(2) as both:
        done = list(
            both.map(lambda nva: nva.run_command("drain", *REASON), lab.appliances.values())
        )
    assert 0 in [each.returncode for each in done], done
    accepted = [
        name for name, each in zip(lab.appliances, done, strict=True) if each.returncode == 0
    ]
    # The one that is listed first leaves, or the only one that was accepted.
    lab.wait("a region to leave", lambda: level(lab, accepted[0]) == "withdrawn", 30, lab.describe)
    stays = SECONDARY if accepted[0] == PRIMARY.name else PRIMARY
    lab.wait_table(
        "one region alone", lambda rows: set(paths_by_next_hop(rows)) == set(stays.gateways), 30
    )
    if len(accepted) == 2:
        assert level(lab, stays.name) == "standby"

        def waits() -> bool:
            services = (lab.status(stays.name) or {}).get("services", {})
            return any(each["reason"]["name"] == "drain_waits" for each in services.values())

        lab.wait("the drain to wait", waits, 30, lab.describe)
        assert level(lab, stays.name) == "standby"
    lab.wait_answers(stays, rate // 2, 60, began)
    answers = stop_load(lab, began)
    assert [answer for answer in answers if not answer.ok] == []
    for nva in lab.appliances.values():
        nva.run_command("undrain")
    lab.wait_preferred()


def test_a_stop_loses_no_request(lab: Lab) -> None:
    """A stop (ExecStop, SIGTERM) announces the longest path first, then withdraws, then ends."""
    rate = start_load(lab)
    began = time.monotonic()
    done = lab.primary.run_command("drain", "--stopping")
    assert done.returncode == 0, done.stderr
    # After `drain.stop` the command returns in any case.
    lab.wait("no route", lambda: level(lab, PRIMARY.name) == "withdrawn", 20, lab.describe)
    away, gone = wait_moved(lab, began, *SECONDARY.gateways), wait_lost(lab, began)
    assert away + DRAIN["stop"] / 4 < gone
    assert lab.primary.agent is not None
    lab.primary.agent.terminate()
    lab.wait_preferred()  # the lab starts it again, and a stop is over with the agent
    lab.wait_answers(PRIMARY, rate // 2, 60, began)
    assert [answer for answer in stop_load(lab, began) if not answer.ok] == []


def test_a_drain_outlasts_its_agent_and_ends_at_its_time(lab: Lab) -> None:
    """A drain with an end outlasts a crash of its agent; then the traffic comes back."""
    rate = start_load(lab)
    began = time.monotonic()
    lasts = 12.0
    done = lab.primary.run_command("drain", *REASON, "--for", f"{lasts:g}s", "--wait")
    assert done.returncode == 0, done.stderr
    away = time.monotonic()
    assert lab.primary.agent is not None
    kill_processes([lab.primary.agent])
    lab.wait("the next agent", lambda: level(lab, PRIMARY.name) == "withdrawn", 20, lab.describe)
    lab.wait_preferred()
    back = time.monotonic()
    assert back - began > lasts
    lab.wait_answers(PRIMARY, rate // 2, 60, back)
    answers = stop_load(lab, began)
    assert [answer for answer in answers if not answer.ok] == []
    moved = wait_moved(lab, away, *PRIMARY.gateways)
    meanwhile = {
        each.region for each in answers if away < each.sent_at and each.ended_at < moved - 0.1
    }
    assert meanwhile == {SECONDARY.name}
