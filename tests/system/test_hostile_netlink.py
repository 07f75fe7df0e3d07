"""Messages of netlink that no reader expects: the VIP stays, and the agent goes on."""

from __future__ import annotations

import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

from support.appliance import VIP, Appliance, own_network
from support.peer import wait_for
from support.processes import signal_pid
from support.route_log import RouteLog

pytestmark = pytest.mark.root

PREFIX = f"{VIP}/32"


def is_on_loopback() -> bool:
    """Tell whether the VIP is on the loopback."""
    shown = subprocess.run(
        ["ip", "-o", "address", "show", "dev", "lo", "to", PREFIX],
        capture_output=True,
        check=True,
    )
    return bool(shown.stdout)


def test_a_name_that_is_not_utf8_keeps_no_vip_away(tmp_path: Path) -> None:
    """The VIP is removed, and such an interface made, before the agent reads either."""  # L2
    with own_network(), Appliance(tmp_path) as one:
        one.start()
        assert one.agent is not None
        wire, began = RouteLog(one.peers, PREFIX), time.monotonic()
        signal_pid(one.agent.pid, signal.SIGSTOP)
        subprocess.run(["ip", "address", "del", PREFIX, "dev", "lo"], check=True)
        command = [b"ip", b"link", b"add", b"\xff\xfebad", b"type", b"veth"]
        subprocess.run([*command, b"peer", b"name", b"other"], check=True)
        signal_pid(one.agent.pid, signal.SIGCONT)
        wait_for(is_on_loopback, 20, one.log())
        assert not wire.changes(began)


def test_what_another_process_sends_by_netlink(tmp_path: Path) -> None:
    """A message of length 0 to each netlink socket there is; the agent goes on."""  # L2
    with own_network(), Appliance(tmp_path) as one:
        one.start()
        wire, began = RouteLog(one.peers, PREFIX), time.monotonic()
        table = Path("/proc/thread-self/net/netlink").read_text(encoding="utf-8")
        rows = [line.split() for line in table.splitlines()[1:]]
        ports = [int(row[2]) for row in rows if row[1] == "0" and row[2] != "0"]
        assert ports
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as sender:
            for port in ports:
                sender.sendto(b"\0" * 16, (port, 0))
        subprocess.run(["ip", "address", "del", PREFIX, "dev", "lo"], check=True)
        wait_for(is_on_loopback, 20, one.log())
        assert one.status()["services"]["web"]["level"] == "preferred"
        assert not wire.changes(began)
