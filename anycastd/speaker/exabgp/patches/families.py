"""Patches for what is negotiated on a session, and a report of it."""

# ruff: noqa: ANN401, SLF001 - ExaBGP has no types, and the patches change its private parts

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from anycastd.bgp.negotiated import IPV4, IPV6, Negotiated
from anycastd.speaker.exabgp.contract import WATCH_COMMENT, dump_negotiated_event
from anycastd.speaker.exabgp.modules import ApplyPatch, load_module, require_names


def imply_ipv4() -> ApplyPatch:
    """Take IPv4 unicast as agreed on where the peer's OPEN names no address family.

    A speaker without the capability of RFC 4760 takes IPv4 routes and no others.  ExaBGP takes it
    for one that takes none: the session is up, and no UPDATE is ever sent.

    Raises UnknownExabgpError or AttributeError where ExaBGP is not as the patch expects it.
    """
    module = load_module("exabgp.bgp.message.open.capability.negotiated")
    family = load_module("exabgp.protocol.family")
    ipv4 = (family.AFI.ipv4, family.SAFI.unicast)
    code = module.Capability.CODE.MULTIPROTOCOL
    negotiated = module.Negotiated
    original = negotiated._negotiate
    require_names(original, "sent_open", "received_open", "capabilities", "announced", "families")

    def negotiate(self: Any) -> None:
        original(self)
        sent, received = self.sent_open.capabilities, self.received_open.capabilities
        offered = sent[code] if sent.announced(code) else ()
        if not received.announced(code) and ipv4 in offered:
            self.families = [ipv4]

    def apply() -> None:
        negotiated._negotiate = negotiate

    return apply


def require_extended_next_hop() -> ApplyPatch:
    """Take IPv4 as not agreed on where we offer IPv6 next hops for it, and the peer does not.

    ExaBGP would send such routes all the same, and RFC 8950 (section 4) allows them only after both
    ends have offered the capability: a peer without it may close the session.

    Raises UnknownExabgpError or AttributeError where ExaBGP is not as the patch expects it.
    """
    module = load_module("exabgp.bgp.message.open.capability.negotiated")
    family = load_module("exabgp.protocol.family")
    ipv4 = (family.AFI.ipv4, family.SAFI.unicast)
    wanted = (*ipv4, family.AFI.ipv6)
    code = module.Capability.CODE.NEXTHOP
    negotiated = module.Negotiated
    original = negotiated._negotiate
    require_names(original, "sent_open", "nexthop", "capabilities", "announced", "families")

    def apply() -> None:
        before = negotiated._negotiate  # late: `imply_ipv4` has replaced it

        def negotiate(self: Any) -> None:
            before(self)
            sent = self.sent_open.capabilities
            if sent.announced(code) and wanted in sent[code] and wanted not in self.nexthop:
                self.families = [each for each in self.families if each != ipv4]

        negotiated._negotiate = negotiate

    return apply


def report_negotiated() -> ApplyPatch:
    """Tell the API child what was agreed on for a session, before the session comes up.

    ExaBGP can do it by its own event, but only once: a child that is started later would never know
    it.  So the lines are kept here, and each new child gets them all.

    Raises UnknownExabgpError or AttributeError where ExaBGP is not as the patch expects it.
    """
    protocol = load_module("exabgp.reactor.protocol").Protocol
    processes = load_module("exabgp.reactor.api.processes").Processes
    require_names(protocol.validate_open, "negotiated", "validate", "peer", "reactor", "processes")
    require_names(processes._notify, "api")
    lines: dict[str, str] = {}

    def report(self: Any) -> None:
        # A session is worth more than a report of it.
        with suppress(Exception):
            neighbor = self.peer.neighbor
            address = read_peer_address(neighbor)
            lines[address] = dump_negotiated_event(address, read_negotiated(self.negotiated))
            children = self.peer.reactor.processes
            for child in children._notify(neighbor, "neighbor-changes"):
                children.write(child, lines[address])

    def apply() -> None:
        # Late: other patches may have replaced them.
        original, received = protocol.validate_open, processes.received

        def validate_open(self: Any) -> None:
            original(self)
            report(self)

        def receive_and_report(self: Any) -> Iterator[tuple[str, str]]:
            for child, command in received(self):
                if WATCH_COMMENT in command:  # a new child; 4.2 may put an unfinished line in front
                    for line in lines.values():
                        self.write(child, line)
                yield child, command

        protocol.validate_open = validate_open
        processes.received = receive_and_report

    return apply


def read_peer_address(neighbor: Any) -> str:
    """Return the address of ExaBGP's Neighbor, of 4.x or 5.x."""
    found = neighbor.peer_address if hasattr(neighbor, "peer_address") else neighbor["peer-address"]
    return str(found)


def read_negotiated(negotiated: Any) -> Negotiated:
    """Return what ExaBGP's Negotiated holds, of 4.x or 5.x."""
    agreed = {f"{afi} {safi}" for afi, safi in negotiated.families}
    return Negotiated(
        families=tuple(family for family in (IPV4, IPV6) if f"{family} unicast" in agreed),
        hold_time=int(negotiated.holdtime),
        four_octet_as=bool(negotiated.asn4),
    )


PATCHES = (imply_ipv4, require_extended_next_hop, report_negotiated)
"""Patches of this file for every release, in the order in which they are applied."""
