"""What the tests of reloads share: commands, edits, and appliances that something happens to."""

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
def foreground(tmp_path: Path) -> Iterator[Appliance]:
    """Give an appliance whose agent owns its speaker."""
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
    """Reload as an operator would."""
    return subprocess.run(
        [
            *(sys.executable, "-m", "anycastd", "reload"),
            *("--directory", appliance.place("agent")),
            *options,
        ],
        capture_output=True,
        encoding="utf-8",
        check=False,
        timeout=60,
    )


def edit_profile(appliance: Appliance, *changes: tuple[str, str]) -> None:
    """Edit the profile, as an editor does: a new file in the place of the old one."""
    text = appliance.profile.read_text(encoding="utf-8")
    for old, new in changes:
        assert old in text, f"the profile has no {old!r}"
        text = text.replace(old, new)
    edited = appliance.profile.with_suffix(".new")
    edited.write_text(text, encoding="utf-8")
    edited.replace(appliance.profile)


def read_instance(appliance: Appliance) -> str:
    """Which agent it is: another one after each reload, in the same process."""
    with contextlib.suppress(ControlError):
        running = ask_agent(appliance.place("agent"), "running")
        if running["ready"]:
            return str(running["instance"])
    return ""


def speaker_settled(appliance: Appliance) -> bool:
    """Whether the speaker runs what the agent's profile has, and says so."""
    with contextlib.suppress(ControlError):
        running = ask_agent(appliance.place("agent"), "running")
        return bool(running["ready"] and running["speaker"] == "ready" and not running["problems"])
    return False


def count_updates(appliance: Appliance) -> list[int]:
    """How many UPDATEs each peer has heard."""
    return [len(peer.of(Update)) for peer in appliance.peers]


def assert_stays(seconds: float, condition: Callable[[], bool]) -> None:
    """See that something holds for a while."""
    ends = time.monotonic() + seconds
    until(lambda: not condition() or time.monotonic() > ends, seconds + 5)
    assert condition()


HOOK = """\
import os, sys
if "ANYCASTD_PROFILE_FD" in os.environ and "--validate" not in sys.orig_argv:
    {what}
"""


class HookedAppliance(Appliance):
    """An appliance whose successors do ``what`` before anything else."""

    what = "os._exit(1)"

    @property
    def environment(self) -> dict[str, str]:
        """As before, with a hook that every Python loads."""
        hook = self.directory / "hook"
        hook.mkdir(exist_ok=True)
        (hook / "sitecustomize.py").write_text(HOOK.format(what=self.what), encoding="utf-8")
        before = super().environment
        return before | {"PYTHONPATH": f"{hook}{os.pathsep}{before['PYTHONPATH']}"}
