"""Checks by TCP and HTTP against real servers: what each answer, and each silence, proves."""

from __future__ import annotations

import contextlib
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from anycastd.evidence.checks.http_check import follow
from anycastd.profile.checks import HttpCheck, Target, TcpCheck, Url
from support.appliance import own_network
from support.checks import run_check
from support.haproxy import Web, free_port

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nready"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@contextlib.contextmanager
def web(answer: bytes | None) -> Iterator[int]:
    """Give the port of something that answers like this."""
    it = Web(answer)
    try:
        yield it.port
    finally:
        it.stop()


def url(port: int, path: str = "/", *, host: str = "127.0.0.1", tls: bool = False) -> Url:
    """Give a URL of this machine."""
    return Url(tls, Target(host, port), path)


def test_a_connection_passes_and_a_refusal_fails() -> None:
    """Nobody has to answer; where nobody listens the kernel refuses."""
    with web(None) as port:
        found = run_check(TcpCheck(Target("127.0.0.1", port)))
        assert (found.passed, found.detail, found.answered) == (True, "connected", True)
        assert run_check(TcpCheck(Target("localhost", port))).passed is True
    found = run_check(TcpCheck(Target("127.0.0.1", free_port())))
    assert (found.passed, found.detail, found.answered) == (False, "refused", False)
    assert run_check(TcpCheck(Target("::1", free_port()))).passed is False


def test_a_name_that_is_not_known_proves_nothing() -> None:
    """It may be the name server's fault, so it is no failure."""
    found = run_check(TcpCheck(Target("no-such-host.invalid", 80)))
    assert found.passed is None
    assert found.detail.startswith("no-such-host.invalid: the name is not known (")


@pytest.mark.root
def test_without_a_route_nothing_is_proved() -> None:
    """It says something of this machine, and nothing of the other one."""
    with own_network():
        found = run_check(TcpCheck(Target("198.51.100.1", 80)))
    assert (found.passed, found.detail) == (None, "network is unreachable")


def test_a_connection_that_nobody_takes_is_late() -> None:
    """The queue of a listener is full, so the kernel drops the next connection."""
    with socket.socket() as full, contextlib.ExitStack() as waiting:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for _ in range(3):
            each = waiting.enter_context(socket.socket())
            each.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                each.connect(full.getsockname())
        found = run_check(TcpCheck(Target(*full.getsockname())), timeout=0.3)
    assert (found.passed, found.detail) == (False, "no answer within 0.3 s")


@pytest.mark.parametrize(
    ("answer", "passed", "detail"),
    [
        (OK, True, "HTTP 200"),
        (b"HTTP/1.1 302 Found\r\nLocation: /\r\n\r\n", True, "HTTP 302"),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n", True, "HTTP 204"),
        (b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n", False, "HTTP 503"),
        (b"", False, "closed without an answer"),
        (b"HTTP/1.1 2", False, "no HTTP: closed before its end"),
        (b"SSH-2.0-x\r\n\r\n", False, "no HTTP: "),
        (b"HTTP/1.1 200 OK\r\nX: " + b"a" * 70_000, False, "no HTTP: "),
    ],
)
def test_a_status_decides(answer: bytes, passed: bool, detail: str) -> None:
    """2xx and 3xx pass; what is no HTTP fails, and so does silence."""
    with web(answer) as port:
        found = run_check(HttpCheck(url(port)))
        assert found.passed is passed
        assert found.detail.startswith(detail)


def test_silence_fails_at_the_time_limit() -> None:
    """A server that accepts and says nothing."""
    with web(None) as port:
        found = run_check(HttpCheck(url(port)), timeout=0.2)
    assert (found.passed, found.detail, found.answered) == (False, "no answer within 0.2 s", False)


@pytest.mark.parametrize(
    ("answer", "wanted", "detail"),
    [
        (OK, HttpCheck(url(1), status=(200, 204)), ""),
        (OK, HttpCheck(url(1), status=(204,)), "HTTP 200"),
        (OK, HttpCheck(url(1), contains="read"), ""),
        (OK, HttpCheck(url(1), contains="Ready"), "HTTP 200, without the text 'Ready'"),
        (
            CHUNKED + b"2\r\nre\r\n3\r\nady\r\n0\r\n\r\n",
            HttpCheck(url(1), contains="ready"),
            "",
        ),
        (b"HTTP/1.0 200 OK\r\n\r\nready", HttpCheck(url(1), contains="ready"), ""),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nrea",
            HttpCheck(url(1), contains="ready"),
            "HTTP 200, then: closed before its end",
        ),
        (
            b"HTTP/1.1 200 OK\r\n\r\n" + bytes(1 << 17) + b"ready",
            HttpCheck(url(1), contains="ready"),
            "HTTP 200, without the text 'ready'",
        ),
    ],
)
def test_status_and_text_are_as_wanted(answer: bytes, wanted: HttpCheck, detail: str) -> None:
    """The text counts in the first 64 KiB of the body, whole, however it is sent."""
    with web(answer) as port:
        asks = HttpCheck(url(port), status=wanted.status, contains=wanted.contains)
        found = run_check(asks)
    assert (found.passed, found.detail if detail else "") == (not detail, detail)


def test_an_answer_without_an_end_is_bounded() -> None:
    """Heads of 1xx for ever, and an endless body, end long before the time limit."""
    for endless in (
        b"HTTP/1.1 100 Continue\r\n\r\n" * 20_000,
        CHUNKED + b"1;a=bbbbbb\r\nx\r\n" * 30_000,
    ):
        with web(endless) as port:
            found = run_check(HttpCheck(url(port), contains="ready"))
            assert found.passed is False
            assert "no end" in found.detail or "closed" in found.detail


def serve(handle: Callable[[bytes], bytes]) -> contextlib.AbstractContextManager[int]:
    """Give the port of a server that answers each request by ``handle``."""

    @contextlib.contextmanager
    def run() -> Iterator[int]:
        with socket.create_server(("127.0.0.1", 0)) as listener:

            def accept() -> None:
                with contextlib.suppress(OSError):
                    while True:
                        connection, _ = listener.accept()
                        with connection:
                            connection.sendall(handle(connection.recv(65536)))

            threading.Thread(target=accept, daemon=True).start()
            yield listener.getsockname()[1]
            listener.shutdown(socket.SHUT_RDWR)

    return run()


def test_the_request_is_as_the_profile_says() -> None:
    """Path with query, and the Host header of the URL or of the profile."""
    asked: list[bytes] = []

    def note(request: bytes) -> bytes:
        asked.append(request)
        return OK

    with serve(note) as port:
        assert run_check(HttpCheck(url(port, "/h?a=b"))).passed
        assert run_check(HttpCheck(url(port), host="www.example.com")).passed
    assert asked[0].startswith(b"GET /h?a=b HTTP/1.1\r\n")
    assert f"Host: 127.0.0.1:{port}\r\n".encode() in asked[0]
    assert b"Host: www.example.com\r\n" in asked[1]


def test_redirects_are_followed_only_when_asked_and_not_for_ever() -> None:
    """The last status counts; a circle ends with the redirect itself."""

    def answer(request: bytes) -> bytes:
        if b"GET /end " in request:
            return b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n"
        place = b"/end" if b"GET /go " in request else b"/circle"
        return b"HTTP/1.1 301 Moved\r\nLocation: " + place + b"\r\nContent-Length: 0\r\n\r\n"

    with serve(answer) as port:
        assert run_check(HttpCheck(url(port, "/go"))).passed is True
        found = run_check(HttpCheck(url(port, "/go"), follow_redirects=2))
        assert (found.passed, found.detail) == (False, "HTTP 404 (redirected to /end)")
        found = run_check(HttpCheck(url(port, "/circle"), follow_redirects=3))
        assert (found.passed, found.detail) == (True, "HTTP 301 (redirected to /circle)")


@pytest.mark.parametrize(
    "place", ["ftp://a/", "http://a b/", "http://a:99999/", "http://[::1", "https://"]
)
def test_a_redirect_to_no_url_fails(place: str) -> None:
    """What a server sends is never taken for more than it is."""
    answer = f"HTTP/1.1 302 Found\r\nLocation: {place}\r\n\r\n".encode()
    with web(answer) as port:
        found = run_check(HttpCheck(url(port), follow_redirects=1))
    assert (found.passed, found.detail) == (False, f"a redirect to {place}, which is no URL")


def test_where_a_redirect_leads() -> None:
    """Relative places, other hosts, other schemes."""
    start = Url(False, Target("10.0.3.10", 8080), "/a/b?c")
    assert follow(start, "d") == Url(False, Target("10.0.3.10", 8080), "/a/d")
    assert follow(start, "https://www.example.com/x?y") == Url(
        True, Target("www.example.com", 443), "/x?y"
    )
    assert follow(start, "http://[2001:db8::1]:81") == Url(False, Target("2001:db8::1", 81), "/")


# TLS ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for 127.0.0.1 and app.example.com, signed by itself."""
    folder = tmp_path_factory.mktemp("tls")
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-nodes", "-days", "2", "-subj", "/CN=app", "-keyout", folder / "key.pem"),
            *("-out", folder / "cert.pem"),
            *("-addext", "subjectAltName=IP:127.0.0.1,DNS:app.example.com"),
        ],
        check=True,
        capture_output=True,
    )
    return folder / "cert.pem"


@contextlib.contextmanager
def tls_server(certificate: Path) -> Iterator[int]:
    """Give the port of an HTTPS server."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, certificate.parent / "key.pem")
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with (
                    contextlib.suppress(OSError),
                    connection,
                    context.wrap_socket(connection, server_side=True) as secure,
                ):
                    secure.recv(65536)
                    secure.sendall(OK)

        threading.Thread(target=accept, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


def test_a_certificate_is_verified(certificate: Path) -> None:
    """By its authority and its name; or not at all, where the profile says so."""
    ca = str(certificate)
    with tls_server(certificate) as port:
        at = url(port, tls=True)
        assert run_check(HttpCheck(at, ca_file=ca, contains="ready")).passed is True
        assert run_check(HttpCheck(at, ca_file=ca, host="app.example.com")).passed is True
        assert run_check(HttpCheck(at, tls_verify=False)).passed is True
        found = run_check(HttpCheck(at))
        assert (found.passed, found.detail) == (
            False,
            "certificate refused: self-signed certificate",
        )
        found = run_check(HttpCheck(at, ca_file=ca, host="other.example.com"))
        assert found.passed is False
        assert "other.example.com" in found.detail


def test_what_is_no_tls_fails_and_missing_authorities_prove_nothing(certificate: Path) -> None:
    """A plain server where TLS is wanted; a file with authorities that is not there."""
    with web(OK) as port:
        found = run_check(HttpCheck(url(port, tls=True), tls_verify=False))
        assert found.passed is False
        assert found.detail.startswith("TLS fails: ")
    missing = certificate.parent / "missing.pem"
    with tls_server(certificate) as port:
        found = run_check(HttpCheck(url(port, tls=True), ca_file=str(missing)))
        assert (found.passed, found.detail) == (
            None,
            f"{missing} cannot be read: no such file or directory",
        )


def test_no_descriptor_and_no_task_is_left(certificate: Path) -> None:
    """Hundreds of runs of each kind, also of those that are late, leave nothing open."""
    with web(OK) as port, web(None) as silent, tls_server(certificate) as secure:
        kinds = (
            HttpCheck(url(port)),
            HttpCheck(url(secure, tls=True), tls_verify=False),
            TcpCheck(Target("localhost", port)),
            HttpCheck(url(silent)),
            HttpCheck(url(silent, tls=True), tls_verify=False),
        )
        for asks in kinds:
            run_check(asks, timeout=0.2)
        before = count_descriptors()
        for _ in range(5):
            for asks in kinds:
                run_check(asks, timeout=0.2)
        until = time.monotonic() + 5
        while count_descriptors() > before and time.monotonic() < until:
            time.sleep(0.01)
        assert count_descriptors() <= before


def count_descriptors() -> int:
    """Count the sockets of this process to servers of this test."""
    return len(list(Path("/proc/self/fd").iterdir()))
