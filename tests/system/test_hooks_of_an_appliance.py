"""Hooks of a running appliance: they hear of everything, and delay nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.appliance import Appliance
from support.drains import run_anycastd, run_drainable
from support.peer import wait_for
from support.reloads import run_reload

pytestmark = pytest.mark.root


def write_hooks(tmp_path: Path) -> str:
    """Write one hook that notes what it gets and one that hangs; return the profile's part."""
    notes, hangs = tmp_path / "note", tmp_path / "hang"
    told = tmp_path / "told"
    told.mkdir()
    # Renamed when it is whole; the name is the event's number.
    notes.write_text(
        f"#!/bin/sh\nf={told}/$$-$ANYCASTD_KIND\ncat > $f.new && mv $f.new $f.json\n",
        encoding="utf-8",
    )
    hangs.write_text("#!/bin/sh\nexec sleep 600\n", encoding="utf-8")
    for path in (notes, hangs):
        path.chmod(0o755)
    kinds = "[transition, drain, problem, session, haproxy, speaker, agent]"
    return (
        "hooks:\n"
        f"  - {{{{command: [{notes}], events: {kinds}, timeout: 60}}}}\n"
        f"  - {{{{command: [{hangs}], events: [transition], timeout: 1}}}}\n"
    )


def read_told(tmp_path: Path) -> Iterator[dict[str, Any]]:
    """Yield what the hook has noted."""
    for path in (tmp_path / "told").glob("*.json"):
        yield json.loads(path.read_text(encoding="utf-8"))


def was_told(tmp_path: Path, kind: str, **fields: str) -> bool:
    """Return whether the hook has heard of an event with these fields."""
    return any(
        each["kind"] == kind and fields.items() <= each["fields"].items()
        for each in read_told(tmp_path)
    )


def count_zombies(one: Appliance) -> int:
    """Count the children of the agent that have ended and were not waited for."""
    assert one.agent is not None
    found = 0
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text(encoding="utf-8").rpartition(")")[2].split()
        except OSError:
            continue
        found += fields[1] == str(one.agent.pid) and fields[0] == "Z"
    return found


def test_hooks_that_hang_delay_no_withdrawal(tmp_path: Path) -> None:
    """The route goes and comes; hooks hear of it, also after a reload, and leave no zombie."""
    with run_drainable(tmp_path, write_hooks(tmp_path)) as one:
        wait_for(lambda: was_told(tmp_path, "agent_started"), 60, "the start")
        one.haproxy.kill()
        one.wait_path(0)
        gone = {"from": "preferred", "to": "withdrawn"}
        wait_for(lambda: was_told(tmp_path, "transition", **gone), 60, "the withdrawal")
        one.haproxy.start()
        one.wait_path(1, 60)
        for _ in range(2):
            assert run_anycastd(one, "drain", "--reason", "test").returncode == 0
            one.wait_path(0, 60)
            assert run_anycastd(one, "undrain").returncode == 0
            one.wait_path(1, 60)
        wait_for(lambda: was_told(tmp_path, "drain_ended"), 60, "the end of the drain")
        assert run_reload(one).returncode == 0
        wait_for(lambda: was_told(tmp_path, "reload_done"), 60, "the reload")
        wait_for(lambda: not count_zombies(one), 60, "no zombie")
        ended = "hang failed for transition of web: it was ended after 1 s"
        wait_for(lambda: ended in one.log(), 60, one.log())


def test_check_names_a_missing_hook_with_its_line(tmp_path: Path) -> None:
    """And one that cannot be executed, and one that everybody can write."""
    plain, writable = tmp_path / "plain", tmp_path / "writable"
    for path, mode in ((plain, 0o644), (writable, 0o777)):
        path.write_text("#!/bin/sh\n", encoding="utf-8")
        path.chmod(mode)
    text = (Path(__file__).resolve().parents[2] / "profiles/primary.yaml").read_text("utf-8")
    number = len(text.splitlines())
    text += "hooks:\n"
    for path in (tmp_path / "missing", plain, writable):
        text += f"  - command: [{path}]\n    events: [transition]\n"
    profile = tmp_path / "profile.yaml"
    profile.write_text(text, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "anycastd", "check", "--here", str(profile)],
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    shown = " ".join((done.stdout + done.stderr).split())
    assert (
        f"line {number + 2}: hooks[0].command: {tmp_path}/missing: there is no such file" in shown
    )
    assert f"line {number + 4}: hooks[1].command: {plain} cannot be executed" in shown
    assert f"line {number + 6}: hooks[2].command: {writable} can be written by everybody" in shown
