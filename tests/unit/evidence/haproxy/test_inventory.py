from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from anycastd.evidence.haproxy.inventory import InventoryError, read_inventory
from support.haproxy import (
    HAProxy,
    answer_slowly,
    free_port,
    replace_haproxy,
    run_haproxy,
    without_capability,
)

ROOT = Path(__file__).resolve().parents[4]


@pytest.fixture
def haproxy(tmp_path: Path) -> Iterator[HAProxy]:
    """Give a HAProxy whose frontend and backend share a name."""
    body = f"""
frontend web
    bind 127.0.0.1:{free_port()}
    default_backend web
listen both
    bind 127.0.0.1:{free_port()}
    server b1 127.0.0.1:9
backend web
    server s1 127.0.0.1:9
    server s2 [::1]:9 check
backend empty
backend -1
    server s1 127.0.0.1:9
"""
    with run_haproxy(tmp_path, body) as it:
        yield it


def test_everything_is_named(haproxy: HAProxy) -> None:
    """Backends with their servers, frontends, version and worker; a name that is a number too."""
    found = read_inventory(str(haproxy.socket))
    assert found.backends == {"web": ("s1", "s2"), "both": ("b1",), "empty": (), "-1": ("s1",)}
    assert found.frontends == ("both", "web")
    assert re.match(r"\d+\.\d+", found.version)
    assert found.pid == haproxy.worker


def test_a_socket_that_is_missing_dead_or_no_socket(haproxy: HAProxy, tmp_path: Path) -> None:
    """One clear message each, with what to do, and at once."""
    haproxy.kill()  # its end may take a while on a busy machine
    for path, message in (
        (tmp_path / "no", f"{tmp_path}/no: no such file; start HAProxy"),
        (haproxy.config, "not a socket; write the path"),
        (haproxy.socket, "nothing listens there; start HAProxy"),
    ):
        began = time.monotonic()
        with pytest.raises(InventoryError, match=message):
            read_inventory(str(path))
        assert time.monotonic() - began < 5, "the library's own retries would take 6 s"


def test_a_hung_haproxy(haproxy: HAProxy) -> None:
    """It takes the time that it was given, not a multiple of it."""
    haproxy.signal(signal.SIGSTOP)
    try:
        began = time.monotonic()
        with pytest.raises(InventoryError, match=r"no answer within 1 s"):
            read_inventory(str(haproxy.socket), 1)
        assert time.monotonic() - began < 2.8
    finally:
        haproxy.signal(signal.SIGCONT)


@pytest.mark.parametrize(
    ("serve", "message"),
    [
        (answer_slowly, "no answer within 0.5 s"),
        (lambda it, _: it.sendall(b"hello: there\n"), "not an answer of HAProxy"),
    ],
    ids=["drip", "garbage"],
)
def test_somebody_else_on_the_socket(
    tmp_path: Path, serve: Callable[[socket.socket, bytes], object], message: str
) -> None:
    """A program that drips does not hold us; one that says something else is named."""
    path = tmp_path / "s"
    with replace_haproxy(path, serve):
        began = time.monotonic()
        with pytest.raises(InventoryError, match=message):
            read_inventory(str(path), 0.5)
        assert time.monotonic() - began < 10


def test_no_permission(haproxy: HAProxy) -> None:
    """The message says which group to join, as far as we know it."""
    haproxy.socket.chmod(0)
    haproxy.directory.chmod(0o755)
    code = (
        "import sys; from anycastd.evidence.haproxy.inventory import read_inventory; "
        "read_inventory(sys.argv[1])"
    )
    done = subprocess.run(
        [*without_capability("dac_override"), sys.executable, "-c", code, str(haproxy.socket)],
        capture_output=True,
        encoding="utf-8",
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert "InventoryError" in done.stderr
    assert "no permission; join the group" in done.stderr
