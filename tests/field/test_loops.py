"""Servers of HAProxy that are HAProxy itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.appliance import OWN, VIP, Appliance, own_network
from support.haproxy import until

pytestmark = pytest.mark.root

BODY = """\
backend web
    option allbackups
    default-server check inter {inter} rise 1 fall 2
    server s1 127.0.0.1:{one}
    server s2 127.0.0.1:{two}
    server elsewhere SELF backup
frontend web
    bind 203.0.113.10:80 transparent
    bind 192.0.2.10:80
    default_backend web
"""


@pytest.fixture(autouse=True)
def network() -> Iterator[None]:
    """Run each test in its own network."""
    with own_network():
        yield


# FC-SELF: exabgp-helpers issue 14 (local clients of an anycast address never leave the host).
@pytest.mark.parametrize("address", [f"{VIP}:80", f"{OWN}:80"])
def test_a_backup_that_is_the_vip_itself(tmp_path: Path, address: str) -> None:
    """Its check passes for ever; the region withdraws all the same, and status calls it a loop."""
    with Appliance(tmp_path, body=BODY.replace("SELF", address), inter="100ms") as one:
        text = one.profile.read_text(encoding="utf-8")
        text = text.replace("    failed:", "    self_test: {tcp: 80}\n    failed:")
        one.profile.write_text(text, encoding="utf-8")
        one.start()
        until(lambda: one.haproxy.status("web/elsewhere") == "UP L4OK", 20)
        for backend in one.backends:
            backend.stop()
        one.wait_path(0, 20)
        # HAProxy goes on to use it; on a busy machine one of its checks may take too long.
        until(lambda: one.haproxy.status("web/elsewhere") == "UP L4OK", 20)
        rules = one.status()["services"]["web"]["rules"]
        (why,) = {
            each["why"]
            for rule in rules
            for each in rule.get("servers", ())
            if each["name"] == "elsewhere"
        }
        assert why.startswith(f"a loop: {address} is ")
        one.backends[0].start()
        one.wait_path(1, 30)
