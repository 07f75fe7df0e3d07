"""Where no agent answers, commands say why, as far as this user can see it."""

from __future__ import annotations

import os
import socket
import tempfile
from pathlib import Path

import pytest

from anycastd.cli import no_agent
from anycastd.cli.no_agent import explain_no_agent
from support.users import run_as

NOBODY = 65534


@pytest.mark.root
@pytest.mark.parametrize("closed", ["directory", "socket"])
def test_a_user_without_the_group_reads_which_one(closed: str) -> None:
    """The directory or the socket is closed to others; the group is that of the one."""
    with tempfile.TemporaryDirectory() as name, socket.socket(socket.AF_UNIX) as listener:
        path = Path(name) / "agent.sock"
        listener.bind(str(path))
        Path(name).chmod(0o750 if closed == "directory" else 0o755)
        path.chmod(0o660)
        for place in (name, str(path)):
            os.chown(place, 0, 1)  # the group `daemon`, which every machine has
        (line,) = run_as(NOBODY, [NOBODY], lambda: list(explain_no_agent(name)))
        assert line == (
            "nobody is not in the group daemon: use sudo, or run "
            "`sudo adduser nobody daemon` and log in again"
        )
        assert not list(explain_no_agent(name))  # root needs no group


def test_another_directory_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An agent of the package answers where nobody asked."""
    monkeypatch.setattr(no_agent, "DIRECTORY", str(tmp_path))
    assert not list(explain_no_agent(str(tmp_path / "other")))
    (tmp_path / "agent.sock").touch()
    (line,) = explain_no_agent(str(tmp_path / "other"))
    assert line.startswith(f"an agent has its socket in {tmp_path}: leave out --directory")


@pytest.mark.parametrize(
    ("runs", "installed", "text"),
    [
        (True, True, "anycastd.service runs, but has no socket there yet"),
        (False, True, "anycastd.service does not run: `systemctl status anycastd.service` says"),
        (False, False, ""),
    ],
)
def test_the_unit_is_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, *, runs: bool, installed: bool
) -> None:
    """It runs without a socket, it is installed and does not run, or neither."""
    for name in ("run", "cgroups", "units"):
        (tmp_path / name).mkdir()
    if runs:
        (tmp_path / "cgroups/anycastd.service").mkdir()
    if installed:
        (tmp_path / "units/anycastd.service").touch()
    monkeypatch.setattr(no_agent, "DIRECTORY", str(tmp_path / "run"))
    monkeypatch.setattr(no_agent, "_CGROUPS", str(tmp_path / "cgroups"))
    monkeypatch.setattr(no_agent, "_UNITS", (str(tmp_path / "units"),))
    lines = list(explain_no_agent(str(tmp_path / "run")))
    assert [line[: len(text)] for line in lines] == ([text] if text else [])
