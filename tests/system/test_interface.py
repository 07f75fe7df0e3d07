"""An IPv6 VIP on an interface of its own: removed by hand, added twice, the interface down."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.appliance import BODY, PROFILE, Appliance, own_network
from support.haproxy import until
from support.route_log import RouteLog

pytestmark = pytest.mark.root

VIP = "2001:db8:113::10"
HOP = "2001:db8:2::10"
LINK = "vip0"
BACK = "x 7 1"


def ip(*words: str) -> str:
    """Run ``ip``."""
    return subprocess.run(["ip", *words], check=True, capture_output=True, encoding="utf-8").stdout


def addresses() -> list[str]:
    """List the global addresses of the interface."""
    (link,) = json.loads(ip("-json", "address", "show", "dev", LINK))
    return [each["local"] for each in link["addr_info"] if each["scope"] == "global"]


@pytest.fixture
def appliance(tmp_path: Path, exabgp_python: str) -> Iterator[Appliance]:
    """Run an appliance that announces an IPv6 VIP over IPv4 sessions."""
    profile = PROFILE.replace("203.0.113.10/32", f"{VIP}/128").replace(
        "    prepend: 0\n", f"    interface: {LINK}\n    next_hop: {HOP}\n    prepend: 0\n"
    )
    body = BODY.replace("203.0.113.10:80 transparent", f"[{VIP}]:80 transparent")
    with own_network():
        ip("link", "add", LINK, "type", "veth", "peer", "name", "other")
        ip("link", "set", "other", "up")
        ip("link", "set", LINK, "up")
        one = Appliance(tmp_path, python=exabgp_python, body=body, profile=profile, ttl=3)
        with one:
            one.start_speaker()
            one.start_agent()
            yield one


def test_an_ipv6_vip(appliance: Appliance) -> None:
    """It is announced with its own next hop, and restored or withdrawn as an IPv4 VIP is."""
    wire = RouteLog(appliance.peers, f"{VIP}/128")
    wire.wait(1, 30, appliance.log())
    assert [each.route.next_hop for each in wire.logs if each.route is not None] == [HOP] * 2

    began = time.monotonic()
    ip("address", "del", f"{VIP}/128", "dev", LINK)
    until(lambda: VIP in addresses(), 20)
    again = subprocess.run(["ip", "address", "add", f"{VIP}/128", "dev", LINK], check=False)
    assert again.returncode == 2, "it is there already"
    until(lambda: time.monotonic() - began > 1.5, 3)
    assert wire.describe_changes(began) == ["nothing", "nothing"], appliance.log()

    ip("link", "set", LINK, "down")
    wire.wait(0, 20, appliance.log())
    reason = appliance.status()["services"]["web"]["reason"]
    assert reason["name"] == "vip_missing"
    # The kernel may report first that the address is gone.
    down = f"VIP {VIP}/128: {LINK} is down"
    until(lambda: down in "\n".join(appliance.status()["problems"]), 20)
    ip("link", "set", LINK, "up")
    wire.wait(1, 30, appliance.log())
    assert VIP in addresses()
    assert wire.describe_changes(began) == [BACK, BACK]
