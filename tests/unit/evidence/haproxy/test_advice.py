"""Rules that can never hold with what HAProxy has."""

from __future__ import annotations

from dataclasses import replace

import pytest

from anycastd.evidence.haproxy.advice import (
    ServerRow,
    find_empty_backends,
    find_high_numbers,
    find_short_deadline,
    find_slots,
    list_backend_rules,
    parse_server_rows,
)
from anycastd.evidence.haproxy.servers import Server, Usable
from support.profiles import profile

STATE = """\
1
# be_id be_name srv_id srv_name srv_addr srv_op_state srv_port
5 web 1 s1 127.0.0.1 2 8080
5 web 2 s2 2001:db8::1 2 80
6 app 1 a - 0 0
short
"""


def test_server_rows() -> None:
    """An IPv6 address stands in brackets before its port."""
    assert parse_server_rows(STATE) == {
        "web": [ServerRow("s1", "127.0.0.1:8080"), ServerRow("s2", "[2001:db8::1]:80")],
        "app": [ServerRow("a", "-:0")],
    }


@pytest.mark.parametrize("text", ["", "Permission denied\n", "1\n# be_id be_name\n5 web\n"])
def test_another_answer_is_refused(text: str) -> None:
    """An answer without the columns is not read as no servers."""
    with pytest.raises(ValueError, match="not in list"):
        parse_server_rows(text)


def test_only_rules_on_servers_need_servers() -> None:
    """A limit on a queue needs none, and what HAProxy does not have is told elsewhere."""
    needs = profile(
        ("healthy: {backend: web, usable: 50%}", "healthy: {backend: sorry, queue_below: 5}")
    )
    rules = list_backend_rules(needs, "main")
    assert [rule.backend for rule in rules] == ["web"]
    one = Server("s1", Usable.YES, "", "UP", "L4OK", 1, backup=False, checked=True)
    assert list(find_empty_backends(rules, {"web": [one], "sorry": []})) == []
    assert list(find_empty_backends(rules, {"sorry": []})) == []
    ((message, _),) = find_empty_backends(rules, {"web": []})
    assert message.startswith("backend web: it has no servers: HAProxy calls it UP")
    assert list_backend_rules(needs, "other") == []


def test_more_servers_than_there_are() -> None:
    """A number that no backend can reach is named; a share, and a sum of weights, are not."""
    up = Server("s1", Usable.YES, "", "UP", "L4OK", 1, backup=False, checked=True)
    many = profile(("{backend: web, usable: 1}", "{backend: web, usable: 3}"))
    rules = list_backend_rules(many, "main")
    assert list(find_high_numbers(rules, {"web": [up] * 3})) == []
    ((message, remedy),) = find_high_numbers(rules, {"web": [up] * 2})
    assert message == "backend web: a rule wants 3 usable servers, and it has 2"
    assert remedy == "write usable: 2 or less, or a share such as 50%"
    weights = profile(("{backend: web, usable: 1}", "{backend: web, usable: 3, by: weight}"))
    assert list(find_high_numbers(list_backend_rules(weights, "main"), {"web": [up]})) == []


def test_empty_slots_are_counted_for_people() -> None:
    """The number of slots is shown, without a warning: no share counts them."""
    up = Server("s1", Usable.YES, "", "UP", "L4OK", 1, backup=False, checked=True)
    slot = replace(up, usable=Usable.NO, status="MAINT (resolution)", in_share=False)
    rules = list_backend_rules(profile(), "main")
    assert list(find_slots(rules, {"web": [up]})) == []
    assert list(find_slots(rules, {"web": [up, slot, slot]})) == [
        "backend web: 2 of 3 servers are empty slots, which no share counts"
    ]


@pytest.mark.parametrize(
    ("deadline", "servers", "write"),
    [
        (0.3, 2_000, None),
        (0.3, 2_001, "0.4"),
        (0.3, 3_000, "0.5"),
        (0.3, 10_000, "1.5"),
        (3.0, 20_000, None),
    ],
)
def test_a_large_haproxy_needs_a_longer_deadline(
    deadline: float, servers: int, write: str | None
) -> None:
    """The default is long enough for 20,000 servers, the shortest one for 2,000."""
    found = find_short_deadline(deadline, servers)
    assert (found is None) == (write is None)
    if found is not None:
        assert found[0].startswith(f"0.3 s are short for {servers:,} servers: ")
        assert f"write {write} or more" in found[1]
