"""Version skew: what was released works with what is here, on real ExaBGP, in both directions.

After an upgrade a new agent meets an old lease process for months, and ExaBGP may start new lease
code beside an old shim.  Releases are the headings of CHANGELOG.md that name a commit.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from anycastd.agent.lease_client import ExpectedSpeaker, LeaseClient
from anycastd.bgp.session import Session
from anycastd.lease.messages import MessageError, Report, Want, parse_agent_message
from anycastd.system.clock import OwnTime
from support.appliance import Appliance, own_network
from support.bgp_wire import Closed, Update
from support.children import find_lease_process
from support.haproxy import until
from support.peer import wait_for
from support.processes import signal_pid

ROOT = Path(__file__).resolve().parents[2]
CHANGELOG = ROOT / "CHANGELOG.md"
HEADING = re.compile(r"^## (\d\S*).*\(commit ([0-9a-f]{7,40})\)", re.MULTILINE)


def releases() -> list[tuple[str, str]]:
    """Give every release and its commit."""
    return HEADING.findall(CHANGELOG.read_text(encoding="utf-8")) or [("none", "")]


def git(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    """Ask git about this checkout, whoever owns it."""
    safe = ("-c", f"safe.directory={ROOT}")
    return subprocess.run(
        ["git", *safe, "-C", str(ROOT), *arguments], capture_output=True, check=False
    )


@pytest.fixture(params=releases(), ids=lambda release: f"release-{release[0]}")
def release(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Give a directory with the package of one release.

    Skips where there is no history at all, or only a part of it; fails where the history is whole
    and the commit is not in it.
    """
    name, commit = request.param
    if shutil.which("git") is None or git("rev-parse", "--git-dir").returncode:
        pytest.skip("no history here: an export, or no git")
    assert commit, "CHANGELOG.md: no release names its commit: `## 0.1.0 ... (commit abc1234)`"
    archive = git("archive", commit, "anycastd")
    if archive.returncode:
        if git("rev-parse", "--is-shallow-repository").stdout.strip() == b"true":
            pytest.skip(f"a shallow clone without the commit {commit} of release {name}")
        pytest.fail(f"CHANGELOG.md: release {name}: no commit {commit}: {archive.stderr.decode()}")
    where = tmp_path / "release"
    where.mkdir()
    subprocess.run(["tar", "-x", "-C", str(where)], input=archive.stdout, check=True)
    return where


class Mixed(Appliance):
    """An appliance whose speaker or agent is another release: ``code`` is where that lies."""

    code = ROOT

    @property
    def environment(self) -> dict[str, str]:
        """The code that runs next, and none from the current directory."""
        return os.environ | {"PYTHONPATH": str(self.code), "PYTHONSAFEPATH": "1"}

    def with_code(self, code: Path) -> Mixed:
        """Choose the code of what is started next."""
        self.code = code
        return self


@pytest.fixture
def mixed(tmp_path: Path, exabgp_python: str) -> Iterator[Mixed]:
    """Give an appliance that runs nothing yet."""
    with own_network(), Mixed(tmp_path, python=exabgp_python, ttl=6) as one:
        yield one


def works(one: Mixed) -> None:
    """Announce, withdraw, return; a lease process and an agent that die move nothing."""
    one.wait_path(1)
    for backend in one.backends:
        backend.stop()
    one.wait_path(0)
    for backend in one.backends:
        backend.start()
    one.wait_path(7)
    one.wait_path(1)
    before = updates(one)
    lease = find_lease_process(one)
    signal_pid(lease, signal.SIGKILL)
    until(lambda: find_lease_process(one) != lease, 20)
    until(lambda: status(one)["lease"]["connected"], 20)
    until(lambda: status(one)["services"]["web"]["in_sync"], 30)
    assert updates(one) == before
    assert not [peer for peer in one.peers if peer.list_events(Closed)]


def status(one: Appliance) -> dict[str, Any]:
    """Give the status, also while an agent that was just started does not answer yet."""

    def answer() -> dict[str, Any]:
        with contextlib.suppress(AssertionError):
            return one.read_status()
        return {}

    return wait_for(answer, 30, "an agent that answers")


def updates(one: Appliance) -> list[int]:
    """How many UPDATEs each peer has heard."""
    return [len(peer.list_events(Update)) for peer in one.peers]


@pytest.mark.root
def test_a_released_speaker_with_this_agent(mixed: Mixed, release: Path) -> None:
    """It works; what it cannot do yet is said, and loses nothing."""
    mixed.with_code(release).start_speaker()
    mixed.with_code(ROOT).start_agent()
    works(mixed)
    until(lambda: status(mixed)["problems"] == [], 20)
    before = updates(mixed)
    text = mixed.profile.read_text(encoding="utf-8")
    mixed.profile.write_text(
        text.replace("65010\n", "65010\n  hold_time: 30\n", 1), encoding="utf-8"
    )
    assert mixed.agent is not None
    mixed.agent.send_signal(signal.SIGHUP)
    until(lambda: "restart it when" in str(status(mixed)["problems"]), 30)
    assert updates(mixed) == before
    assert status(mixed)["services"]["web"]["level"] == "preferred"


@pytest.mark.root
def test_this_speaker_with_a_released_agent(mixed: Mixed, release: Path) -> None:
    """An agent that was not restarted yet, or was taken back."""
    mixed.with_code(ROOT).start_speaker()
    mixed.with_code(release).start_agent()
    works(mixed)
    before = updates(mixed)
    assert mixed.agent is not None
    mixed.agent.kill()
    mixed.agent.wait()
    mixed.with_code(ROOT).start_agent()
    until(lambda: status(mixed)["services"]["web"]["in_sync"], 30)
    assert updates(mixed) == before, "an upgrade of the agent"


@pytest.mark.root
def test_a_released_exabgp_with_this_lease_process(mixed: Mixed, release: Path) -> None:
    """The package is upgraded below a running speaker, and its lease process dies."""
    mixed.with_code(release).start_speaker()
    mixed.with_code(ROOT).start_agent()
    mixed.wait_path(1)
    shutil.rmtree(release / "anycastd")
    shutil.copytree(ROOT / "anycastd", release / "anycastd")
    works(mixed)
    until(lambda: status(mixed)["problems"] == [], 20)


# The messages ------------------------------------------------------------------------------------


def test_what_is_not_known_is_ignored() -> None:
    """Fields are only ever added, on both sides and at every depth."""
    line = Want(1, 5.0, (), 1, 7).dump()
    assert parse_agent_message(
        line.replace(b'"v":1', b'"v":1,"novelty":{"a":[1]}')
    ) == parse_agent_message(line)
    session = b'{"session":"up","since":1.0,"novelty":2}'
    told = b'{"v":1,"instance":"x","serial":1,"acked":1,"neighbors":{"192.0.2.4":%b},"new":[]}'
    report = Report.load(told % session)
    assert report.neighbors["192.0.2.4"].session is Session.UP
    assert (report.reload, report.vips, report.problems) == ("", "", ()), "an older one says less"


@pytest.mark.parametrize("v", [b"2", b"0", b'"1"', b"null", b"[]"])
def test_another_version_is_refused(v: bytes) -> None:
    """By both ends, with both versions in the words."""
    for read in (parse_agent_message, Report.load):
        with pytest.raises(MessageError, match="version 1 is spoken here"):
            read(b'{"v":' + v + b"}")


def test_the_agent_says_that_a_report_is_of_another_version(
    tmp_path: Path, eventually: Callable[..., Awaitable[object]]
) -> None:
    """In its status, with what to do; it stays connected and asks for nothing."""
    heard = bytearray()

    async def scene() -> tuple[str, ...]:
        async def lease(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b'{"v":2,"held":[]}\n')
            while data := await reader.read(100):
                heard.extend(data)
            writer.close()

        path = str(tmp_path / "lease.sock")
        server = await asyncio.start_unix_server(lease, path)
        expected = ExpectedSpeaker("sessions", "vips", force_reload=True)
        client = LeaseClient(path, 5.0, lambda _: None, clock=OwnTime(), expected=expected)
        running = asyncio.create_task(client.run())
        await eventually(client.list_problems)
        said = client.list_problems()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        server.close()
        await eventually(lambda: len(asyncio.all_tasks()) == 1)
        return said

    (problem,) = asyncio.run(scene())
    assert "version 2 of the lease's messages; version 1 is spoken here" in problem
    assert "restart the speaker" in problem
    assert not heard
