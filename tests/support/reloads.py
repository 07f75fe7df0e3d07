"""Reload an agent in tests: commands, edits of the profile, appliances with a hook."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from anycastd.agent.control_client import ControlError, ask_agent
from support.appliance import Appliance, own_network
from support.bgp_wire import Update
from support.haproxy import until


@contextlib.contextmanager
def run_foreground(tmp_path: Path) -> Iterator[Appliance]:
    """Run an appliance whose agent starts its own speaker, for a ``with`` block."""
    with own_network(), Appliance(tmp_path, ttl=2) as one:
        with (tmp_path / "agent.err").open("ab") as log:
            one.agent = subprocess.Popen(
                one.command(sys.executable, "run", "agent"),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=one.environment,
            )
        one.wait_path(1)
        yield one


def run_reload(appliance: Appliance, *options: str) -> subprocess.CompletedProcess[str]:
    """Run `anycastd reload` as an operator does; TimeoutExpired after 60 s."""
    return subprocess.run(
        [
            *(sys.executable, "-m", "anycastd", "reload"),
            *("--directory", appliance.directory_of("agent")),
            *options,
        ],
        capture_output=True,
        encoding="utf-8",
        check=False,
        timeout=60,
    )


def edit_profile(appliance: Appliance, *changes: tuple[str, str]) -> None:
    """Replace (old, new) texts of the profile as an editor does: a new file replaces the old one.

    Raises AssertionError where an old text does not exist.
    """
    text = appliance.profile.read_text(encoding="utf-8")
    for old, new in changes:
        assert old in text, f"the profile has no {old!r}"
        text = text.replace(old, new)
    edited = appliance.profile.with_suffix(".new")
    edited.write_text(text, encoding="utf-8")
    edited.replace(appliance.profile)


def read_instance(appliance: Appliance) -> str:
    """Read the id of the agent that answers; empty until it is ready.  A reload changes it."""
    with contextlib.suppress(ControlError):
        running = ask_agent(appliance.directory_of("agent"), "running")
        if running["ready"]:
            return str(running["instance"])
    return ""


def speaker_settled(appliance: Appliance) -> bool:
    """Return whether the speaker reports that it runs the sessions of the agent's profile."""
    with contextlib.suppress(ControlError):
        running = ask_agent(appliance.directory_of("agent"), "running")
        return bool(running["ready"] and running["speaker"] == "ready" and not running["problems"])
    return False


def count_updates(appliance: Appliance) -> list[int]:
    """Count the UPDATEs that each peer has received."""
    return [len(peer.list_events(Update)) for peer in appliance.peers]


def assert_stays(seconds: float, condition: Callable[[], bool]) -> None:
    """Assert that ``condition`` stays true for ``seconds``."""
    ends = time.monotonic() + seconds
    until(lambda: not condition() or time.monotonic() > ends, seconds + 5)
    assert condition()


HOOK = """\
import os, sys
if "ANYCASTD_PROFILE_FD" in os.environ and "--validate" not in sys.orig_argv:
    {code}
"""


class HookedAppliance(Appliance):
    """An appliance whose successors run ``code`` before anything else."""

    code = "os._exit(1)"

    @property
    def environment(self) -> dict[str, str]:
        """Return the environment of all commands, with a hook that every Python loads."""
        hook = self.directory / "hook"
        hook.mkdir(exist_ok=True)
        (hook / "sitecustomize.py").write_text(HOOK.format(code=self.code), encoding="utf-8")
        before = super().environment
        return before | {"PYTHONPATH": f"{hook}{os.pathsep}{before['PYTHONPATH']}"}
