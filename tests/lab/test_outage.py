"""Tests of the outage that request results show, and of the log that they are read from."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from anycastd.lab.network.outage import (
    RequestLog,
    RequestResult,
    count_by_server,
    find_outage,
    last_answered_by,
)


def make_results(pattern: str, every: float = 0.01, takes: float = 0.004) -> list[RequestResult]:
    """Return one result per letter: n and w are good answers of a region, x is a failure."""
    regions = {"n": "northeurope", "w": "westeurope", "x": ""}
    return [
        RequestResult(
            number=number,
            due_at=number * every,
            sent_at=number * every,
            ended_at=number * every + takes,
            ok=letter != "x",
            region=regions[letter],
            server=f"{letter}1" if letter != "x" else "",
            detail="status 503" if letter == "x" else "",
        )
        for number, letter in enumerate(pattern)
    ]


def test_no_failure_is_no_outage() -> None:
    """Good answers alone are no outage, from whatever region."""
    assert find_outage(make_results("nnnwww")) is None


def test_outage_spans_from_first_failure_to_first_good_answer_after_the_last() -> None:
    """Good answers between failures do not end an outage; the first after the last failure does."""
    found = find_outage(make_results("nnxxnxwww"))
    assert found is not None
    assert found.began_at == 0.02
    assert round(found.ended_at, 6) == 0.064
    assert round(found.seconds, 6) == 0.044
    assert found.failed == 3
    assert found.details == {"status 503": 3}


def test_outage_that_is_not_over_lasts_for_ever() -> None:
    """While no good answer has followed, the outage has no end."""
    found = find_outage(make_results("nnxx"))
    assert found is not None
    assert found.seconds == float("inf")


def test_failures_that_were_over_before_the_moment_do_not_count() -> None:
    """Only requests that ended since the time of a fault belong to it."""
    found = find_outage(make_results("xnnnxww"), since=0.02)
    assert found is not None
    assert found.failed == 1


def test_a_request_that_was_on_its_way_at_the_fault_counts() -> None:
    """A request that was sent before the fault and failed after it counts."""
    found = find_outage(make_results("nnxw"), since=0.021)
    assert found is not None
    assert found.began_at == 0.02


def test_last_answered_by_needs_good_answers_of_one_region() -> None:
    """A single failure, or an answer of another region, among the last results is not accepted."""
    assert last_answered_by(make_results("nxwwww"), "westeurope", 4)
    assert not last_answered_by(make_results("nwwnww"), "westeurope", 4)
    assert not last_answered_by(make_results("nwwxww"), "westeurope", 4)
    assert not last_answered_by(make_results("ww"), "westeurope", 4)


def test_count_by_server_counts_good_answers() -> None:
    """Good answers are counted, failures are not."""
    assert count_by_server(make_results("nnxw")) == {"northeurope n1": 2, "westeurope w1": 1}


def test_the_log_reads_on_where_it_stopped_and_leaves_half_a_line(tmp_path: Path) -> None:
    """The log may be read while the client is writing a line."""
    first, second = (json.dumps(asdict(answer)) + "\n" for answer in make_results("nw"))
    file = tmp_path / "record"
    file.write_text(first + second[:10], encoding="utf-8")
    request_log = RequestLog(file)
    assert [answer.region for answer in request_log.results()] == ["northeurope"]
    with file.open("a") as more:
        more.write(second[10:])
    assert [answer.region for answer in request_log.results()] == ["northeurope", "westeurope"]
