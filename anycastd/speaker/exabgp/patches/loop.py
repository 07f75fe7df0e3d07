"""Patches for ExaBGP's loop: how long it sleeps, and what wakes it."""

# ruff: noqa: ANN401, SLF001 - ExaBGP has no types, and the patches change its private parts

from __future__ import annotations

import os
import select
import signal
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from anycastd.speaker.exabgp.modules import ApplyPatch, load_module, require_names

IDLE_SLEEP = 50  # milliseconds; what only time brings, such as a keepalive, is so late at most
MIN_QUIET_TURNS = 3  # in which nothing happened; some work of a session takes more turns


def sleep_when_idle() -> ApplyPatch:
    """Let the loop sleep for ``IDLE_SLEEP`` where nothing can need a turn of it.

    ExaBGP sleeps for 10 ms at most, so it wakes 97 times a second, although it is woken by what
    peers and the API child send.  Here it still does so while a session is not up, a command or
    a route waits, or peers may connect, and for ``MIN_QUIET_TURNS`` turns after anything happened.

    Raises UnknownExabgpError or AttributeError where ExaBGP is not as the patch expects it.
    """
    reactor = load_module("exabgp.reactor.loop").Reactor
    established = load_module("exabgp.bgp.fsm").FSM.ESTABLISHED
    require_names(reactor.run, "_wait_for_io", "asynchronous", "listener", "_sleep_time")
    require_names(reactor._wait_for_io, "_poller", "poll")
    require_names(load_module("exabgp.reactor.asynchronous").ASYNC.ready, "_async")
    require_names(load_module("exabgp.reactor.listener").Listener.incoming, "serving")
    require_names(load_module("exabgp.reactor.peer").Peer._main, "rib", "outgoing", "pending")
    require_names(reactor.established_peers, "_peers", "fsm", "ESTABLISHED")

    def is_idle(self: Any) -> bool:
        if self.listener.serving or not self.asynchronous.ready():
            return False
        return all(
            peer.fsm == established and not peer.neighbor.rib.outgoing.pending()
            for peer in self._peers.values()
        )

    def apply() -> None:
        original = reactor._wait_for_io  # late: other patches replace it too

        def wait_for_io(self: Any, sleep: int) -> Iterator[int]:
            # Without a sleep, a command or a message was found in this turn.
            self._quiet_turns = self._quiet_turns + 1 if sleep and is_idle(self) else 0
            if self._quiet_turns > MIN_QUIET_TURNS:
                sleep = max(sleep, IDLE_SLEEP)
            for descriptor in original(self, sleep):
                self._quiet_turns = 0
                yield descriptor

        reactor._quiet_turns = 0
        reactor._wait_for_io = wait_for_io

    return apply


def wake_on_signal() -> ApplyPatch:
    """Let a signal end the sleep of the loop.

    Python sleeps on after a signal (PEP 475), so that ExaBGP ends or reloads up to a sleep later.

    Raises UnknownExabgpError or AttributeError where ExaBGP is not as the patch expects it.
    """
    reactor = load_module("exabgp.reactor.loop").Reactor
    require_names(reactor.__init__, "_poller", "poll")
    require_names(reactor.run, "_wait_for_io", "received")
    require_names(load_module("exabgp.reactor.interrupt").Signal.rearm, "signal", "SIGTERM")

    def apply() -> None:
        original_init, original = reactor.__init__, reactor._wait_for_io
        reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

        def init(self: Any, *arguments: Any) -> None:
            original_init(self, *arguments)
            self._poller.register(reader, select.POLLIN)

        def wait_for_io(self: Any, sleep: int) -> Iterator[int]:
            for descriptor in original(self, sleep):
                if descriptor == reader:
                    os.read(reader, select.PIPE_BUF)
                else:
                    yield descriptor

        reactor.__init__ = init
        reactor._wait_for_io = wait_for_io
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)

    return apply


def forget_closed_sockets() -> ApplyPatch:
    """Let the loop wait for open descriptors only.

    ExaBGP goes on to wait for the socket of a session that has ended.  That returns at once, so
    it then sleeps for 10 ms in each turn, and nothing can wake it.

    Raises UnknownExabgpError or AttributeError where ExaBGP is not as the patch expects it.
    """
    reactor = load_module("exabgp.reactor.loop").Reactor
    require_names(reactor.run, "_poller", "register", "unregister", "processes", "fds")
    require_names(reactor._wait_for_io, "_poller", "poll", "POLLNVAL", "_prevent_spin")

    def forget(self: Any) -> None:
        for descriptor, event in self._poller.poll(0):
            # The loop itself forgets those of the API child, and must find them then.
            if event & select.POLLNVAL and descriptor not in self.processes.fds:
                self._poller.unregister(descriptor)

    def apply() -> None:
        original = reactor._wait_for_io  # late: other patches replace it too

        def wait_for_io(self: Any, sleep: int) -> Iterator[int]:
            if sleep:
                with suppress(OSError):  # more descriptors than the process may have now
                    forget(self)
            yield from original(self, sleep)

        reactor._wait_for_io = wait_for_io

    return apply


PATCHES = (sleep_when_idle, wake_on_signal, forget_closed_sockets)
"""Patches of this file for every release, in the order in which they are applied."""
