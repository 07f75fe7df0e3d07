"""Whatever is found in the state directory: no drain is taken for none, and no agent ends of it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from support.appliance import Appliance
from support.drains import read_web, run_anycastd, run_drain, run_drainable
from support.peer import wait_for

pytestmark = pytest.mark.root

ITEM: dict[str, object] = {
    "service": None,
    "reason": "new kernel",
    "by": "me",
    "age": 10.0,
    "wait": 1.5,
    "left": None,
    "force": False,
    "gone": {},
}


def document(**fields: object) -> str:
    """Build the text of a state file, with one drain of all services unless ``value`` is given."""
    sound = {"v": 1, "boot": "another", "awake": 1.0, "wall": 1.8e9, "value": [ITEM]}
    return json.dumps(sound | fields)


DAMAGED = {
    "truncated": document()[:-30],
    "empty": "",
    "garbage": "\x00\x01[[[",
    "another version": document(v=0),
    "huge age": document(value=[ITEM | {"age": 10**400}]),
    "huge time": document(wall=10**400),
    "deep": "[" * 100_000,
    "no list": document(value={}),
}


def put_fifo(path: Path) -> None:
    """Put a FIFO there, for which a reader waits."""
    os.mkfifo(path)


def put_device(path: Path) -> None:
    """Put a link to /dev/zero there, which has no end."""
    path.symlink_to("/dev/zero")


def put_directory(path: Path) -> None:
    """Put a directory there."""
    path.mkdir()


def put_nothing_beside_a_renamed_file(path: Path) -> None:
    """Leave what an agent leaves that is ended between renaming and writing."""
    path.with_name("drains.json.unreadable").write_text("x", encoding="utf-8")


def put_what_cannot_be_renamed(path: Path) -> None:
    """Put a damaged file there, and directories at every name that it could get."""
    path.write_text("x", encoding="utf-8")
    for end in ("", ".2", ".3", ".4", ".5"):
        path.with_name(f"drains.json.unreadable{end}").mkdir()


def put_text(text: str) -> Callable[[Path], None]:
    """Return a function that writes a text there."""

    def put(path: Path) -> None:
        path.write_text(text, encoding="utf-8")

    return put


CASES: dict[str, Callable[[Path], None]] = {
    **{name: put_text(text) for name, text in DAMAGED.items()},
    "a FIFO": put_fifo,
    "a device": put_device,
    "a directory": put_directory,
    "nothing beside a renamed file": put_nothing_beside_a_renamed_file,
    "what cannot be renamed": put_what_cannot_be_renamed,
}


def stop_agent(one: Appliance) -> None:
    """Stop the agent in order: one that is killed often is barred."""
    assert one.agent is not None
    one.agent.terminate()
    one.agent.wait(30)


def restart_with(one: Appliance, put: Callable[[Path], None]) -> None:
    """Stop the agent, leave nothing in its state directory but what ``put`` does, start it."""
    stop_agent(one)
    state = Path(one.directory_of("state"))
    shutil.rmtree(state)
    state.mkdir()
    put(state / "drains.json")
    one.start_agent()


def wait_reason(one: Appliance, level: str, reason: str, why: str) -> None:
    """Wait until the service has this level for this reason; an agent may be starting."""

    def reached() -> bool:
        done = run_anycastd(one, "status", "--json")
        if done.returncode == 3:
            return False
        web = json.loads(done.stdout)["services"]["web"]
        return (web["level"], web["reason"]["name"]) == (level, reason)

    wait_for(reached, 30, f"{why}\n{one.log()}")


def wait_until_kept_back(one: Appliance, why: str) -> None:
    """Wait until the service is at standby because its drains could not be read."""
    wait_reason(one, "standby", "drains_unreadable", why)


@pytest.mark.parametrize("part", [0, 1, 2])
def test_drains_that_cannot_be_read_keep_the_route_back(tmp_path: Path, part: int) -> None:
    """At the longest path, over further restarts, until `undrain`."""  # review M9
    with run_drainable(tmp_path) as one:
        for name, put in list(CASES.items())[part::3]:
            restart_with(one, put)
            wait_until_kept_back(one, name)
            stop_agent(one)
            one.start_agent()
            wait_until_kept_back(one, f"{name}, after another restart")
            done = run_anycastd(one, "undrain")
            assert done.returncode == (1 if name == "what cannot be renamed" else 0), done.stderr
            assert "the drain of all services has ended" in done.stdout
            one.wait_path(1)


def test_what_is_told_of_drains_that_cannot_be_read(tmp_path: Path) -> None:
    """`status`, `explain` and `drain` name it, and the remedy; a new drain goes on beside it."""
    with run_drainable(tmp_path) as one:
        restart_with(one, put_text("x"))
        wait_until_kept_back(one, "garbage")
        one.wait_path(7)
        one.wait_confirmed()
        for command in ("status", "explain"):
            text = run_anycastd(one, command).stdout
            assert "drains of an earlier agent could not be read" in text
            assert "`anycastd undrain`" in text
        assert run_anycastd(one, "status").returncode == 1
        done = run_drain(one, "web", "--wait")
        assert done.returncode == 0, done.stderr
        assert "both have to be ended" in done.stdout
        assert run_anycastd(one, "undrain").returncode == 0
        assert read_web(one)["reason"]["name"] == "drained"
        assert run_anycastd(one, "undrain", "web").returncode == 0
        one.wait_path(1)


def test_a_newer_release_is_read(tmp_path: Path) -> None:
    """After a downgrade the drain goes on."""
    text = document(v=2, value=[ITEM | {"color": "red"}])
    with run_drainable(tmp_path) as one:
        restart_with(one, put_text(text))
        wait_reason(one, "withdrawn", "drained", "the drain goes on")
        assert read_web(one)["drains"][0]["reason"] == "new kernel"


def test_a_file_of_another_user_keeps_the_route_back() -> None:
    """An agent that may not read it says so."""
    code = (
        "from anycastd.agent.drain_store import DrainStore\n"
        "from anycastd.system.clock import OwnTime\n"
        "import sys\n"
        "(drain,) = DrainStore(OwnTime(), sys.argv[1]).load().values()\n"
        "print(drain.unreadable, drain.reason)\n"
    )
    with tempfile.TemporaryDirectory() as state:
        file = Path(state, "drains.json")
        file.write_text(document(), encoding="utf-8")
        file.chmod(0o000)
        shutil.chown(state, 65534, 65534)
        done = subprocess.run(
            ["setpriv", "--reuid", "65534", "--clear-groups", sys.executable, "-c", code, state],
            capture_output=True,
            encoding="utf-8",
            check=False,
            env=os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[2])},
        )
    assert done.stdout.startswith("True"), done.stderr
    assert "Permission denied" in done.stdout
