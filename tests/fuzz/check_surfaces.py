"""The surfaces of checks: answers of HTTP servers, and what commands write."""

from __future__ import annotations

import contextlib

from anycastd.evidence.checks.command_check import describe_end
from anycastd.evidence.checks.http_answer import HttpAnswer, Redirect
from anycastd.evidence.checks.http_check import follow
from anycastd.profile.checks import HttpCheck, Target, Url
from fuzz.engine import Surface

URL = Url(tls=False, target=Target("10.0.3.10", 8080), path="/health")
ASKED = (HttpCheck(URL), HttpCheck(URL, contains="ready", follow_redirects=1))
MAX_DETAIL = 600
"""Characters that operators are shown of anything at most."""


def _feed_check_answer(data: bytes) -> None:
    """Read an answer in pieces of several sizes, to its end."""
    for asks in ASKED:
        for size in (7, 1000, 16384):
            if size == 7 and len(data) > 2000:
                continue
            answer = HttpAnswer(asks, redirects=asks.follow_redirects)
            answer.build_request(URL, "10.0.3.10:8080")
            pieces = [data[at : at + size] for at in range(0, len(data), size)]
            with contextlib.suppress(Redirect):
                _read_all(answer, pieces)


def _read_all(answer: HttpAnswer, pieces: list[bytes]) -> None:
    for piece in (*pieces, b""):
        try:
            seen = answer.receive(piece)
        except Redirect as redirect:
            with contextlib.suppress(ValueError):
                url = follow(URL, redirect.location)
                assert str(url).isascii(), f"a URL for a request: {url!r}"
                assert str(url).isprintable(), f"a URL for a request: {url!r}"
                HttpAnswer(ASKED[0], redirects=0).build_request(url, url.authority)
            raise
        if seen is not None:
            assert seen.detail.isprintable(), f"for operators: {seen.detail!r}"
            assert len(seen.detail) < MAX_DETAIL
            return
    raise AssertionError("the end of an answer decides nothing")


def _feed_check_output(data: bytes) -> None:
    detail = describe_end(1, data)
    assert detail.isprintable(), f"for operators: {detail!r}"
    assert len(detail) < MAX_DETAIL


CHECK_SURFACES = (
    Surface(
        "check-answer",
        "whoever answers at the URL of a check",
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nready",
            b"HTTP/1.1 302 Found\r\nLocation: https://www.example.com:81/a?b\r\n\r\n",
            (
                b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n"
                b"\r\n5;x=y\r\nready\r\n0\r\nTrailer: 1\r\n\r\n"
            ),
        ),
        (
            b"HTTP/1.1 ",
            b"\r\n",
            b"Location: http://[::1]:80/",
            b"Location: //",
            b"Transfer-Encoding: chunked\r\n",
            b"Content-Length: 99999999999999999999\r\n",
            b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
            b"ffffffff\r\n",
        ),
        _feed_check_answer,
        200e-6,
    ),
    Surface(
        "check-output",
        "the commands of checks",
        (b"\n  lag 3 s\nmore\n", b"\x1b[31mred\x1b[0m\n", "\u202eno\n".encode()),
        (b"\n", b"\x1b]0;", b"\xff", b"\0"),
        _feed_check_output,
    ),
)
"""Surfaces of checks, after all others in the table in docs/security.md."""
