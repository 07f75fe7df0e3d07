"""Who asks on the control socket is known by the kernel, and may do what the profile says."""

from __future__ import annotations

import asyncio
import grp
import os
import pwd
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from anycastd.agent.control_client import ControlError, ask_agent, socket_path
from anycastd.agent.control_server import Arguments, ControlServer
from anycastd.agent.peer_access import AccessPolicy, PeerUser
from support.users import run_as

NOBODY = 65534
ADMINS = 1  # the group `daemon`, which every machine has
OTHERS = 2


def ask_as(
    uid: int, groups: list[int], question: str, policy: AccessPolicy, by: str = ""
) -> dict[str, Any]:
    """Ask an agent as another user; the answer has the arguments that its handler got."""

    async def echo(arguments: Arguments) -> dict[str, Any]:
        return {"v": 1, "said": [], "returned": [], **arguments}

    async def scene(directory: str) -> dict[str, Any]:
        control = ControlServer(socket_path(directory), {question: echo}, policy)
        await control.start()
        Path(socket_path(directory)).chmod(0o666)
        try:
            return await asyncio.to_thread(
                run_as, uid, groups, lambda: ask_agent(directory, question, 5, {"by": by})
            )
        finally:
            await control.stop()

    with tempfile.TemporaryDirectory() as directory:  # not tmp_path, which is root's alone
        Path(directory).chmod(0o755)
        return asyncio.run(scene(directory))


@pytest.mark.root
@pytest.mark.parametrize(
    ("uid", "groups", "allowed"),
    [
        (0, [0], True),
        (NOBODY, [NOBODY, ADMINS], True),
        (NOBODY, [ADMINS], True),
        (NOBODY, [NOBODY, OTHERS], False),
        (NOBODY, [NOBODY, *range(1000, 1400)], False),
    ],
)
@pytest.mark.parametrize("question", ["drain", "undrain", "return", "reload", "status"])
def test_only_admins_change_something(
    uid: int, groups: list[int], question: str, *, allowed: bool
) -> None:
    """Others are told who may; reading is for everybody who can connect."""
    policy = AccessPolicy(grp.getgrgid(ADMINS).gr_name)
    if allowed or question == "status":
        assert ask_as(uid, groups, question, policy)["v"] == 1
    else:
        with pytest.raises(ControlError, match="you may only read here: root, and mem") as refused:
            ask_as(uid, groups, question, policy)
        assert refused.value.denied


@pytest.mark.root
def test_the_real_user_is_named() -> None:
    """A name that the client gives counts for root only, and is added to the real one."""
    nobody, root = pwd.getpwuid(NOBODY).pw_name, pwd.getpwuid(0).pw_name
    policy = AccessPolicy()
    assert ask_as(NOBODY, [NOBODY], "drain", policy, by="root")["by"] == nobody
    assert ask_as(0, [0], "drain", policy, by="alice")["by"] == f"alice ({root})"
    assert ask_as(0, [0], "drain", policy, by=root)["by"] == root
    assert ask_as(0, [0], "drain", policy, by="a\nb\x1b[2J")["by"] == f"a b\\x1b[2J ({root})"
    assert ask_as(54321, [54321], "drain", policy, by="root")["by"] == "uid 54321"
    assert ask_as(NOBODY, [NOBODY], "status", policy, by="root")["by"] == "root", "reads as asked"


def test_a_group_that_does_not_exist_admits_nobody() -> None:
    """The status says so; root and the agent's own user may still change everything."""
    policy = AccessPolicy("no-such-group")
    (problem,) = policy.list_problems()
    assert problem.startswith("control.admin_group: there is no group no-such-group")
    assert not policy.may_change(PeerUser(NOBODY, frozenset(range(100))))
    assert policy.may_change(PeerUser(0, frozenset()))
    assert policy.may_change(PeerUser(os.geteuid(), frozenset()))


def test_a_directory_of_users_that_hangs_is_not_waited_for(
    eventually: Callable[..., Awaitable[object]],
) -> None:
    """The uid is named instead, after a second once and at once as long as it hangs."""
    release = threading.Event()

    def hang(uid: int) -> str:
        release.wait(10)
        return f"user {uid}"

    async def scene() -> tuple[list[str], float]:
        policy = AccessPolicy(None, hang)
        began_at = time.monotonic()
        names = [await policy.name_user(PeerUser(4711, frozenset())) for _ in range(20)]
        took = time.monotonic() - began_at
        release.set()

        def is_known() -> bool:
            return not policy.busy

        await eventually(is_known)
        names.append(await policy.name_user(PeerUser(0, frozenset())))
        return names, took

    names, took = asyncio.run(scene())
    assert names == ["uid 4711"] * 20 + ["user 0"]
    assert took < 5


def test_names_are_known_again_after_a_lack_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system gives no thread, the uid is named for once."""

    async def scene() -> tuple[str, str]:
        policy = AccessPolicy(None, "user {}".format)
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuse)
            first = await policy.name_user(PeerUser(4711, frozenset()))
        return first, await policy.name_user(PeerUser(4711, frozenset()))

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    assert asyncio.run(scene()) == ("uid 4711", "user 4711")
