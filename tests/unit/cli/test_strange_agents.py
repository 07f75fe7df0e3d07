"""What commands print when no agent of ours answers on the control socket: one line, in time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from support.strange_agent import strange_agent

ROOT = Path(__file__).resolve().parents[3]

ANSWERS = [
    b"",
    b"\n",
    b"{",
    b"[]\n",
    b"17\n",
    b'"\x1b[2J"\n',
    b"[" * 100_000 + b"\n",
    b"1" * 5_000 + b"\n",
    b"{}\n",
    b'{"v": 2}\n',
    b'{"v": 1}\n',
    b'{"v": 1, "services": [], "lease": {}}\n',
    b'{"v": 1, "services": {"web": {}}, "neighbors": {}, "haproxy": {}, "lease": {}}\n',
    b'{"v": 1, "services": {"web": "\x1b[2J"}, "problems": "no"}\n',
    b'{"v": 1, "error": {"a": "\\u001b[2J"}}\n',
    b"\xff\xfe\n",
]


def run(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command that asks the agent of a directory."""
    return subprocess.run(
        [sys.executable, "-m", "anycastd", *arguments, "--directory", str(directory)],
        capture_output=True,
        encoding="utf-8",
        check=False,
        timeout=30,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )


@pytest.mark.parametrize("answer", ANSWERS)
@pytest.mark.parametrize("command", ["status", "explain"])
def test_another_answer_is_said_in_one_line(tmp_path: Path, command: str, answer: bytes) -> None:
    """No traceback, nothing unprintable, and the documented code."""
    with strange_agent(tmp_path, answer):
        done = run(tmp_path, command)
    if done.returncode == 0:  # an explanation of no service
        assert command == "explain"
        return
    assert done.returncode == (3 if command == "status" else 69)
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"anycastd: {tmp_path}")
    assert line.isprintable()
    assert not done.stdout


@pytest.mark.parametrize(
    "arguments",
    [("drain", "--reason", "x"), ("undrain",), ("return",), ("reload",), ("reload", "--plan")],
)
@pytest.mark.parametrize("answer", [b"[]\n", b"{}\n", b'{"v": 3}\n', b'{"v": 1}\n'])
def test_commands_that_change_something(
    tmp_path: Path, arguments: tuple[str, ...], answer: bytes
) -> None:
    """They say that there is no agent of this release."""
    with strange_agent(tmp_path, answer):
        done = run(tmp_path, *arguments)
    assert done.returncode == 69
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("arguments", [("drain", "--reason", "x"), ("undrain",), ("return",)])
def test_changes_without_an_answer_are_uncertain(
    tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    """An agent that ends may have done it before."""
    with strange_agent(tmp_path, b""):
        done = run(tmp_path, *arguments)
    assert done.returncode == 75
    reason, unknown = done.stderr.splitlines()
    assert reason.endswith("the agent closed the connection without an answer; see its log")
    assert unknown.startswith("anycastd: it is not known whether the ")


def test_numbers_that_json_lacks(tmp_path: Path) -> None:
    """An older agent sent them where HAProxy said `Uptime_sec: 1e999`."""
    haproxy = {"socket": "s", "state": "answers", "why": "", "age": 0.1, "version": "2.6"}
    haproxy |= {"pid": 1, "uptime": float("inf"), "events": True}
    lease = {"connected": True, "repairs": 0, "exabgp": "5"}
    status = {"v": 1, "version": "0.1.0", "region": "a", "pid": 1, "problems": [], "lease": lease}
    status |= {"services": {}, "neighbors": {}, "haproxy": {"main": haproxy}}
    with strange_agent(tmp_path, json.dumps(status).encode() + b"\n"):
        shown, document = run(tmp_path, "status"), run(tmp_path, "status", "--json")
    assert "answers (2.6, pid 1, up ? s)" in shown.stdout
    answer = json.loads(document.stdout, parse_constant=pytest.fail)
    assert answer["haproxy"]["main"]["uptime"] is None


def test_an_answer_that_drips_is_not_waited_for(tmp_path: Path) -> None:
    """The whole answer has to come within the time-out."""
    with strange_agent(tmp_path, json.dumps({"v": 1, "x": "y" * 500}).encode(), drip=True):
        began_at = time.monotonic()
        done = run(tmp_path, "status")
        assert time.monotonic() - began_at < 10
    assert done.returncode == 3
    assert "did not answer within 5 s" in done.stderr
