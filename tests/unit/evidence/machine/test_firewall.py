"""The way of a packet through nftables' rules: what drops it for certain, and what may not."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anycastd.evidence.machine.firewall import Packet, find_drop

SYN = Packet("output", 4, ip_address("10.0.2.10"), ip_address("10.0.1.4"), None, 179, "new")
ANSWER = Packet(
    "input", 4, ip_address("10.0.1.4"), ip_address("10.0.2.10"), 179, None, "established"
)
ACCEPT, DROP, REJECT = {"accept": None}, {"drop": None}, {"reject": {"type": "tcp reset"}}
RETURN = {"return": None}


def match(left: dict[str, Any], right: object, op: str = "==") -> dict[str, Any]:
    """Write a condition."""
    return {"match": {"op": op, "left": left, "right": right}}


def port(right: object, op: str = "==", field: str = "dport") -> dict[str, Any]:
    """Write a condition on a TCP port."""
    return match({"payload": {"protocol": "tcp", "field": field}}, right, op)


def to(right: object, op: str = "==", protocol: str = "ip") -> dict[str, Any]:
    """Write a condition on the destination."""
    return match({"payload": {"protocol": protocol, "field": "daddr"}}, right, op)


def state(right: object) -> dict[str, Any]:
    """Write a condition on the state of the connection."""
    return match({"ct": {"key": "state"}}, right, "in")


MARK = match({"meta": {"key": "mark"}}, 5)
LO = match({"meta": {"key": "oifname"}}, "lo")
NIC = match({"meta": {"key": "oifname"}}, "eth0")


def build(
    *rules: list[Any],
    hook: str = "output",
    policy: str = "accept",
    family: str = "inet",
    chains: dict[str, list[list[Any]]] | None = None,
) -> tuple[dict[str, Any], ...]:
    """Build a ruleset: one base chain `c`, and other chains by their names."""
    where = {"family": family, "table": "f"}
    all_chains = {"c": list(rules), **(chains or {})}
    base = {"type": "filter", "hook": hook, "prio": 0, "policy": policy}
    objects: list[dict[str, Any]] = [{"metainfo": {"version": "1.0.6"}}, {"table": where}]
    for name, own in all_chains.items():
        objects.append({"chain": {**where, "name": name, **(base if name == "c" else {})}})
        objects += [
            {"rule": {**where, "chain": name, "handle": number, "expr": expressions}}
            for number, expressions in enumerate(own, 1)
        ]
    return tuple(objects)


JUMP, GOTO = {"jump": {"target": "d"}}, {"goto": {"target": "d"}}
VMAP = {"key": {"ct": {"key": "state"}}, "data": {"set": [["established", ACCEPT], ["new", DROP]]}}
DROPS = {
    "a port": build([port(179), DROP]),
    "a rejection": build([port(179), REJECT]),
    "everything": build([DROP]),
    "the policy": build(policy="drop"),
    "a set of ports": build([port({"set": [22, 179]}), DROP]),
    "a range of ports": build([port({"range": [1, 1023]}), DROP]),
    "a name of a port": build([port("bgp"), DROP]),
    "another port is accepted": build([port(22), ACCEPT], policy="drop"),
    "a prefix": build([to({"prefix": {"addr": "10.0.0.0", "len": 8}}), DROP]),
    "another address is accepted": build([to("10.0.1.5"), ACCEPT], [DROP]),
    "not that address": build([to("10.0.1.5", "!="), DROP]),
    "a range of addresses": build([to({"range": ["10.0.1.1", "10.0.1.9"]}), DROP]),
    "established is accepted": build([state(["established", "related"]), ACCEPT], policy="drop"),
    "the loopback is accepted": build([LO, ACCEPT], policy="drop"),
    "IPv6 is accepted": build([to("2001:db8::1", protocol="ip6"), ACCEPT], policy="drop"),
    "perhaps before, for certain after": build([MARK, DROP], [port(179), DROP]),
    "a chain": build([JUMP], chains={"d": [[port(179), DROP]]}),
    "a chain that returns": build([JUMP], [DROP], chains={"d": [[RETURN], [ACCEPT]]}),
    "a chain without an end": build([GOTO], policy="drop", chains={"d": []}),
    "a map of verdicts": build([{"vmap": VMAP}]),
    "its own family": build([port(179), DROP], family="ip"),
    "with a counter": build([port(179), {"counter": {"packets": 7, "bytes": 420}}, DROP]),
}


@pytest.mark.parametrize("name", DROPS)
def test_dropped_for_certain(name: str) -> None:
    """Whatever is not known, this packet does not pass; the place is named."""
    found = find_drop(DROPS[name], SYN)
    assert found is not None
    assert found.where.startswith("chain ")
    assert found.packets == (7 if "counter" in name else None)


PASSES = {
    "no rules": build(),
    "another port": build([port(80), DROP]),
    "accepted first": build([port(179), ACCEPT], [DROP]),
    "a mark may accept it": build([MARK, ACCEPT], policy="drop"),
    "only with a mark": build([MARK, DROP]),
    "only on one interface": build([NIC, port(179), DROP]),
    "accepted on an interface": build([NIC, ACCEPT], policy="drop"),
    "a named set may have it": build([to("@neighbors"), ACCEPT], policy="drop"),
    "a rate": build([{"limit": {"rate": 5, "per": "second"}}, ACCEPT], policy="drop"),
    "an extension of iptables": build([{"xt": {"type": "match", "name": "tcp"}}, DROP]),
    "another family": build([port(179), DROP], family="ip6"),
    "another hook": build([port(179), DROP], hook="forward"),
    "a chain accepts": build([JUMP], policy="drop", chains={"d": [[ACCEPT]]}),
    "a chain may accept": build([JUMP], policy="drop", chains={"d": [[MARK, ACCEPT]]}),
    "a queue": build([{"queue": {"num": 1}}], policy="drop"),
    "chains without end": build([JUMP], policy="drop", chains={"d": [[JUMP]]}),
    "a chain that is missing": build([{"jump": {"target": "gone"}}]),
    "the packet's port is not known": build([port(40000, field="sport"), DROP]),
    "UDP": build([match({"payload": {"protocol": "udp", "field": "dport"}}, 179), DROP]),
    "an operator": build([port(1023, "<"), DROP]),
}


@pytest.mark.parametrize("name", PASSES)
def test_what_may_pass_is_not_called_dropped(name: str) -> None:
    """A condition that is not known here never makes a warning."""
    assert find_drop(PASSES[name], SYN) is None


def test_the_answers_of_a_neighbor() -> None:
    """A firewall that accepts established connections lets the answers in."""
    usual = build([state(["established", "related"]), ACCEPT], hook="input", policy="drop")
    assert find_drop(usual, ANSWER) is None
    assert find_drop(build(hook="input", policy="drop"), ANSWER) is not None
    assert find_drop(build([DROP], hook="prerouting"), ANSWER) is not None
    assert find_drop(usual, SYN) is None


# What nft 1.0.6 lists of rules that iptables-nft 1.8.9 has made.
XT = {"xt": {"type": "match", "name": "conntrack"}}
COUNTER = {"counter": {"packets": 3, "bytes": 180}}


def test_rules_of_iptables() -> None:
    """Its plain matches are followed; what it has as extensions is not known."""
    by_port = build([port(179, field="sport"), COUNTER, DROP], hook="input", family="ip")
    found = find_drop(by_port, ANSWER)
    assert found is not None
    assert (found.where, found.packets) == ("chain ip f c, rule with handle 1", 3)
    by_state = build([XT, COUNTER, ACCEPT], policy="drop", family="ip")
    assert find_drop(by_state, SYN) is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "match",
                    "left",
                    "right",
                    "op",
                    "payload",
                    "meta",
                    "ct",
                    "key",
                    "set",
                    "range",
                    "prefix",
                    "elem",
                    "val",
                    "vmap",
                    "data",
                    "drop",
                    "jump",
                    "target",
                    "counter",
                ]
            ),
            inner,
            max_size=3,
        )
    ),
    max_leaves=12,
)


@given(st.lists(st.lists(JSON, max_size=4), max_size=4))
def test_rules_of_any_kind_raise_nothing(rules: list[list[Any]]) -> None:
    """Whatever a newer nft prints, it is read or it is not known."""
    find_drop(build(*rules), SYN)
