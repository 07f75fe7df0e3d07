"""`anycastd history`: from files where no agent answers, and as an agent answers."""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from anycastd.agent.history_reader import CURRENT, OLDER
from anycastd.cli.commands.history import describe_stages, parse_since
from anycastd.views.events import Event, EventKind, Value
from support.processes import WITH_ALL_SIGNALS

ROOT = Path(__file__).resolve().parents[3]
LONG = "web: preferred -> withdrawn: " + "a backend has too few usable servers to serve " * 3
CHANGE: dict[str, Value] = {
    "from": "preferred",
    "to": "withdrawn",
    "decided_ms": 2.0,
    "sent_ms": 1.0,
}


def change(number: int, at: float, text: str = LONG) -> Event:
    """Give a change of level."""
    fields: dict[str, Value] = {**CHANGE, "acknowledged_ms": 3.25}
    return Event(at, EventKind.TRANSITION, text, service="web", fields=fields, number=number)


def write(directory: Path, *events: Event, name: str = CURRENT) -> None:
    """Write a history."""
    lines = [json.dumps(event.to_json()) + "\n" for event in events]
    (directory / name).write_text("".join(lines), encoding="utf-8")


def command(directory: Path, *options: str) -> list[str]:
    """Build the command line."""
    where = ("--directory", str(directory), "--state", str(directory))
    return [sys.executable, "-m", "anycastd", "history", *options, *where]


def run(directory: Path, *options: str) -> tuple[int, str, str]:
    """Run the command where no agent answers; return code, output and errors."""
    done = subprocess.run(
        command(directory, *options),
        capture_output=True,
        encoding="utf-8",
        check=False,
        env=os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "80"},
    )
    return done.returncode, done.stdout, done.stderr


def test_files_are_read_where_no_agent_answers(tmp_path: Path) -> None:
    """Both of them, oldest first, within 80 columns; it says where they are."""
    write(tmp_path, change(1, 1764471680.5), name=OLDER)
    write(tmp_path, Event(1764560000.0, EventKind.RETURN, "\x1b[31mred", number=2))
    code, shown, said = run(tmp_path)
    assert code == 0
    assert said == f"anycastd: no agent answers; read from {tmp_path / CURRENT}\n"
    assert shown.splitlines() == [
        "2025-11-30 UTC",
        "03:01:20.50 !! web: preferred -> withdrawn: a backend has too few usable",
        "               servers to serve a backend has too few usable servers to serve a",
        "               backend has too few usable servers to serve",
        "               decided +2.0 ms, sent +1.0 ms, confirmed +3.2 ms",
        "2025-12-01 UTC",
        "03:33:20.00    \\x1b[31mred",
    ]
    coloured = run(tmp_path, "--color", "always")[1]
    assert "\x1b[1;31m!!\x1b[0m web" in coloured
    assert "\x1b[31mred" not in coloured


def test_what_is_left_out_is_said(tmp_path: Path) -> None:
    """Damaged lines and one that was cut short."""
    write(tmp_path, change(1, 5.0))
    with (tmp_path / CURRENT).open("a", encoding="utf-8") as file:
        file.write('rubbish\n{"at": 5')
    code, shown, said = run(tmp_path)
    assert (code, len(shown.splitlines())) == (0, 5)
    assert "1 damaged lines are left out" in said
    assert "the last line was cut short" in said


def test_a_service_that_is_not_there(tmp_path: Path) -> None:
    """Those that there are are named."""
    write(tmp_path, change(1, 5.0))
    code, shown, said = run(tmp_path, "wbe")
    assert (code, shown) == (2, "")
    assert said == "anycastd: the history has no service wbe; it has: web\n"
    assert run(tmp_path, "--service", "web")[0] == 0


def test_no_agent_and_no_files(tmp_path: Path) -> None:
    """What to do is said."""
    code, shown, said = run(tmp_path)
    assert (code, shown) == (69, "")
    assert "no agent answers there; start it" in said
    (tmp_path / CURRENT).mkdir()
    code, _, said = run(tmp_path)
    assert code == 69
    assert "use sudo, or join the agent's group" in said


def test_since_when(tmp_path: Path) -> None:
    """A span or a time in UTC; nothing found is said, and is no error."""
    now = time.time()
    write(tmp_path, change(1, now - 7000, "old"), change(2, now - 10, "new"))
    assert [
        json.loads(line)["text"]
        for line in run(tmp_path, "--json", "--since", "1h")[1].splitlines()
    ] == ["new"]
    code, shown, said = run(tmp_path, "--since", "1s")
    assert (code, shown) == (0, "")
    assert "there are no such events" in said
    code, _, said = run(tmp_path, "--since", "yesterday")
    assert code == 2
    assert "write for example 30m, 2h, 1d or 2026-11-30T02:00 (UTC)" in said


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("2025-11-30T03:01:20", 1764471680),
        ("2025-11-30T03:01:20Z", 1764471680),
        ("2025-11-30T04:01:20+01:00", 1764471680),
        ("2025-11-30", 1764460800),
    ],
)
def test_a_time_is_utc_unless_it_says_otherwise(text: str, at: float) -> None:
    """Whatever the zone of the machine is."""
    assert parse_since(text) == at


@pytest.mark.parametrize("text", ["", "1", "x", "1y", "-1d", "nan", "2025-13-01", "9" * 400 + "d"])
def test_what_is_no_time(text: str) -> None:
    """It is refused in one line."""
    with pytest.raises(argparse.ArgumentTypeError, match="write for example"):
        parse_since(text)


def test_stages_are_those_of_steps_down() -> None:
    """How long after its evidence a step up was decided is the length of a wait."""
    assert describe_stages(change(1, 5.0)) == "decided +2.0 ms, sent +1.0 ms, confirmed +3.2 ms"
    fields = {**CHANGE, "from": "standby", "to": "preferred"}
    up = Event(5.0, EventKind.TRANSITION, "", fields=fields)
    assert describe_stages(up) == "sent +1.0 ms"
    odd = Event(5.0, EventKind.TRANSITION, "", fields={"decided_ms": "x", "sent_ms": True})
    assert describe_stages(odd) == ""
    assert describe_stages(Event(5.0, EventKind.RETURN, "", fields=CHANGE)) == ""


class FakeAgent:
    """An agent that answers one event after the other, and closes every third connection."""

    def __init__(self, directory: Path) -> None:
        self.asked: list[dict[str, object]] = []
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(str(directory / "agent.sock"))
        self._socket.listen()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection:
                self.asked.append(json.loads(connection.makefile().readline())["with"])
                number = len(self.asked)
                if number % 3 == 0:
                    continue
                answer = {"v": 1, "services": ["web"], "newest": number, "cut": False}
                answer |= {"problems": [], "events": [change(number, 5.0, f"e{number}").to_json()]}
                connection.sendall(json.dumps(answer).encode() + b"\n")

    def close(self) -> None:
        """End."""
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[FakeAgent]:
    """Return an agent that answers."""
    one = FakeAgent(tmp_path)
    yield one
    one.close()


def test_a_follower_asks_for_what_is_new(tmp_path: Path, agent: FakeAgent) -> None:
    """It goes on after an answer that did not come, and ends with Ctrl-C."""
    with subprocess.Popen(
        [*WITH_ALL_SIGNALS, *command(tmp_path, "--follow", "--json", "web")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    ) as follower:
        assert follower.stdout is not None
        texts = [json.loads(follower.stdout.readline())["text"] for _ in range(4)]
        follower.send_signal(2)
        assert follower.wait(60) == 130
        assert follower.stderr is not None
        assert follower.stderr.read().count("waiting for it") == 1
    assert texts == ["e1", "e2", "e4", "e5"]
    assert [each["after"] for each in agent.asked][:5] == [0, 1, 2, 2, 4]
    assert all(each["service"] == "web" for each in agent.asked)
