"""A recording of a running appliance, run again: the same course, or another one by a profile."""

from __future__ import annotations

import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from anycastd.profile.validate import validate_profile
from anycastd.reasons import Reason
from anycastd.recording.courses import Comparison, compare_courses
from anycastd.recording.reader import RecordingReader
from support.appliance import Appliance
from support.drains import run_anycastd, run_drainable
from support.peer import wait_for

pytestmark = pytest.mark.root


def read_recording(path: Path, other: str | None = None) -> Comparison:
    """Compare a recording with what comes out of it now, with the text of another profile."""
    with path.open("rb") as file:
        reader = RecordingReader(file)
        own = validate_profile(reader.header.profile, "own").profile
        assert own is not None
        tried = None if other is None else validate_profile(other, "other").profile
        assert (tried is None) == (other is None)
        return compare_courses(reader, own, tried)


def simulate(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `anycastd simulate`."""
    return subprocess.run(
        [sys.executable, "-m", "anycastd", "simulate", *arguments],
        capture_output=True,
        encoding="utf-8",
        check=False,
    )


def break_and_mend(one: Appliance) -> None:
    """Stop all servers and start them again, then drain and undrain."""
    for backend in one.backends:
        backend.stop()
    one.wait_path(0)
    for backend in one.backends:
        backend.start()
    one.wait_path(1, 60)
    assert run_anycastd(one, "drain", "--reason", "test").returncode == 0
    one.wait_path(0, 60)
    assert run_anycastd(one, "undrain").returncode == 0
    one.wait_path(1, 60)


def list_logged(one: Appliance) -> list[tuple[str, str, str]]:
    """List the changes of level in the agent's log: levels and reason, oldest first."""
    log = (one.directory / "agent.err").read_text(encoding="utf-8")
    sentences = "|".join(re.escape(reason.sentence) for reason in Reason)
    return re.findall(rf"web: (\w+) -> (\w+): ({sentences})", log)


def test_a_recording_of_an_appliance_gives_its_course_again(tmp_path: Path) -> None:
    """Every change that the agent logged while it was recorded, with its time and its reason."""
    with run_drainable(tmp_path) as one:
        # A change is logged once ExaBGP has confirmed it, after the peers have it.
        wait_for(
            lambda: [new for _, new, _ in list_logged(one)][-1:] == ["preferred"],
            60,
            "the last change in the log",
        )
        before = len(list_logged(one))
        begun = run_anycastd(one, "record", "start", "--for", "10m")
        assert begun.returncode == 0, begun.stderr
        break_and_mend(one)
        stopped = run_anycastd(one, "record", "stop")
        assert stopped.returncode == 0, stopped.stderr
        copy = tmp_path / "copy.jsonl"
        assert run_anycastd(one, "record", "copy", str(copy)).returncode == 0
        (file,) = (tmp_path / "state" / "recordings").iterdir()
        assert stat.S_IMODE(file.stat().st_mode) == 0o640
        found = read_recording(copy)
        assert found.first_difference is None
        told = [
            (each.old.label, each.new.label, each.reason.sentence)
            for each in found.simulated.changes
        ]
        assert len(told) >= 4
        wait_for(lambda: list_logged(one)[before:] == told, 60, f"in the log: {told}")
    shown = simulate(str(copy))
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.startswith(f"the same course again: {len(told)} changes of level\n")
    assert max(map(len, shown.stdout.splitlines())) <= 80
