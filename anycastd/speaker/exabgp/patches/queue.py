"""Patches for the queue in which routes wait to be sent."""

# ruff: noqa: ANN401, SLF001 - ExaBGP has no types, and the patches change its private parts

from __future__ import annotations

import socket
from contextlib import suppress
from copy import copy
from typing import Any

from anycastd.speaker.exabgp.modules import ApplyPatch, load_module, require_names

MAX_STEPS = 2000  # in one turn of the loop, two for a route: at most 0.2 s
MAX_LAST_TURNS = 100  # of a peer at ExaBGP's end; one sends up to 25 UPDATEs


def raise_batch_size() -> ApplyPatch:
    """Let one turn of ExaBGP's loop take ``MAX_STEPS`` steps from the queue.

    ExaBGP takes 25 routes, then sleeps for up to 10 ms: 1,000 routes take 0.8 to 1 s.  With this
    patch and ``copy_routes_shallow`` they take a third of that.

    Raises UnknownExabgpError or AttributeError where ExaBGP is not as the patch expects it.
    """
    queue = load_module("exabgp.reactor.asynchronous").ASYNC
    require_names(getattr(queue, "_run_async", queue.run), "LIMIT")

    def apply() -> None:
        queue.LIMIT = MAX_STEPS

    return apply


def copy_routes_shallow() -> ApplyPatch:
    """Copy only what differs when a route is queued for each neighbor.

    ExaBGP copies the whole of it, attributes included.  4.2.21 (Debian 12) makes no copies.

    Raises UnknownExabgpError or AttributeError where ExaBGP is not as the patch expects it.
    """
    neighbor = load_module("exabgp.bgp.neighbor").Neighbor
    if not hasattr(neighbor, "remove_self"):
        return lambda: None
    original = neighbor.remove_self
    require_names(original, "deepcopy", "nlri", "nexthop", "SELF")

    def remove_self(self: Any, change: Any) -> Any:
        if change.nlri.nexthop.SELF:
            return original(self, change)
        copied = copy(change)  # attributes are never changed after they are parsed
        copied.nlri = copy(change.nlri)
        return copied

    def apply() -> None:
        neighbor.remove_self = remove_self

    return apply


def drop_superseded_routes() -> ApplyPatch:
    """Keep only the newest queued command about each route.

    ExaBGP sends what is queued in the order in which the attributes were first seen.  So of a
    route that is withdrawn, announced and withdrawn while ExaBGP is busy, the announcement is
    sent last and stays for ever.  The same happens to a route that is withdrawn before a session
    is up, since the first batch of a session has no withdrawals.

    Raises UnknownExabgpError or AttributeError where ExaBGP is not as the patch expects it.
    """
    rib = load_module("exabgp.rib.outgoing").OutgoingRIB
    original = rib.add_to_rib
    names = {*original.__code__.co_names}
    if "_update_rib" in names:  # 5.0
        names |= {*rib._update_rib.__code__.co_names}
    if not {"_new_nlri", "_new_attr_af_nlri"} <= names:
        raise AttributeError("exabgp.rib.outgoing: OutgoingRIB.add_to_rib has another queue")

    def add_to_rib(self: Any, change: Any, *more: Any) -> None:
        index = change.index()
        before = self._new_nlri.get(index)
        original(self, change, *more)
        if before is None or self._new_nlri.get(index) is before:
            return
        for queued in self._new_attr_af_nlri.get(before.attributes.index(), {}).values():
            if queued.get(index) is before:
                del queued[index]

    def apply() -> None:
        rib.add_to_rib = add_to_rib

    return apply


def send_queue_at_end() -> ApplyPatch:
    """Send what is queued for a peer before ExaBGP ends and closes the session.

    ExaBGP confirms a withdrawal when it is queued and sends it in its next turn.  A SIGTERM that
    arrives between the two, on a busy machine, closes the session without the withdrawal.

    Raises UnknownExabgpError or AttributeError where ExaBGP is not as the patch expects it.
    """
    module = load_module("exabgp.reactor.peer")
    peer, now = module.Peer, module.ACTION.NOW
    established = load_module("exabgp.bgp.fsm").FSM.ESTABLISHED
    original = peer.shutdown
    require_names(original, "_stop", "stop")
    require_names(peer.run, "generator")
    require_names(peer._main, "pending", "new_update")

    def shutdown(self: Any) -> None:
        # A turn does not block.  Whatever goes wrong in it, the session is closed afterwards.
        with suppress(Exception):
            for _ in range(MAX_LAST_TURNS):
                if not self.generator or self.fsm != established:
                    break
                if next(self.generator) != now and not self.neighbor.rib.outgoing.pending():
                    break
        original(self)

    def apply() -> None:
        peer.shutdown = shutdown

    return apply


def send_without_delay() -> ApplyPatch:
    """Let the kernel send each message at once: TCP_NODELAY of tcp(7).

    Otherwise a small message waits until the peer's kernel has acknowledged the one before, which
    takes 40 ms: the first route of a session, the second of two UPDATEs.

    Raises UnknownExabgpError or AttributeError where ExaBGP is not as the patch expects it.
    """
    module = load_module("exabgp.reactor.network.outgoing")
    require_names(module.Outgoing._setup, "asynchronous")

    def apply() -> None:
        original = module.asynchronous  # late: other patches replace it too

        def asynchronous(io: Any, ip: Any) -> None:
            original(io, ip)
            io.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        module.asynchronous = asynchronous  # type: ignore[attr-defined]

    return apply


PATCHES = (
    raise_batch_size,
    copy_routes_shallow,
    drop_superseded_routes,
    send_queue_at_end,
    send_without_delay,
)
"""Patches of this file for every release, in the order in which they are applied."""
