"""Faults of what checks ask: servers and a command.

In the journal a check is a part, `check NAME`: `down` until `up` while each run fails at once,
`silent` until `answers` while no run gets an answer, `blind` until `sees` while it cannot see.
A single run that fails, or a slow one, is not in it: no route may change for that.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from support.checked_services import ERROR, GARBAGE, CheckedServices
from support.fault import Fault
from support.machine import Machine

LONG = (5.5, 7.5)
"""Seconds for what is found by silence alone: two runs, each of which may be repeated."""
SHORT = (0.3, 4.0)
SLOW = 0.4


def _services(machine: Machine) -> CheckedServices:
    assert machine.surroundings is not None, "use run_surrounded"
    return machine.surroundings.checked


def _refuse(machine: Machine, name: str) -> None:
    machine.record(f"check {name}", "down")
    _services(machine).servers[name].stop()


def _accept(machine: Machine, name: str) -> None:
    machine.record(f"check {name}", "up")
    _services(machine).servers[name].start()


def _refused(name: str, title: str, *, harmless: bool = False) -> Fault:
    return Fault(
        title,
        lambda machine, _: _refuse(machine, name),
        lambda machine, _: _accept(machine, name),
        (f"check {name}",),
        SHORT,
        harmless,
    )


def _answers(name: str, title: str, answer: bytes | None, *, harmless: bool = False) -> Fault:
    began, ended = ("silent", "answers") if answer is None else ("down", "up")

    def begin(machine: Machine, _: float) -> None:
        machine.record(f"check {name}", began)
        _services(machine).servers[name].answer = answer

    def end(machine: Machine, _: Any) -> None:
        machine.record(f"check {name}", ended)
        server = _services(machine).servers[name]
        server.answer = server.OK

    lasts = LONG if answer is None else SHORT
    return Fault(title, begin, end, (f"check {name}",), lasts, harmless)


def _slow(name: str, title: str) -> Fault:
    def set_delay(machine: Machine, seconds: float) -> None:
        _services(machine).servers[name].delay = seconds

    return Fault(
        title,
        lambda machine, _: set_delay(machine, SLOW),
        lambda machine, _: set_delay(machine, 0.0),
        (f"check {name}",),
        (0.5, 3.0),
        harmless=True,
    )


def _fails_once(name: str, title: str) -> Fault:
    return Fault(
        title,
        lambda machine, _: _services(machine).servers[name].fail_once(),
        parts=(f"check {name}",),
        lasts=(1.0, 1.5),
        harmless=True,
    )


def _command(mode: str, title: str, words: tuple[str, str], lasts: tuple[float, float]) -> Fault:
    """Let the command do what ``mode`` says; ``words`` are those of the journal."""

    def begin(machine: Machine, _: float) -> None:
        machine.record("check run", words[0])
        _services(machine).set_command(mode)

    def end(machine: Machine, _: Any) -> None:
        machine.record("check run", words[1])
        _services(machine).set_command("passes")

    return Fault(title, begin, end, ("check run",), lasts)


def _remove_command(machine: Machine, _: float) -> Path:
    machine.record("check run", "blind")
    command = _services(machine).command
    return command.rename(command.with_suffix(".removed"))


def _return_command(machine: Machine, removed: Path) -> None:
    removed.rename(_services(machine).command)
    machine.record("check run", "sees")


def _both(act: Callable[[Machine, str], None]) -> Callable[[Machine, Any], None]:
    def act_on_both(machine: Machine, _: Any) -> None:
        for name in ("hop0", "hop1"):
            act(machine, name)

    return act_on_both


FAILS = ("down", "up")
CHECK_FAULTS = (
    _slow("app", "server of a check slow"),
    _fails_once("app", "server of a check fails once"),
    _refused("app", "server of a check refuses"),
    _answers("app", "server of a check answers garbage", GARBAGE),
    _answers("app", "server of a check answers 503", ERROR),
    _answers("app", "server of a check hangs", None),
    _command("fails", "command of a check fails", FAILS, SHORT),
    _command("dies", "command of a check dies by a signal", FAILS, SHORT),
    _command("writes", "command of a check writes without end", FAILS, SHORT),
    _command("hangs", "command of a check hangs", ("silent", "answers"), LONG),
    Fault(
        "command of a check missing for a moment",
        _remove_command,
        _return_command,
        ("check run",),
        (0.3, 2.0),
        harmless=True,
    ),
    Fault(
        "command of a check missing", _remove_command, _return_command, ("check run",), (7.0, 8.0)
    ),
    _refused("hop0", "first next hop refuses"),
    _answers("hop0", "first next hop answers garbage", GARBAGE),
    _answers("hop0", "first next hop hangs", None),
    _fails_once("hop0", "first next hop fails once"),
    # Nothing may change: the first one is announced.
    _refused("hop1", "second next hop refuses", harmless=True),
    _answers("hop1", "second next hop answers 503", ERROR, harmless=True),
    Fault(
        "both next hops refuse", _both(_refuse), _both(_accept), ("check hop0", "check hop1"), SHORT
    ),
)
"""All of them."""
