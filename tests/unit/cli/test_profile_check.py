"""The agent's check of its profile: what the last check kept, a child process, or this process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from anycastd.agent.accepted_file import NAME, keep_sealed
from support.profiles import TEXT

ROOT = Path(__file__).resolve().parents[3]
PROGRAM = """\
import json, os, sys, time
began_at = time.time_ns()
from anycastd.cli.profile_check import ProfileCheck
{before}
text = open(sys.argv[1], encoding="utf-8").read()
found = ProfileCheck(sys.argv[1], text, sys.argv[2], "", began_at).finish()
print(json.dumps({{
    "region": found and found.accepted.profile.region,
    "sealed": found and found.sealed,
    "loaded": sorted({{"jsonschema", "yaml", "ssl"}} & set(sys.modules)),
}}))
"""
NO_FORK = """
def fork():
    raise BlockingIOError(11, "Resource temporarily unavailable")
os.fork = fork
"""
CHILD_DIES = """
real_fork = os.fork
def fork():
    return real_fork() or os._exit(0)
os.fork = fork
"""


class Starts:
    """Starts with one profile and one directory."""

    def __init__(self, directory: Path) -> None:
        self.profile = directory / "profile.yaml"
        self.profile.write_text(TEXT, encoding="utf-8")
        self.directory = directory / "run"
        self.directory.mkdir()
        self.said = ""

    def check(self, before: str = "") -> tuple[str | None, bool, bool]:
        """Check as a start does; return the region, whether it is new, and what was loaded."""
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM.format(before=before), self.profile, self.directory],
            capture_output=True,
            encoding="utf-8",
            check=True,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )
        self.said = done.stderr
        found = json.loads(done.stdout)
        if found["sealed"]:
            keep_sealed(str(self.directory), found["sealed"])
        return found["region"], bool(found["sealed"]), bool(found["loaded"])


@pytest.fixture
def starts(tmp_path: Path) -> Starts:
    """A profile that no start has checked yet."""
    return Starts(tmp_path)


def test_a_second_start_uses_what_the_first_one_kept(starts: Starts) -> None:
    """Neither of them loads what checks; the second one has nothing to keep."""
    assert starts.check() == ("northeurope", True, False)
    assert starts.check() == ("northeurope", False, False)
    assert not starts.said


def test_a_changed_profile_is_checked_anew(starts: Starts) -> None:
    """Also where only a comment differs."""
    starts.check()
    starts.profile.write_text(f"# a comment\n{TEXT}", encoding="utf-8")
    assert starts.check() == ("northeurope", True, False)
    starts.profile.write_text(TEXT.replace("northeurope", "westeurope"), encoding="utf-8")
    assert starts.check() == ("westeurope", True, False)


@pytest.mark.parametrize("damage", ["cut", "empty", "edited", "foreign"])
def test_a_damaged_file_is_checked_anew(damage: str, starts: Starts) -> None:
    """And replaced by a whole one, without a word: nothing is wrong."""
    starts.check()
    file = starts.directory / NAME
    text = file.read_text(encoding="utf-8")
    match damage:
        case "cut":
            file.write_text(text[: len(text) // 2], encoding="utf-8")
        case "empty":
            file.write_text("", encoding="utf-8")
        case "edited":
            assert "northeurope" in text
            file.write_text(text.replace("northeurope", "nowhere"), encoding="utf-8")
        case _:
            file.chmod(0o644)
    assert starts.check() == ("northeurope", True, False)
    assert starts.check() == ("northeurope", False, False)


def test_a_bad_profile_is_refused_though_a_good_one_was_kept(starts: Starts) -> None:
    """With every problem on standard error, as `anycastd run --validate` prints it."""
    starts.check()
    starts.profile.write_text(TEXT.replace("usable: 1", "usable: none"), encoding="utf-8")
    assert starts.check() == (None, False, False)
    done = subprocess.run(
        [sys.executable, "-m", "anycastd", "run", "--validate", "--profile", starts.profile],
        capture_output=True,
        encoding="utf-8",
        check=False,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 78
    assert starts.said == done.stderr
    assert "usable" in starts.said


@pytest.mark.parametrize("before", [NO_FORK, CHILD_DIES], ids=["no process", "dies"])
def test_without_a_child_the_agent_checks_for_itself(before: str, starts: Starts) -> None:
    """That costs memory, and is right."""
    assert starts.check(before) == ("northeurope", True, True)
    starts.profile.write_text("region: 7\n", encoding="utf-8")
    assert starts.check(before)[0] is None
    assert starts.said.count("region: is 7") == 1
