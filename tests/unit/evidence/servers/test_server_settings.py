"""Where HAProxy checks its servers: its own answers, and answers with a column changed."""

from __future__ import annotations

from pathlib import Path

import pytest

from anycastd.evidence.servers.settings import build_settings_request, parse_checked_here

CAPTURE = Path(__file__).resolve().parents[3] / "captures" / "look-2.6.txt"
HEAD = "be_name srv_name srv_port srv_check_port srv_check_addr"


def test_a_real_answer() -> None:
    """HAProxy 2.6's `show servers state`: all servers are checked where their traffic goes."""
    found = parse_checked_here(CAPTURE.read_text(encoding="utf-8"))
    assert found == {("web", name) for name in ("s1", "s2", "s3", "t1", "t2")}


@pytest.mark.parametrize(
    ("row", "is_here"),
    [
        ("web s1 80 0 -", True),
        ("web s1 80 80 -", True),
        ("web s1 80 8080 -", False),
        ("web s1 80 0 10.0.0.9", False),
        ("web s1 80", False),
        ("web s1 80 x -", False),
        ("", False),
    ],
)
def test_a_check_at_another_port_or_address(row: str, is_here: bool) -> None:
    """It says nothing of the port of the traffic, and a port may be an offset."""
    assert bool(parse_checked_here(f"1\n# {HEAD}\n{row}\n\n")) is is_here


@pytest.mark.parametrize("answer", ["", "Can't find backend.\n", "# be_name srv_name\nweb s1\n"])
def test_an_answer_that_says_nothing(answer: str) -> None:
    """Another version, or no such backend: no server is believed to be gone."""
    assert not parse_checked_here(answer)


def test_the_request() -> None:
    """One line, for several backends."""
    assert build_settings_request(["b", "a"]) == b"show servers state a;show servers state b\n"
