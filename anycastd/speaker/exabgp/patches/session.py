"""Patches for what ExaBGP says to its peers besides routes."""

# ruff: noqa: ANN401, SLF001 - ExaBGP has no types, and the patches change its private parts

from __future__ import annotations

from contextlib import suppress
from typing import Any

from anycastd.speaker.exabgp.contract import NOT_TAKEN, format_peer_as
from anycastd.speaker.exabgp.modules import ApplyPatch, load_module, require_names


def send_cease() -> ApplyPatch:
    """Send a Cease before a connection is closed on purpose.

    ExaBGP only closes the connection, at its end and for a neighbor that was removed.  The Cease
    says why (RFC 4486): 2, administrative shutdown, or 3, peer de-configured.

    Raises UnknownExabgpError or AttributeError where ExaBGP is not as the patch expects it.
    """
    peer = load_module("exabgp.reactor.peer").Peer
    fsm = load_module("exabgp.bgp.fsm").FSM
    original = peer._stop
    require_names(original, "proto")
    messages = set(peer.remove.__code__.co_consts) | set(peer.shutdown.__code__.co_consts)
    if not {"removed", "shutting down"} <= messages:
        raise AttributeError("exabgp.reactor.peer: Peer._stop gets other messages")
    open_sent = (fsm.OPENSENT, fsm.OPENCONFIRM, fsm.ESTABLISHED)

    def stop(self: Any, message: str) -> None:
        if self.proto and self.fsm in open_sent:
            subcode = 3 if message == "removed" else 2
            # The socket does not block; a peer that does not read is not worth a wait.
            with suppress(OSError, AttributeError):
                self.proto.connection.io.send(b"\xff" * 16 + bytes([0, 21, 3, 6, subcode]))
        original(self, message)

    def apply() -> None:
        peer._stop = stop

    return apply


def offer_plain_route_refresh() -> ApplyPatch:
    """Let 4.x offer plain route refresh (RFC 2918) only.

    It offers enhanced route refresh (RFC 7313) too, but closes the session when a peer that
    knows both (BIRD does) asks for a plain one.

    Raises UnknownExabgpError or AttributeError where ExaBGP is not as the patch expects it.
    """
    capabilities = load_module("exabgp.bgp.message.open.capability.capabilities").Capabilities
    code = load_module("exabgp.bgp.message.open.capability.capability").Capability.CODE
    enhanced = code.ENHANCED_ROUTE_REFRESH
    original = capabilities._refresh
    require_names(original, "EnhancedRouteRefresh")

    def offer_plain(self: Any, neighbor: Any) -> None:
        original(self, neighbor)
        self.pop(enhanced, None)

    def apply() -> None:
        capabilities._refresh = offer_plain

    return apply


def report_reasons() -> ApplyPatch:
    """Name the AS number of a peer that has a wrong one, and a session that carried nothing.

    Of a wrong AS number, ExaBGP reports the codes of the NOTIFICATION that it sends then; 4.2 adds
    the number in the old field of the OPEN, which is 23456 for every number of four octets (RFC
    6793).  Of a session that the kernel closed (``timers.limit_send_time``), it reports nothing.

    Raises UnknownExabgpError or AttributeError where ExaBGP is not as the patch expects it.
    """
    peer = load_module("exabgp.reactor.peer").Peer
    established = load_module("exabgp.bgp.fsm").FSM.ESTABLISHED
    network_error = load_module("exabgp.reactor.network.error").NetworkError
    if peer._reset.__code__.co_varnames[:3] != ("self", "message", "error"):
        raise AttributeError("exabgp.reactor.peer: Peer._reset gets other arguments")

    def extend_reason(self: Any, message: str, error: Any) -> str:
        if message.startswith("notification sent (2,2)"):
            with suppress(AttributeError):
                message += f" {format_peer_as(int(self.proto.negotiated.peer_as))}"
        # Not of a NOTIFICATION: its text has whatever the peer sent, and 4.2 fails to decode that.
        elif (
            isinstance(error, network_error)
            and "ETIMEDOUT" in str(error)
            and self.fsm == established
        ):
            message += f" {NOT_TAKEN}"
        return message

    def apply() -> None:
        original = peer._reset  # late: other patches replace it too

        def reset(self: Any, message: str = "", error: Any = "") -> None:
            original(self, extend_reason(self, message, error), error)

        peer._reset = reset

    return apply


PATCHES = (send_cease, report_reasons)
"""Patches of this file for every release, in the order in which they are applied."""
PATCHES_4 = (offer_plain_route_refresh,)
"""Patches of this file for 4.x only."""
