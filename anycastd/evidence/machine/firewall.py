"""nftables' rules -> whether they drop BGP or the VIP's clients (pure).

A packet is followed through the rules.  What a rule matches is true, false, or not known here (a
named set, a mark, a rate).  Only a packet that is dropped whatever is not known is called so.
Formats: libnftables-json(5).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any, NamedTuple

from anycastd.evidence.machine.facts import Machine, MachineProblem
from anycastd.evidence.machine.network import BGP_PORT
from anycastd.profile.model import IPV6, Address, Profile

_Read = Address | int | str | bool | None
Ruleset = tuple[Mapping[str, Any], ...]
_MAX_JUMPS = 16  # the kernel's own limit of nested chains
_VERDICTS = ("accept", "drop", "reject", "return", "jump", "goto", "vmap", "queue", "continue")
_ENDS_PACKET = ("drop", "reject")
_NO_MATCH = ("counter", "log", "notrack", "comment", *_VERDICTS)


class Drop(NamedTuple):
    """Where a packet is dropped, as text, and how many were dropped there (None: not counted)."""

    where: str
    packets: int | None


@dataclass(frozen=True, slots=True)
class Packet:
    """A TCP packet at one hook; None is what is not known of it."""

    hook: str
    version: int
    source: Address | None
    target: Address | None
    source_port: int | None
    target_port: int | None
    state: str


class _Unknown(Exception):  # noqa: N818 - no error: the way of a packet is not known
    """Whether the packet passes depends on what is not known here."""


def check_firewall(profile: Profile, machine: Machine) -> Iterator[MachineProblem]:
    """Find neighbors whose BGP a local firewall drops, and VIPs whose self-test's port it drops."""
    if not machine.ruleset:
        return
    for neighbor in profile.bgp.neighbors:
        local, remote = neighbor.local_address, neighbor.address
        for packet in (
            Packet("output", remote.version, local, remote, None, BGP_PORT, "new"),
            Packet("input", remote.version, remote, local, BGP_PORT, None, "established"),
        ):
            found = find_drop(machine.ruleset, packet)
            if found is not None:
                what = "what we send to" if packet.hook == "output" else "the answers of"
                yield MachineProblem(
                    f"the firewall drops {what} neighbor {remote}, port {BGP_PORT}: {_say(found)}",
                    f"accept TCP port {BGP_PORT} to {remote}, and answers "
                    "(ct state established), above it",
                )
    for service in profile.services.values():
        vip, test = service.vip.network_address, service.self_test
        if test is None:
            continue
        packet = Packet("input", vip.version, None, vip, None, test.port, "new")
        found = find_drop(machine.ruleset, packet)
        if found is not None:
            yield MachineProblem(
                f"the firewall drops what clients send to VIP {vip}, port {test.port}: "
                f"{_say(found)}",
                f"accept TCP port {test.port} to {vip} above it",
            )


def _say(drop: Drop) -> str:
    counted = "" if drop.packets is None else f", {drop.packets} packets so far"
    return f"{drop.where}{counted}"


def find_drop(ruleset: Ruleset, packet: Packet) -> Drop | None:
    """Return where the packet is dropped for certain, None where it may pass.

    ``ruleset``: the objects that ``nft --json list ruleset`` lists.  Never raises for rules of an
    unknown kind: they are what is not known.
    """
    rules: dict[tuple[str, str, str], list[Mapping[str, Any]]] = {}
    chains: list[Mapping[str, Any]] = []
    for each in ruleset:
        if isinstance(chain := each.get("chain"), Mapping):
            chains.append(chain)
        elif isinstance(rule := each.get("rule"), Mapping):
            rules.setdefault(_key(rule, "chain"), []).append(rule)
    families = ("inet", "ip6" if packet.version == IPV6 else "ip")
    hooks = ("prerouting", "input") if packet.hook == "input" else (packet.hook,)
    for chain in chains:
        if chain.get("family") not in families or chain.get("hook") not in hooks:
            continue
        try:
            drop = _follow(rules, _key(chain, "name"), packet, 0)
        except (_Unknown, LookupError, TypeError, ValueError, AttributeError):
            continue
        if drop is not None and drop.where:
            return drop
        if drop is None and chain.get("policy") == "drop":
            return Drop(
                f"{_name(chain, 'name')}, whose policy is drop, accepts no such packet", None
            )
    return None


def _key(of: Mapping[str, Any], chain: str) -> tuple[str, str, str]:
    return (of["family"], of["table"], of[chain])


def _name(of: Mapping[str, Any], chain: str) -> str:
    return f"chain {of['family']} {of['table']} {of[chain]}"


_ACCEPTED = Drop("", None)


def _follow(
    rules: Mapping[tuple[str, str, str], list[Mapping[str, Any]]],
    chain: tuple[str, str, str],
    packet: Packet,
    depth: int,
) -> Drop | None:
    """Follow a packet through a chain; None where it comes out at the chain's end.

    Raises _Unknown where it may or may not have been accepted.
    """
    if depth > _MAX_JUMPS:
        raise _Unknown
    for rule in rules.get(chain, ()):
        matches = _matches(rule["expr"], packet)
        verdict, target = _find_verdict(rule["expr"], packet)
        if matches is False or verdict in {"", "continue"}:
            continue
        if verdict in _ENDS_PACKET:
            if matches:
                where = f"{_name(rule, 'chain')}, rule with handle {rule['handle']}"
                return Drop(where, _count(rule["expr"]))
            continue  # perhaps dropped here; what follows decides
        if matches is None or verdict == "queue":
            raise _Unknown
        if verdict == "accept":
            return _ACCEPTED
        if verdict == "return":
            return None
        result = _follow(rules, (chain[0], chain[1], target), packet, depth + 1)
        if result is not None or verdict == "goto":
            return result
    return None


def _count(expressions: list[Mapping[str, Any]]) -> int | None:
    for each in expressions:
        if isinstance(counter := each.get("counter"), Mapping):
            return int(counter["packets"])
    return None


def _find_verdict(expressions: list[Mapping[str, Any]], packet: Packet) -> tuple[str, str]:
    """Return (verdict, chain to go to) of a rule; ("", "") where it has none."""
    for each in expressions:
        for name in _VERDICTS:
            if name == "vmap" and name in each:
                return _look_up(each["vmap"], packet)
            if name in each:
                target = each[name]["target"] if name in {"jump", "goto"} else ""
                return name, target
    return "", ""


def _look_up(vmap: Mapping[str, Any], packet: Packet) -> tuple[str, str]:
    """Return the verdict of a map of verdicts.  Raises _Unknown where it is not known."""
    value = _read(vmap["key"], packet)
    for right, verdict in vmap["data"]["set"]:
        found = None if value is None else _contains(right, value)
        if found is None:
            raise _Unknown
        if found:
            return _find_verdict([verdict], packet)
    return "", ""


def _matches(expressions: list[Mapping[str, Any]], packet: Packet) -> bool | None:
    """Return whether a rule's conditions hold; None where that is not known."""
    known = True
    for each in expressions:
        if "match" in each:
            result = _match(each["match"], packet)
            if result is False:
                return False
            known = known and result is True
        elif not any(name in each for name in _NO_MATCH):
            known = False
    return True if known else None


def _match(match: Mapping[str, Any], packet: Packet) -> bool | None:
    value = _read(match["left"], packet)
    if value is None or value is False:
        return value
    if match["op"] in {"==", "in"}:
        return _contains(match["right"], value)
    if match["op"] == "!=":
        found = _contains(match["right"], value)
        return None if found is None else not found
    return None


# Stands for any interface but the loopback.
_AN_INTERFACE = "(an interface)"
_PORTS = {"bgp": BGP_PORT}  # services(5): nft prints names with an option alone


def _read(left: Mapping[str, Any], packet: Packet) -> _Read:
    """Return what a rule reads of the packet: None where not known, False where it is not there."""
    if payload := left.get("payload"):
        return _read_payload(payload.get("protocol"), payload.get("field"), packet)
    if meta := left.get("meta"):
        return {
            "l4proto": "tcp",
            "nfproto": "ipv6" if packet.version == IPV6 else "ipv4",
            "iifname": _AN_INTERFACE,
            "oifname": _AN_INTERFACE,
            "iif": _AN_INTERFACE,
            "oif": _AN_INTERFACE,
        }.get(meta["key"])
    if (left.get("ct") or {}).get("key") == "state":
        return packet.state
    return None


def _read_payload(protocol: str, field: str, packet: Packet) -> _Read:
    if protocol in {"tcp", "th"}:
        return {"sport": packet.source_port, "dport": packet.target_port}.get(field)
    if protocol in {"ip", "ip6"}:
        if (protocol == "ip6") != (packet.version == IPV6):
            return False
        known: dict[str, _Read] = {"saddr": packet.source, "daddr": packet.target}
        return (known | {"protocol": "tcp", "nexthdr": "tcp"}).get(field)
    return False if protocol in {"udp", "icmp", "icmpv6", "sctp", "arp"} else None


def _contains(right: object, value: _Read) -> bool | None:
    """Return whether a rule's right side has the value; None where that is not known."""
    if isinstance(right, Mapping) and "set" in right:
        right = right["set"]
    if isinstance(right, list):
        found = [_contains(each, value) for each in right]
        return True if True in found else None if None in found else False
    if isinstance(right, Mapping):
        return _is_in_range(right, value)
    if isinstance(right, str) and right.startswith("@"):
        return None
    if value == _AN_INTERFACE:
        return False if right == "lo" else None
    if isinstance(value, int | str):
        return value == (_PORTS.get(right, right) if isinstance(right, str) else right)
    return value == ip_address(str(right))


def _is_in_range(right: Mapping[str, Any], value: _Read) -> bool | None:
    if "elem" in right:
        return _contains(right["elem"]["val"], value)
    if "prefix" in right and isinstance(value, IPv4Address | IPv6Address):
        return value in ip_network(f"{right['prefix']['addr']}/{right['prefix']['len']}")
    if "range" in right and isinstance(value, int):
        first, last = right["range"]
        return bool(first <= value <= last)
    if "range" in right and isinstance(value, IPv4Address | IPv6Address):
        first, last = map(ip_address, right["range"])
        return int(first) <= int(value) <= int(last)
    return None
