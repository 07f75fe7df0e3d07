r"""Texts of servers, peers, other regions and other users move no cursor and paint nothing.

Found by sending "\x1b[2J" (clear the screen) from each place whose text a command prints.
"""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.appliance import PROFILE, Appliance, own_network
from support.haproxy import Web, until

pytestmark = pytest.mark.root

ATTACK = "\x1b[2J\x1b]0;owned\x07\x1b[32mweb  203.0.113.10/32  PREFERRED\u202e\x9b1m"
OURS = re.compile(rb"\x1b\[(?:0|1;3[123])m")
"""The colours that `anycastd status` uses itself."""

BODY = """\
backend web
    option httpchk GET /
    default-server check inter {inter} fall 1 rise 1
    server s1 127.0.0.1:{one}
    server s2 127.0.0.1:{two}
frontend web
    bind 203.0.113.10:80 transparent
    default_backend web
"""
REGIONS = """\
web: {{listen: '127.0.0.1:9480'}}
regions:
  - {{name: northeurope, agent: '127.0.0.1:9480'}}
  - {{name: westeurope, agent: '127.0.0.1:{other}'}}
services:
"""


@pytest.fixture
def one(tmp_path: Path) -> Iterator[Appliance]:
    """Give a running appliance whose servers can be told what to answer to checks."""
    profile = PROFILE.replace("services:\n", REGIONS, 1)
    with own_network():
        other = Web(f"HTTP/1.1 500 {ATTACK}\r\n\r\n".encode())
        with Appliance(tmp_path, body=BODY, profile=profile, other=other.port) as appliance:
            appliance.start()
            yield appliance
        other.stop()


def run_in_terminal(one: Appliance, *arguments: str) -> bytes:
    """Run a command on a terminal of its own, and return all that it wrote there."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "anycastd", *arguments],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=one.environment,
    ):
        os.close(theirs)
        data = b""
        try:
            while piece := os.read(ours, 65536):
                data += piece
        except OSError:  # EIO: the other side has closed it
            pass
        finally:
            os.close(ours)
    return data


def list_controls(data: bytes) -> list[str]:
    """List all characters of a terminal's output that are not printable, but for our colours."""
    text = OURS.sub(b"", data).replace(b"\r\n", b"").decode("utf-8", "replace")
    return [character for character in text if not character.isprintable()]


# The review's M4 a: `anycastd status` printed it raw, with a real HAProxy.
def test_answers_of_servers_to_checks(one: Appliance) -> None:
    """A server that is down with such a text is shown with its text, in escapes."""
    for backend in one.backends:
        backend.answer = f"HTTP/1.1 500 {ATTACK}\r\nContent-Length: 0\r\n\r\n".encode()
    one.wait_path(0)
    where = ("--directory", one.directory_of("agent"))
    status = ("status", "web", *where)
    until(lambda: b"owned" in run_in_terminal(one, *status), 30)
    for command in (("status",), ("status", "web"), ("explain",)):
        shown = run_in_terminal(one, *command, *where)
        assert list_controls(shown) == []
        assert shown.count(b"PREFERRED for") == 0
    assert rb"\x1b[2J" in run_in_terminal(one, *status)
    log = one.log().replace("\n", "")
    assert log.isprintable()


# The review's M4 b.
def test_answers_of_another_region(one: Appliance) -> None:
    """The status line of whoever answers at another region's address is shown in escapes."""
    where = ("--directory", one.directory_of("agent"))
    shown: list[bytes] = []

    def is_quoted() -> bool:
        shown.append(run_in_terminal(one, "drain", "--reason", "x", *where))
        if quoted := rb"\x1b[2j\x1b]0;owned" in shown[-1]:
            return quoted
        # On a busy machine the service may be withdrawn, and no other region was asked.
        shown.append(run_in_terminal(one, "undrain", *where))
        return False

    until(is_quoted, 20)
    assert list_controls(b"".join(shown)) == []
    assert one.log().replace("\n", "").isprintable()


# RFC 9003: a peer that shuts down says why, in a text of its own.
def test_texts_of_a_peer(one: Appliance) -> None:
    """The reason in a NOTIFICATION is shown in escapes, or not at all."""
    text = ATTACK.encode()
    one.peers[0].drop(6, 2, bytes([len(text)]) + text)
    one.peers[0].close()
    where = ("--directory", one.directory_of("agent"))
    until(lambda: one.status()["neighbors"]["192.0.2.4"]["why"], 30)
    assert list_controls(run_in_terminal(one, "status", *where)) == []
    assert one.log().replace("\n", "").isprintable()


# The review's M4 c, and a peer of our own: whoever may drain writes the reason.
def test_texts_of_other_users(one: Appliance, tmp_path: Path) -> None:
    """The reason of a drain, and the command line of another user's ExaBGP."""
    where = ("--directory", one.directory_of("agent"))
    shown = run_in_terminal(
        one, "drain", "--force", "--reason", ATTACK + "\nsafe to reboot", *where
    )
    shown += run_in_terminal(one, "status", *where)
    assert b"owned" in shown
    assert not re.search(rb"^safe to reboot", shown, re.MULTILINE)
    assert list_controls(shown) == []
    command = ["bash", "-c", 'exec -a exabgp "$0" -c "import sys; sys.stdin.read()" "$1"']
    arguments = [*command, sys.executable, ATTACK + "\nanycastd: all profiles can be used"]
    with subprocess.Popen(["setpriv", "--pdeathsig", "KILL", *arguments], stdin=subprocess.PIPE):
        profile = tmp_path / "checked.yaml"
        profile.write_text(one.profile.read_text(encoding="utf-8"), encoding="utf-8")
        shown = b""
        for _ in range(50):
            shown = run_in_terminal(one, "check", str(profile))
            if b"another ExaBGP runs here" in shown and b"owned" in shown:
                break
        assert rb"\x1b[2J" in shown
        assert list_controls(shown) == []
        assert not re.search(rb"^anycastd: all", shown, re.MULTILINE)
