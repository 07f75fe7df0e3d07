"""The shipped examples of hooks, against servers on loopback."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from anycastd.views.events import Event, EventKind
from anycastd.views.hook_input import build_input, build_variables

EXAMPLES = Path(__file__).resolve().parents[3] / "packaging" / "examples" / "hooks"
EVENT = Event(
    1_796_050_566.5,
    EventKind.TRANSITION,
    "web: preferred -> withdrawn: HAProxy is not running",
    service="web",
    reason="haproxy_gone",
    fields={"from": "preferred", "to": "withdrawn"},
)


def run_example(
    name: str, *arguments: str, environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run an example as the agent would."""
    program = EXAMPLES / name
    python = program.read_text(encoding="utf-8").startswith("#!/usr/bin/python3")
    return subprocess.run(
        [*([sys.executable] if python else []), str(program), *arguments],
        input=build_input(EVENT, "northeurope").decode(),
        env={"PATH": os.environ["PATH"], **build_variables(EVENT, "northeurope")}
        | (environment or {}),
        capture_output=True,
        encoding="utf-8",
        timeout=120,
        check=False,
    )


class Chat(BaseHTTPRequestHandler):
    """An incoming webhook: it keeps what is sent to it."""

    received: ClassVar[list[bytes]] = []
    status = 200

    def do_POST(self) -> None:
        """Take one message."""
        length = int(self.headers["Content-Length"])
        self.received.append(self.rfile.read(length))
        self.send_response(self.status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Write nothing."""


def send_to_chat(
    name: str, form: str, tmp_path: Path, status: int = 200
) -> tuple[int, list[bytes]]:
    """Run an example against a webhook; return its exit code, and what arrived."""
    handler = type("ChatOfOneTest", (Chat,), {"received": [], "status": status})
    server = HTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    secret = tmp_path / "chat"
    url = f"http://127.0.0.1:{server.server_address[1]}/hooks/TOKEN"
    secret.write_text(form.format(url), encoding="utf-8")
    try:
        done = run_example(name, str(secret))
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert "TOKEN" not in done.stdout + done.stderr
    return done.returncode, handler.received  # type: ignore[attr-defined]


def test_the_chat_webhook(tmp_path: Path) -> None:
    """One message with region, text and time; the URL is in a file alone."""
    code, received = send_to_chat("chat-webhook", "{}\n", tmp_path)
    assert code == 0
    (message,) = received
    assert json.loads(message) == {"text": f"northeurope: {EVENT.text} (2026-11-30T14:56:06.500Z)"}


def test_a_chat_that_refuses_is_a_failure(tmp_path: Path) -> None:
    """The exit code says so."""
    code, _ = send_to_chat("chat-webhook", "{}\n", tmp_path, 403)
    assert code != 0


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_chat_webhook_with_curl(tmp_path: Path) -> None:
    """The whole event, as it is."""
    code, received = send_to_chat("chat-webhook-curl", 'url = "{}"\n', tmp_path)
    assert code == 0
    (message,) = received
    assert json.loads(message)["text"] == EVENT.text
    code, _ = send_to_chat("chat-webhook-curl", 'url = "{}"\n', tmp_path, 500)
    assert code != 0


def take_mail(listener: socket.socket, received: list[bytes]) -> None:
    """Speak SMTP (RFC 5321) as a server, for one message."""
    connection, _ = listener.accept()
    with connection, connection.makefile("rwb", buffering=0) as file:
        file.write(b"220 mail.example.com\r\n")
        while line := file.readline():
            word = line[:4].upper()
            received.append(line)
            if word == b"DATA":
                file.write(b"354 go on\r\n")
                while (text := file.readline()) not in {b".\r\n", b""}:
                    received.append(text)
            file.write(b"221 bye\r\n" if word == b"QUIT" else b"250 ok\r\n")
            if word == b"QUIT":
                return


def test_mail_by_smtp() -> None:
    """To all addresses, with the text in the subject."""
    received: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=take_mail, args=(listener, received), daemon=True)
        thread.start()
        server = f"127.0.0.1:{listener.getsockname()[1]}"
        people = ("a@example.com", "b@example.com")
        done = run_example("mail-smtp", server, "anycastd@example.com", *people)
        assert done.returncode == 0, done.stderr
        thread.join(60)
    text = b"".join(received).decode().replace("\r\n ", " ")  # long headers are folded
    assert "<a@example.com>" in text
    assert "<b@example.com>" in text
    assert "Subject: anycastd northeurope: web: preferred -> withdrawn" in text
    assert "to      withdrawn" in text


def test_mail_by_sendmail(tmp_path: Path) -> None:
    """The message is on sendmail's standard input, with its headers."""
    mail = tmp_path / "mail"
    program = tmp_path / "sendmail"
    program.write_text(f'#!/bin/sh\necho "$@" > {mail}\ncat >> {mail}\n', encoding="utf-8")
    program.chmod(0o755)
    variables = {"SENDMAIL": str(program)}
    done = run_example("mail-sendmail", "oncall@example.com", environment=variables)
    assert done.returncode == 0, done.stderr
    lines = mail.read_text(encoding="utf-8").splitlines()
    assert lines[:3] == [
        "-t",
        "To: oncall@example.com",
        "Subject: anycastd northeurope: transition web",
    ]
    assert EVENT.text in lines
    assert json.loads(lines[-1])["reason"] == "haproxy_gone"


@pytest.mark.parametrize("path", sorted(EXAMPLES.iterdir()), ids=lambda path: path.name)
def test_an_example_can_be_executed(path: Path) -> None:
    """It is a script with its mode, and says how it stands in a profile."""
    assert os.access(path, os.X_OK)
    text = path.read_text(encoding="utf-8")
    assert text.startswith("#!/")
    assert f"/usr/local/bin/{path.name}" in text
