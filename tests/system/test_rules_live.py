"""Rules with real parts: what a map, weights and limits change at the peers."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.appliance import BODY, PROFILE, VIP, Appliance, own_network
from support.haproxy import until

pytestmark = pytest.mark.root

MAPPED = BODY + "    http-request deny if {{ str(web),map_str({map},off) on }}\n"
FAILED = "    failed: withdraw\n"
HEALTHY = "healthy: {{backend: web, usable: 50%}}"


def replace_in_profile(old: str, new: str) -> str:
    """Return the appliance's profile with one text replaced."""
    assert old in PROFILE, old
    return PROFILE.replace(old, new)


@pytest.fixture
def mapped(tmp_path: Path) -> Iterator[Appliance]:
    """Run an appliance whose HAProxy has a maintenance map."""
    path = tmp_path / "maintenance.map"
    path.write_text("", encoding="utf-8")
    body = MAPPED.replace("{map}", str(path))
    with_map = replace_in_profile(
        FAILED, f"    maintenance: {{{{map: {path}, key: web}}}}\n{FAILED}"
    )
    with own_network(), Appliance(tmp_path, body=body, profile=with_map, ttl=2) as one:
        one.start()
        yield one


def test_a_map_takes_a_service_out_and_brings_it_back(mapped: Appliance) -> None:
    """An entry means standby; after its removal the service returns without a hold-down."""
    path = mapped.directory / "maintenance.map"
    mapped.haproxy.ask(f"add map {path} web on")
    mapped.wait_path(7)
    service = mapped.status()["services"]["web"]
    assert (service["level"], service["reason"]["name"]) == ("standby", "maintenance")
    mapped.haproxy.ask(f"del map {path} web")
    mapped.wait_path(1)
    assert "hold-down" not in mapped.log()


def test_weight_taken_away_degrades(tmp_path: Path) -> None:
    """A server with little weight counts little."""
    weighed = replace_in_profile(HEALTHY, "healthy: {{backend: web, usable: 75%, by: weight}}")
    with own_network(), Appliance(tmp_path, profile=weighed, ttl=2) as one:
        one.start()
        one.haproxy.ask("set weight web/s1 1%")
        # The default weight is 1, of which 1 % is rounded to 0.
        one.wait_path(4)
        one.haproxy.ask("set weight web/s1 100%")
        one.wait_path(1)


def test_load_degrades_and_never_withdraws(tmp_path: Path) -> None:
    """More sessions than the limit: the path is longer, but the VIP stays announced."""
    limited = replace_in_profile(HEALTHY, "healthy: {{frontend: web, sessions_below: 3}}")
    with own_network(), Appliance(tmp_path, profile=limited, ttl=2) as one:
        one.start()
        clients = [socket.create_connection((VIP, 80)) for _ in range(5)]
        try:
            one.wait_path(4)
            assert one.status()["services"]["web"]["reason"]["name"] == "overloaded"
            # The first look that saw too many may not have seen all of them.
            until(lambda: "5 sessions" in read_detail(one), 20)
        finally:
            for client in clients:
                client.close()
        one.wait_path(1)
        until(lambda: one.status()["services"]["web"]["level"] == "preferred", 20)


def read_detail(one: Appliance) -> str:
    """Read the detail of the service's reason."""
    return str(one.status()["services"]["web"]["reason"]["detail"])
