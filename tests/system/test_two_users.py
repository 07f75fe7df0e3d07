"""Speaker and agent as two users: what the agent's user can reach, and who may use the lease."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.appliance import Appliance, own_network
from support.peer import wait_for

pytestmark = pytest.mark.root

SPEAKER, AGENT, OTHER, GROUP = 54321, 54322, 54323, 54330
"""Users of the speaker, of the agent and of somebody else; the group of the lease's socket."""

AS_SPEAKER = (
    f"setpriv --pdeathsig=KILL --reuid={SPEAKER} --regid={GROUP} --groups={SPEAKER}".split()
)

ASK = """\
import socket, sys
one = socket.socket(socket.AF_UNIX)
one.settimeout(5)
one.connect(sys.argv[1])
print(len(one.recv(65536)))
"""


def run_as(user: int, groups: str, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a command as a user, whose own group has the same number."""
    who = ["setpriv", f"--reuid={user}", f"--regid={user}"]
    who.append(f"--groups={groups}" if groups else "--clear-groups")
    return subprocess.run([*who, *command], capture_output=True, encoding="utf-8", check=False)


def ask(path: Path, user: int, groups: str = "") -> str:
    """Connect to the lease as a user; return the number of bytes of the report, or the error."""
    done = run_as(user, groups, sys.executable, "-c", ASK, str(path))
    return (done.stdout + done.stderr).strip().rpartition("\n")[2]


@pytest.fixture
def speaker() -> Iterator[Appliance]:
    """Start a speaker with a user of its own, in a directory that systemd would have made."""
    with (
        own_network(),
        tempfile.TemporaryDirectory() as name,
        Appliance(Path(name)) as one,
        (Path(name) / "speaker.err").open("wb") as log,
    ):
        Path(name).chmod(0o755)
        folder = Path(one.directory_of("speaker"))
        folder.mkdir(mode=0o750)
        os.chown(folder, SPEAKER, GROUP)
        one.profile.chmod(0o644)
        one.speaker = subprocess.Popen(
            [*AS_SPEAKER, *one.command(one.python, "speaker", "speaker")],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=one.environment,
        )
        wait_for(one.lease.exists, 20, f"the socket\n{one.log()}")
        wait_for(lambda: int(ask(one.lease, 0)) > 0, 20, "a report")
        yield one


def test_the_agents_user_reaches_the_socket_and_no_password(speaker: Appliance) -> None:
    """A member of the socket's group renews the lease; ExaBGP's configuration is closed to it."""
    assert int(ask(speaker.lease, AGENT, str(GROUP))) > 0
    assert int(ask(speaker.lease, SPEAKER, str(GROUP))) > 0
    assert "PermissionError" in ask(speaker.lease, OTHER)
    folder = speaker.lease.parent
    assert (folder.stat().st_mode & 0o777, speaker.lease.stat().st_mode & 0o777) == (0o750, 0o660)
    assert speaker.lease.stat().st_gid == GROUP
    for name, readable in (("exabgp.conf", False), ("speaker.lock", False), ("lease.json", True)):
        done = run_as(AGENT, str(GROUP), "cat", str(folder / name))
        assert (done.returncode == 0) is readable, name
    assert run_as(AGENT, str(GROUP), "touch", str(folder / "new")).returncode != 0


def test_a_socket_that_is_open_to_all_is_not(speaker: Appliance) -> None:
    """The kernel's word on the other end counts, even where somebody changed the modes."""
    speaker.lease.parent.chmod(0o755)
    speaker.lease.chmod(0o666)
    assert ask(speaker.lease, OTHER) == "0", "closed without a word"
    assert "refused a connection: its user is not root" in speaker.log()
    assert int(ask(speaker.lease, AGENT, str(GROUP))) > 0
