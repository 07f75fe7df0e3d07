"""A passive BGP peer for tests and benches: it decodes UPDATEs and records when they came.

It raises on what it does not understand.  Times are ``time.monotonic()`` seconds.
"""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from typing import Self, TypeVar

from support.bgp_wire import (
    AFI_IPV4,
    AFI_IPV6,
    AS_TRANS,
    KEEPALIVE,
    MARKER,
    NOTIFICATION,
    OPEN,
    ROUTE_REFRESH,
    UNICAST,
    UPDATE,
    Closed,
    EndOfRib,
    Event,
    Opened,
    ReceivedRoute,
    Refreshed,
    Update,
    build_message,
    decode_open,
    decode_update,
)

TCP_MD5SIG = 14
"""Linux's socket option for RFC 2385: tcp(7)."""

T = TypeVar("T")


def wait_for(condition: Callable[[], T], timeout: float = 20.0, what: str = "condition") -> T:
    """Evaluate ``condition()`` every 2 ms until it is true, and return its value.

    Raises AssertionError after ``timeout`` seconds.
    """
    end = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"not within {timeout} s: {what}")
        time.sleep(0.002)


def free_port(address: str = "127.0.0.1") -> int:
    """Find a TCP port that is free at the moment."""
    with socket.socket() as probe:
        probe.bind((address, 0))
        return int(probe.getsockname()[1])


class Peer:
    """A passive BGP peer on ``address:port``, run by a thread; a context manager.

    ``refresh`` is its capability for route refresh: None, "plain" (RFC 2918) or "enhanced" (RFC
    7313 too).  ``families`` are those that it offers; None: its OPEN has no capabilities at all.
    ``refuse``: code, subcode and data of the NOTIFICATION with which it answers an OPEN (None: it
    accepts it).  ``events`` are all events in order, ``table`` the routes now.  An error in the
    thread (a message that is malformed or unknown) is raised by the next call of a method.
    """

    def __init__(
        self,
        address: str = "127.0.0.1",
        port: int = 0,
        *,
        asn: int = 65515,
        hold_time: int = 180,
        refresh: str | None = "plain",
        four_octets: bool = True,
        families: tuple[str, ...] | None = ("ipv4", "ipv6"),
        md5: tuple[str, str] | None = None,
    ) -> None:
        self.address, self.asn, self.hold_time = address, asn, hold_time
        self.refresh, self.four_octets = refresh, four_octets and families is not None
        self.families = families
        self.refuse: tuple[int, int, bytes] | None = None
        self.events: list[Event] = []
        self._table: dict[str, ReceivedRoute] = {}
        self._up = False
        # Who has seen a change of the table or of the session finds its event, too.
        self._state_lock = threading.Lock()
        self.accepting = True
        self.keepalives = 0
        self._opened: Opened | None = None
        self._negotiated_hold_time = 0.0
        self._error: BaseException | None = None
        self._stop = threading.Event()
        self._connection: socket.socket | None = None
        self._send_lock = threading.Lock()
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self._listener = socket.socket(family, socket.SOCK_STREAM)
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if md5 is not None:
            self._sign(*md5)
        self._listener.bind((address, port))
        self._listener.listen(8)
        self.port = int(self._listener.getsockname()[1])
        self._thread = threading.Thread(target=self._run, name=f"peer-{address}", daemon=True)

    def _sign(self, neighbor: str, password: str) -> None:
        """Use MD5 signatures (RFC 2385) with ``neighbor``."""
        key = password.encode()
        where = struct.pack("!HH4s8x", socket.AF_INET, 0, socket.inet_aton(neighbor))
        where = struct.pack("=H", socket.AF_INET) + where[2:]
        value = where.ljust(128, b"\0") + struct.pack("=HHI80s", 0, len(key), 0, key)
        self._listener.setsockopt(socket.IPPROTO_TCP, TCP_MD5SIG, value)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self.close()
        if kind is None:
            self.check()

    def close(self) -> None:
        """Close the listener and the session, and end the thread; waits up to 10 s."""
        self._stop.set()
        self._thread.join(10)

    def check(self) -> None:
        """Raise the error of the thread, if there is one."""
        if self._error is not None:
            raise self._error

    # For tests: reading -------------------------------------------------------------------------

    @property
    def table(self) -> dict[str, ReceivedRoute]:
        """Return a copy of the routes now: prefix -> route."""
        with self._state_lock:
            return dict(self._table)

    @property
    def up(self) -> bool:
        """Return whether a session is established now."""
        with self._state_lock:
            return self._up

    def list_events(self, kind: type[T]) -> list[T]:
        """Return the events of one kind, in order; raises the error of the thread."""
        self.check()
        return [event for event in list(self.events) if isinstance(event, kind)]

    @property
    def updates(self) -> list[Update]:
        """Return the UPDATEs so far; raises the error of the thread."""
        return self.list_events(Update)

    def wait(self, condition: Callable[[Peer], T], timeout: float = 20.0, what: str = "") -> T:
        """Wait until ``condition(self)`` is true and return its value.

        Raises AssertionError after ``timeout`` seconds, or the error of the thread.
        """

        def checked() -> T:
            self.check()
            return condition(self)

        return wait_for(checked, timeout, what or f"peer {self.address}: {self.events[-3:]}")

    def wait_up(self, timeout: float = 30.0) -> None:
        """Wait until a session is established and its initial routing update has ended (RFC 4724).

        Raises AssertionError after ``timeout`` seconds, or the error of the thread.
        """
        self.wait(lambda _: self.up and self._ended(), timeout, f"session at {self.address}")

    def _ended(self) -> bool:
        events = list(self.events)
        last = max(i for i, event in enumerate(events) if isinstance(event, Opened))
        return any(isinstance(event, EndOfRib) for event in events[last:])

    # For tests: acting --------------------------------------------------------------------------

    def send(self, data: bytes) -> None:
        """Send raw bytes on the current session; AssertionError without one."""
        with self._send_lock:
            if self._connection is None:
                raise AssertionError("there is no session")
            self._connection.sendall(data)

    def ask_refresh(self, afi: int = AFI_IPV4) -> None:
        """Send a ROUTE-REFRESH (RFC 2918); AssertionError without a session."""
        self.send(build_message(ROUTE_REFRESH, struct.pack("!HBB", afi, 0, UNICAST)))

    def drop(self, code: int | None = None, subcode: int = 0, data: bytes = b"") -> None:
        """End the session, with a NOTIFICATION (RFC 4271, section 4.5) where ``code`` is given.

        The listener stays open.  Raises AssertionError for a NOTIFICATION without a session.
        """
        if code is not None:
            self.send(build_message(NOTIFICATION, bytes([code, subcode]) + data))
        connection = self._connection
        if connection is not None:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    # The thread ----------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                if not select.select([self._listener], [], [], 0.05)[0]:
                    continue
                connection, _ = self._listener.accept()
                with connection:
                    if self.accepting:
                        self._session(connection)
        except BaseException as error:  # noqa: BLE001 - raised by check() in the test's thread
            self._error = error
        finally:
            self._listener.close()

    def _capabilities(self) -> bytes:
        if self.families is None:
            return b""
        numbers = [AFI_IPV6 if family == "ipv6" else AFI_IPV4 for family in self.families]
        wanted = [(1, struct.pack("!HBB", number, 0, UNICAST)) for number in numbers]
        if self.refresh is not None:
            wanted.append((2, b""))
        if self.refresh == "enhanced":
            wanted.append((70, b""))
        if self.four_octets:
            wanted.append((65, struct.pack("!I", self.asn)))
        packed = b"".join(bytes([code, len(value)]) + value for code, value in wanted)
        return bytes([2, len(packed)]) + packed

    def _open(self) -> bytes:
        number = self.asn if self.asn < 65536 else AS_TRANS
        router = socket.inet_aton("192.0.2.255")
        options = self._capabilities()
        body = struct.pack("!BHH4sB", 4, number, self.hold_time, router, len(options))
        return build_message(OPEN, body + options)

    def _session(self, connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._connection = connection
        with self._state_lock:
            self._table.clear()
        closed: Closed | None = None
        try:
            closed = self._run_session(connection)
        except OSError as error:
            closed = Closed(time.monotonic(), None, None, str(error))
        finally:
            with self._send_lock, self._state_lock:
                self._connection = None
                self._up = False
                if closed is not None:
                    self.events.append(closed)

    def _run_session(self, connection: socket.socket) -> Closed:
        self.send(self._open())
        self._opened, self._negotiated_hold_time = None, float(self.hold_time)
        received_at = sent_at = time.monotonic()
        for at, kind, body in self._messages(connection):
            if kind is not None:
                received_at = at
            elif self._negotiated_hold_time and at - received_at > self._negotiated_hold_time:
                self.send(build_message(NOTIFICATION, bytes([4, 0])))
                return Closed(at, 4, 0, "our hold timer expired")
            if (
                self._up
                and self._negotiated_hold_time
                and at - sent_at > self._negotiated_hold_time / 3
            ):
                sent_at = at
                self.send(build_message(KEEPALIVE))
            if kind == NOTIFICATION:
                return Closed(at, body[0], body[1], body[2:].decode("utf-8", "replace"))
            if kind is not None:
                self._handle(at, kind, body)
        return Closed(time.monotonic(), None, None, "end of file")

    def _handle(self, at: float, kind: int, body: bytes) -> None:
        self.keepalives += kind == KEEPALIVE
        if kind == OPEN:
            self._opened = decode_open(body, at)
            self._negotiated_hold_time = float(min(self.hold_time, self._opened.hold_time))
            if self.refuse is not None:
                self.drop(*self.refuse)
                return
            self.send(build_message(KEEPALIVE))
        elif kind == KEEPALIVE and self._opened is not None:
            if not self._up:
                with self._state_lock:
                    self.events.append(self._opened)
                    self._up = True
        elif kind == UPDATE and self._opened is not None:
            width = 4 if self.four_octets and 65 in self._opened.capabilities else 2
            self._record(decode_update(body, at, width))
        elif kind == ROUTE_REFRESH and self.refresh == "enhanced":
            self.events.append(Refreshed(at, body[2]))
        else:
            raise ValueError(f"BGP message of type {kind}: {body.hex()}")

    def _record(self, event: Update | EndOfRib) -> None:
        with self._state_lock:
            if isinstance(event, Update):
                for prefix in event.withdrawn:
                    self._table.pop(prefix, None)
                for route in event.announced:
                    self._table[route.prefix] = route
            self.events.append(event)

    def _messages(self, connection: socket.socket) -> Iterator[tuple[float, int | None, bytes]]:
        """Yield (time, type, body) per message; (time, None, b"") after 50 ms without one."""
        buffer = b""
        while not self._stop.is_set():
            if not select.select([connection], [], [], 0.05)[0]:
                yield time.monotonic(), None, b""
                continue
            data = connection.recv(65536)
            at = time.monotonic()
            if not data:
                return
            buffer += data
            while len(buffer) >= 19:
                length, kind = struct.unpack("!HB", buffer[16:19])
                if buffer[:16] != MARKER or not 19 <= length <= 4096:
                    raise ValueError(f"malformed BGP header: {buffer[:19].hex()}")
                if len(buffer) < length:
                    break
                body, buffer = buffer[19:length], buffer[length:]
                yield at, kind, body
