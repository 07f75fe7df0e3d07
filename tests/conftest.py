"""What all tests share: skips without root, ExaBGP's versions, network namespaces, fixtures."""

from __future__ import annotations

import asyncio
import ctypes
import os
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import settings

from support.haproxy import HAProxy, Web, one_backend, run_haproxy
from support.waiting import eventually

T = TypeVar("T")
CLONE_NEWNET = 0x40000000

# Runs are repeatable; only `make search` uses new random inputs each time.
# A machine with other work is slow now and then: no example has a time limit.
settings.register_profile("repeatable", derandomize=True, database=None, deadline=None)
settings.register_profile("search", max_examples=1000, deadline=None)
settings.load_profile("search" if os.environ.get("ANYCASTD_SEARCH") else "repeatable")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that uses ``exabgp_python`` once with each installed ExaBGP.

    ANYCASTD_EXABGP_PYTHONS lists the interpreters that have one, like PATH; by default it is the
    one that runs the tests.
    """
    if "exabgp_python" in metafunc.fixturenames:
        pythons = [
            python
            for python in os.environ.get("ANYCASTD_EXABGP_PYTHONS", "").split(os.pathsep)
            if python
        ] or [sys.executable]
        ids = [f"exabgp-{_version(python)}" for python in pythons]
        metafunc.parametrize("exabgp_python", pythons, ids=ids, scope="session")


def _version(python: str) -> str:
    code = "from importlib.metadata import version; print(version('exabgp'))"
    answer = subprocess.run(
        [python, "-c", code], capture_output=True, encoding="utf-8", check=False
    )
    return answer.stdout.strip() or "missing"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip tests that need root if we are not root (`make test` requires it)."""
    if os.geteuid() == 0:
        return
    for item in items:
        if item.get_closest_marker("root"):
            item.add_marker(pytest.mark.skip(reason="needs root: network namespaces"))


@pytest.fixture(autouse=True)
def _state_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the agents of each test their own state directory, removed with the test."""
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path / "state"))


@pytest.fixture
def in_own_network() -> Callable[[Callable[[], Coroutine[Any, Any, T]]], T]:
    """Return a function that runs a coroutine function in a new network namespace.

    The namespace belongs to one thread and to the threads and processes that it starts.  It has no
    name and ends with them, also when the test fails.
    """

    def run(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        outcome: list[T | BaseException] = []

        def inside() -> None:
            try:
                if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET) != 0:
                    number = ctypes.get_errno()
                    raise OSError(number, f"no network namespace: {os.strerror(number)}")
                outcome.append(asyncio.run(asyncio.wait_for(work(), 60)))
            except BaseException as error:  # noqa: BLE001 - raised again where the test waits
                outcome.append(error)

        thread = threading.Thread(target=inside)
        thread.start()
        thread.join()
        if isinstance(outcome[0], BaseException):
            raise outcome[0]
        return outcome[0]

    return run


@pytest.fixture(name="eventually")
def _eventually() -> Callable[..., Awaitable[Any]]:
    """Return ``support.waiting.eventually``, to be awaited."""
    return eventually


@pytest.fixture
def web() -> Iterator[Web]:
    """Run a backend server."""
    server = Web()
    yield server
    server.stop()


@pytest.fixture
def haproxy(tmp_path: Path, web: Web) -> Iterator[HAProxy]:
    """Run a HAProxy with frontend and backend `web`, one server."""
    with run_haproxy(tmp_path, one_backend(web)) as it:
        yield it
