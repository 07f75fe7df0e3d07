"""A whole agent keeps what the check of its profile accepted, over restarts and reloads."""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path

import pytest

from anycastd.agent.accepted_file import NAME, compute_key, open_sealed, read_sealed
from support.appliance import Appliance, own_network
from support.peer import wait_for
from support.processes import signal_pid

pytestmark = pytest.mark.root

CHECKERS = ("_yaml", "rpds", "libssl")
"""Libraries of what checks a profile, and of TLS, as they stand in /proc/PID/maps."""


def list_loaded(pid: int) -> set[str]:
    """List which of CHECKERS a process has loaded."""
    maps = Path(f"/proc/{pid}/maps").read_text(encoding="utf-8")
    return {name for name in CHECKERS if name in maps}


def is_kept(one: Appliance) -> bool:
    """Whether the next start need not check the profile as it is now."""
    key = compute_key(str(one.profile), one.profile.read_text(encoding="utf-8"))
    sealed = read_sealed(one.directory_of("agent"))
    return bool(open_sealed(sealed, key, time.time_ns()))


def restart(one: Appliance) -> None:
    """End the agent in order, and start another one."""
    assert one.agent is not None
    signal_pid(one.agent.pid, signal.SIGTERM)
    one.agent.wait(20)
    one.start_agent()
    one.wait_path(1)


def test_it_is_kept_over_restarts_and_reloads(tmp_path: Path) -> None:
    """Checked in a child at first, then not at all, anew where it is damaged, and by a reload."""
    with own_network(), Appliance(tmp_path) as one:
        one.start()
        wait_for(lambda: is_kept(one), 20, one.log())
        assert one.agent is not None
        assert not list_loaded(one.agent.pid)
        file = Path(one.directory_of("agent"), NAME)
        before = file.stat().st_ino
        restart(one)
        assert file.stat().st_ino == before, "it was checked again"

        file.write_text(file.read_text(encoding="utf-8")[:-9], encoding="utf-8")
        assert not is_kept(one)
        restart(one)
        wait_for(lambda: is_kept(one), 20, one.log())
        assert not list_loaded(one.agent.pid)

        text = one.profile.read_text(encoding="utf-8")
        one.profile.write_text(f"# another text\n{text}", encoding="utf-8")
        assert not is_kept(one)
        done = subprocess.run(
            [*one.command(one.python, "reload", "agent")[:4], "--directory", file.parent],
            capture_output=True,
            encoding="utf-8",
            check=False,
            env=one.environment,
        )
        assert done.returncode == 0, done.stderr
        wait_for(lambda: is_kept(one), 20, one.log())
        assert not list_loaded(one.agent.pid)

        signal_pid(one.agent.pid, signal.SIGTERM)
        one.agent.wait(20)
        one.profile.write_text(text.replace("usable: 1", "usable: none"), encoding="utf-8")
        one.start_agent()
        assert one.agent.wait(20) == 78
        assert "usable" in one.log()
