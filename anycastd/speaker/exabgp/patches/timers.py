"""Patches for how long ExaBGP waits: its clocks, its redials, a name that it looks up."""

# ruff: noqa: ANN401, SLF001 - ExaBGP has no types, and the patches change its private parts

from __future__ import annotations

import socket
import time
from contextlib import suppress
from typing import Any

from anycastd.speaker.exabgp.modules import ApplyPatch, load_module, require_names

MAX_REDIAL_DELAY = 5  # seconds
MIN_REDIAL_DELAY = 1.0  # seconds after a session that was up; agent and lease process act meanwhile
SYN_RETRIES = 2  # after 1 and 3 s at the latest; the kernel gives up within 7 s
SEND_TIME = 4 / 3  # of the hold time: its end, and a peer's word about it, come before

# Where a clock decides when BGP sends, gives up or dials again: module, class, methods.
_CLOCKS = (
    ("exabgp.bgp.timer", "ReceiveTimer", ("__init__", "check_ka_timer")),
    ("exabgp.bgp.timer", "SendTimer", ("__init__", "need_ka")),
    ("exabgp.reactor.delay", "Delay", ("__init__", "reset", "increase", "backoff")),
)


class _Clock:
    """Replaces the module ``time`` in the modules of ``_CLOCKS``."""

    time = staticmethod(time.monotonic)


def use_monotonic_clock() -> ApplyPatch:
    """Let the hold, keepalive and redial timers read the monotonic clock.

    ExaBGP reads the wall clock there, so a step of it closes the sessions.

    Raises UnknownExabgpError or AttributeError where ExaBGP is not as the patch expects it.
    """
    modules = []
    for name, owner, methods in _CLOCKS:
        module = load_module(name)
        if module.time is not time:
            raise AttributeError(f"{name}: time is not the module")
        for method in methods:
            require_names(getattr(getattr(module, owner), method), "time")
        modules.append(module)

    def apply() -> None:
        for module in modules:
            module.time = _Clock  # type: ignore[attr-defined]

    return apply


def limit_redial_delay() -> ApplyPatch:
    """Let the wait before a redial end after ``MAX_REDIAL_DELAY`` seconds.

    In ExaBGP it grows with every lost session or refused connection, up to 60 s, and never
    shrinks.

    Raises UnknownExabgpError or AttributeError where ExaBGP is not as the patch expects it.
    """
    delay = load_module("exabgp.reactor.delay").Delay
    probe = delay()
    if probe._next != 0:
        raise AttributeError("exabgp.reactor.delay: Delay._next does not begin with 0")
    original = delay.increase

    def increase(self: Any) -> None:
        original(self)
        self._next = min(self._next, MAX_REDIAL_DELAY)

    def apply() -> None:
        delay.increase = increase

    return apply


def wait_after_loss() -> ApplyPatch:
    """Wait ``MIN_REDIAL_DELAY`` seconds before the redial after a session that was up was lost.

    ExaBGP dials at once, and sends its routes as they were.  Where all sessions were lost, as after
    a machine was paused for longer than their hold time, these are the routes of before the loss:
    the agent has to see it first, and then announces standby.  A session that we end ourselves, for
    a reload, comes back at once.

    Raises UnknownExabgpError or AttributeError where ExaBGP is not as the patch expects it.
    """
    peer = load_module("exabgp.reactor.peer").Peer
    established = load_module("exabgp.bgp.fsm").FSM.ESTABLISHED
    module = load_module("exabgp.reactor.delay")
    require_names(peer._reset, "_teardown")
    require_names(getattr(peer, "_close", peer._reset), "_delay", "increase")
    require_names(peer.run, "_delay", "backoff")
    require_names(module.Delay.backoff, "_time")

    def apply() -> None:
        original = peer._reset  # late: other patches replace it too

        def reset(self: Any, message: str = "", error: Any = "") -> None:
            lost = self.fsm == established and not self._teardown
            original(self, message, error)
            if lost:
                self._delay._time = max(self._delay._time, module.time.time() + MIN_REDIAL_DELAY)

        peer._reset = reset

    return apply


def limit_connect_time() -> ApplyPatch:
    """Let the kernel give up an unanswered connection within 7 s; ExaBGP then dials anew.

    Where a neighbor's host is down, the kernel retries for two minutes at growing intervals, so
    that a host that is up again would wait for up to a minute.  The limit is TCP_SYNCNT of tcp(7).

    Raises UnknownExabgpError or AttributeError where ExaBGP is not as the patch expects it.
    """
    module = load_module("exabgp.reactor.network.outgoing")
    original = module.asynchronous
    require_names(module.Outgoing._setup, "asynchronous")

    def asynchronous(io: Any, ip: Any) -> None:
        original(io, ip)
        io.setsockopt(socket.IPPROTO_TCP, socket.TCP_SYNCNT, SYN_RETRIES)

    def apply() -> None:
        module.asynchronous = asynchronous  # type: ignore[attr-defined]

    return apply


def limit_send_time() -> ApplyPatch:
    """Let the kernel close a session whose peer takes nothing for 4/3 of the hold time.

    A peer that does not read, but goes on sending, keeps a session up that carries nothing: what is
    withdrawn stays there.  So does a network that drops our packets only, where the hold time is 0.
    ExaBGP waits for ever, the kernel for some 15 minutes or for ever.  This is the SendHoldTimer of
    RFC 9687, by TCP_USER_TIMEOUT of tcp(7).  The peer's next message is answered with a reset.

    Raises UnknownExabgpError or AttributeError where ExaBGP is not as the patch expects it.
    """
    protocol = load_module("exabgp.reactor.protocol").Protocol
    require_names(protocol.validate_open, "negotiated", "validate", "connection")

    def apply() -> None:
        original = protocol.validate_open  # late: other patches replace it too

        def validate_open(self: Any) -> None:
            original(self)
            limit_socket(self)

        protocol.validate_open = validate_open

    def limit_socket(self: Any) -> None:
        hold_time = int(self.negotiated.holdtime or self.negotiated.sent_open.hold_time)
        limit = int(hold_time * SEND_TIME * 1000)
        with suppress(OSError):
            self.connection.io.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, limit)

    return apply


def skip_name_lookup() -> ApplyPatch:
    """Give ExaBGP a domain name, so that it does not look up its own name in DNS.

    It does so at its start, which takes as long as a resolver that does not answer lets it.
    anycastd does not use that name.  5.0 asks as soon as it is imported: apply this first.

    Raises UnknownExabgpError or AttributeError where ExaBGP is not as the patch expects it.
    """
    module = load_module("exabgp.util.dns")
    if "__domain_name" not in vars(module):
        raise AttributeError("exabgp.util.dns: the domain's name is not remembered")

    def apply() -> None:
        setattr(module, "__domain_name", "localhost")

    return apply


PATCHES = (
    use_monotonic_clock,
    limit_redial_delay,
    wait_after_loss,
    limit_connect_time,
    limit_send_time,
)
"""Patches of this file for every release, in the order in which they are applied."""
