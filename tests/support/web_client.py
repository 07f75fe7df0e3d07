"""A client of the agent's HTTP port, for tests; it asks from the caller's network namespace."""

from __future__ import annotations

import http.client
from typing import NamedTuple


class Reply(NamedTuple):
    """An answer: its status code, its content type and its body."""

    code: int
    content_type: str
    body: str


def ask(path: str, method: str = "GET", port: int = 9480) -> Reply:
    """Ask for one page on the loopback; raises OSError where nobody answers within 10 s."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        body = answer.read().decode()
        return Reply(answer.status, answer.headers.get("Content-Type", ""), body)
    finally:
        connection.close()
