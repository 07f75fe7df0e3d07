"""Foreign ExaBGPs are found by their command lines; our own are not among them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from anycastd.speaker.foreign import find_foreign_exabgps

WAITS = "import sys\nprint(flush=True)\nsys.stdin.read()\n"


@pytest.mark.parametrize(
    ("module", "arguments", "foreign"),
    [
        pytest.param("exabgp", ["server", "x.conf"], True, id="as a module"),
        pytest.param("exabgp.application.main", ["x.conf"], True, id="as a module inside"),
        pytest.param("anycastd.speaker.exabgp.shim", ["x/exabgp.conf"], False, id="our shim"),
        pytest.param("anycastd.shim", ["x/exabgp.conf"], False, id="our shim of 0.1.0"),
        pytest.param("anycastd.speaker.lease_process", ["lease.json"], False, id="its child"),
    ],
)
def test_a_module_that_runs_exabgp_is_found(
    tmp_path: Path, module: str, arguments: list[str], *, foreign: bool
) -> None:
    """The shim's names have been several; a running speaker may have an older one."""
    file = tmp_path.joinpath(*module.split("."))
    if module == "exabgp":
        file /= "__main__"
    file.parent.mkdir(parents=True)
    for folder in [folder for folder in file.parents if tmp_path in folder.parents]:
        (folder / "__init__.py").touch()
    file.with_suffix(".py").write_text(WAITS, encoding="utf-8")
    assert is_found([sys.executable, "-P", "-m", module, *arguments], tmp_path) == foreign


@pytest.mark.parametrize(("name", "foreign"), [("exabgp", True), ("exabgpcli", False)])
def test_a_program_of_that_name_is_found(tmp_path: Path, name: str, *, foreign: bool) -> None:
    """As distributions and pip install it: a script that Python runs."""
    (tmp_path / name).write_text(WAITS, encoding="utf-8")
    assert is_found([sys.executable, str(tmp_path / name), "x.conf"], tmp_path) == foreign


def is_found(command: list[str], path: Path) -> bool:
    """Run a command until it waits; return whether it is among the foreign ExaBGPs."""
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=dict(os.environ, PYTHONPATH=str(path)),
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"\n"
        return any(f"(pid {process.pid}: " in warning for warning in find_foreign_exabgps())
