"""Which servers are asked, and where."""

from __future__ import annotations

import pytest

from anycastd.evidence.haproxy.servers import Override, Usable
from anycastd.evidence.servers.addresses import iter_askable, parse_target
from support.server_looks import look_at


@pytest.mark.parametrize(
    ("address", "host", "port"),
    [
        ("10.0.3.4:80", "10.0.3.4", 80),
        ("[2001:db8::1]:443", "2001:db8::1", 443),
        ("127.0.0.1:65535", "127.0.0.1", 65535),
    ],
)
def test_an_address_that_is_asked(address: str, host: str, port: int) -> None:
    """IPv4 and IPv6, as HAProxy writes them."""
    found = parse_target(address)
    assert found is not None
    assert (found.host, found.port, found.ipv6) == (host, port, ":" in host)


@pytest.mark.parametrize(
    "address",
    [
        "",
        "unix",
        "/run/app.sock",
        "abns@app",
        "10.0.3.4",
        "10.0.3.4:0",
        "10.0.3.4:65536",
        "10.0.3.4:٣",
        "0.0.0.0:80",
        "[::]:80",
        "[fe80::1]:80",
        "224.0.0.1:80",
        "app.example:80",
        "10.0.3.4:" + "9" * 5000,
        "[2001:db8::1",
    ],
)
def test_an_address_that_is_not_asked(address: str) -> None:
    """HAProxy connects elsewhere, or nobody knows where."""
    assert parse_target(address) is None


@pytest.mark.parametrize(
    "row",
    [
        {"status": "DOWN", "check_status": "L4CON"},
        {"status": "DRAIN"},
        {"status": "MAINT", "check_status": ""},
        {"status": "no check", "check_status": ""},
        {"status": "no check", "check_status": "", "agent_status": "L7OK"},
        {"weight": "0"},
        {"addr": ""},
        {"bck": "1"},
        {"tracked": "web/s2", "check_status": "", "addr": "10.0.3.9:80"},
        {"tracked": "other/s2", "check_status": ""},
    ],
)
def test_a_server_that_does_not_count_is_not_asked(row: dict[str, str]) -> None:
    """Nor is one whose check would not show that it is back."""
    found = [key for key, _ in iter_askable(look_at(None, 1.0, row, {}), "web", {})]
    assert found == [("web", "s2")]


def test_a_server_that_tracks_one_at_its_own_address_is_asked() -> None:
    """The check of the other one is its own."""
    seen = look_at(None, 1.0, {"tracked": "web/s2", "check_status": ""}, {})
    assert len([*iter_askable(seen, "web", {})]) == 2


def test_a_backup_is_asked_once_the_others_refuse() -> None:
    """HAProxy uses it from then on."""
    seen = look_at(None, 1.0, {}, {"bck": "1"})
    refused = {"s1": Override(Usable.NO, "refuses")}
    assert [key[1] for key, _ in iter_askable(seen, "web", {})] == ["s1"]
    assert [key[1] for key, _ in iter_askable(seen, "web", refused)] == ["s1", "s2"]
    assert not [*iter_askable(seen, "other", refused)]
