"""Play a story of the lab as an operator would, and read what it says."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


def play_story(name: str, *options: str, timeout: float = 280) -> dict[str, dict[str, Any]]:
    """Play a story's short form; return its steps by name, which all passed.

    The client waits for a second, because the machine may be busy.
    """
    argv = (sys.executable, "-m", "anycastd", "lab", "--story", name, "--short", "--json")
    done = subprocess.run(
        [*argv, "--client-timeout", "1", *options],
        cwd=ROOT,
        capture_output=True,
        encoding="utf-8",
        timeout=timeout,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-8000:]
    story = json.loads(done.stdout)
    assert story["passed"] is True
    assert story["story"] == name
    steps = {step["name"]: step for step in story["steps"]}
    assert all(step["passed"] and step["checks"] for step in steps.values())
    return steps


def read_paths(table: dict[str, Any]) -> dict[str, str]:
    """Return a table as next hop -> AS path as text."""
    return {row["next_hop"]: " ".join(map(str, row["path"])) for row in table["rows"]}


def read_best(table: dict[str, Any]) -> set[str]:
    """Return the next hops of a table's best routes."""
    return {row["next_hop"] for row in table["rows"] if row["best"]}
