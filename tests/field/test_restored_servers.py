"""A state file gives a new worker of HAProxy the check results of an old one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.appliance import Appliance, own_network
from support.haproxy import until

pytestmark = pytest.mark.root

BODY = """\
backend web
    load-server-state-from-file local
    server-state-file-name DIR/servers.state
    default-server check inter {inter} rise 1 fall 2
    server s1 127.0.0.1:{one}
    server s2 127.0.0.1:{two}
frontend web
    bind 203.0.113.10:80 transparent
    default_backend web
"""


@pytest.fixture(autouse=True)
def network() -> Iterator[None]:
    """Run each test in its own network."""
    with own_network():
        yield


def count_announcements(one: Appliance) -> int:
    """Count the announcements that the peers have heard so far."""
    return sum(len(update.announced) for peer in one.peers for update in peer.updates)


def store_state(one: Appliance) -> None:
    """Write the file as a unit's ExecReload or ExecStop does."""
    (one.directory / "servers.state").write_text(
        one.haproxy.ask("show servers state"), encoding="utf-8"
    )


# haproxy issues 76 and 1387: the file is read after a cold start too, however old it is.
def test_a_cold_start_with_the_results_of_an_earlier_day(tmp_path: Path) -> None:
    """Servers that died since then are shown as UP and checked; nothing is announced on it."""
    with Appliance(tmp_path, body=BODY.replace("DIR", str(tmp_path)), inter="1500ms") as one:
        one.start()
        until(lambda: int(one.haproxy.row("web", "s2")["lastchg"]) > 1, 20)
        store_state(one)
        one.haproxy.stop()
        one.wait_path(0)
        for backend in one.backends:
            backend.stop()
        heard = count_announcements(one)
        one.haproxy.start()
        assert one.haproxy.row("web", "s1")["status"].startswith("UP"), "the case of this test"
        until(lambda: {one.haproxy.row("web", it)["status"] for it in ("s1", "s2")} == {"DOWN"}, 30)
        assert count_announcements(one) == heard


# haproxy issue 2085: the file is there so that a reload changes nothing.
def test_a_reload_with_the_results_of_the_worker_before(tmp_path: Path) -> None:
    """The route stays, and a server in maintenance stays in the share."""
    with Appliance(tmp_path, body=BODY.replace("DIR", str(tmp_path)), inter="500ms") as one:
        one.start()
        until(lambda: int(one.haproxy.row("web", "s2")["lastchg"]) > 1, 20)
        one.haproxy.ask("set server web/s1 state maint")
        until(lambda: "1 of 2 usable" in str(one.status()["services"]["web"]), 20, 0.05)
        store_state(one)
        heard = [len(peer.updates) for peer in one.peers]
        one.haproxy.reload()
        assert one.haproxy.row("web", "s1")["status"] == "MAINT", "the case of this test"
        checked = int(one.haproxy.row("web", "s2")["lastchg"]) + 2
        until(lambda: int(one.haproxy.row("web", "s2")["lastchg"]) > checked, 20)
        assert "of 2 usable" in str(one.status()["services"]["web"])
        assert [len(peer.updates) for peer in one.peers] == heard
