from __future__ import annotations

import pytest

from anycastd.evidence.haproxy.loops import LoopTargets, describe_loop, find_loops

TARGETS = LoopTargets(
    vips=frozenset({"203.0.113.10", "2001:db8::10"}),
    local=frozenset({"10.0.2.10"}),
    ports=frozenset({80}),
)


@pytest.mark.parametrize(
    "address",
    [
        "203.0.113.10",
        "203.0.113.10:80",
        "203.0.113.10:8443",
        "[2001:db8::10]:80",
        "2001:db8::10",
        "2001:db8::10:80",
        "[::ffff:203.0.113.10]:80",
        "0.0.0.0:80",
        "[::]:80",
        "10.0.2.10:80",
        "127.0.0.1:80",
        "127.0.0.9:80",
        "[::1]:80",
    ],
)
def test_what_leads_back_to_the_vip_is_a_loop(address: str) -> None:
    """A VIP at any port, and this machine at the port of a VIP; however it is written."""
    assert describe_loop(address, TARGETS).startswith(f"a loop: {address} is ")


@pytest.mark.parametrize(
    "address",
    [
        "203.0.113.11:80",
        "10.0.2.11:80",
        "10.0.2.10:8080",
        "127.0.0.1:8080",
        "10.0.2.10",
        "",
        "unix",
        "/run/app.sock",
        "web.example:80",
        "abns@app",
    ],
)
def test_other_servers_are_no_loop(address: str) -> None:
    """Other machines, other ports of this one, sockets and names are servers."""
    assert describe_loop(address, TARGETS) == ""


def test_nothing_is_a_loop_without_vips() -> None:
    """Where nothing is known of this machine nothing is called a loop."""
    assert describe_loop("0.0.0.0:80", LoopTargets()) == ""


def test_the_loops_among_servers_are_named() -> None:
    """Each loop has its reason; other servers are left out."""
    servers = [("s1", "10.0.3.4:80"), ("elsewhere", "203.0.113.10:80")]
    assert list(find_loops(servers, TARGETS)) == ["elsewhere"]
