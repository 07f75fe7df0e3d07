"""What is called dropped by the firewall is what the kernel drops: real packets, real rules."""

from __future__ import annotations

import contextlib
import json
import select
import shutil
import socket
import subprocess
import time
from ipaddress import ip_address

import pytest

from anycastd.evidence.machine.firewall import Packet, find_drop
from support.checked import a_machine, ip

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(shutil.which("nft") is None, reason="needs nft: install nftables"),
]

NEIGHBOR = "10.0.1.4"
SYN = Packet("output", 4, ip_address("10.0.2.10"), ip_address(NEIGHBOR), None, 179, "new")
# Rules of a chain at the output hook, its policy, and whether the packet is dropped for certain.
RULES: list[tuple[str, str, bool]] = [
    ("", "accept", False),
    ("", "drop", True),
    ("tcp dport 179 drop", "accept", True),
    ("tcp dport 179 reject with tcp reset", "accept", True),
    ("tcp dport { 22, 170-180 } drop", "accept", True),
    ("tcp dport != 179 drop", "accept", False),
    ("ip daddr 10.0.0.0/16 tcp dport 179 accept", "drop", False),
    ("ip daddr 10.0.2.0/24 accept", "drop", True),
    ("ip daddr { 10.0.1.1-10.0.1.9 } drop", "accept", True),
    ("ip saddr 10.0.2.10 ip daddr != 10.0.1.4 drop", "accept", False),
    ("ct state established,related accept", "drop", True),
    ("ct state new accept", "drop", False),
    ("ct state vmap { new : drop, established : accept }", "accept", True),
    ("oifname lo accept", "drop", True),
    ("oifname nic accept", "drop", False),
    ("meta l4proto tcp accept", "drop", False),
    ("meta nfproto ipv6 accept", "drop", True),
    ("meta mark 5 drop; udp dport 179 drop", "accept", False),
    ("limit rate 100/second accept", "drop", False),
    ("jump other; drop", "accept", False),
    ("goto empty", "drop", True),
    ("tcp dport vmap { 179 : goto dropped, 80 : accept }", "accept", True),
]
OTHERS = {"other": "tcp dport 179 accept", "empty": "return", "dropped": "counter drop"}


def load(rules: str, policy: str) -> None:
    """Load the rules into a chain at the output hook, beside chains to jump to."""
    text = "flush ruleset\ntable inet f {\n"
    for name, body in OTHERS.items():
        text += f"chain {name} {{ {body}; }}\n"
    base = f"type filter hook output priority 0; policy {policy}"
    text += f"chain c {{ {base}; {rules or 'counter'}; }}\n}}\n"
    subprocess.run(["nft", "-f", "-"], input=text, encoding="utf-8", check=True)


def is_sent(wire: socket.socket) -> bool:
    """Begin a connection to the neighbor; return whether its packet is on the wire."""
    with socket.socket() as client:
        client.setblocking(False)
        client.bind(("10.0.2.10", 0))
        port = client.getsockname()[1].to_bytes(2, "big")
        with contextlib.suppress(OSError):  # it goes on, or the rules refuse it
            client.connect((NEIGHBOR, 179))
        end = time.monotonic() + 0.15
        # What has come is read in any case, also where this process had no time until now.
        while select.select([wire], [], [], max(0.0, end - time.monotonic()))[0]:
            frame = wire.recv(2048)
            if frame[34:38] == port + (179).to_bytes(2, "big"):
                return True
    return False


def test_what_is_called_dropped_is_not_sent() -> None:
    """Each set of rules: the judgement is as expected, and a packet called dropped never leaves."""
    with a_machine(), socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0x0008) as wire:
        wire.bind(("cable", 0x0800))
        ip("neighbour", "add", "10.0.2.1", "lladdr", "02:00:00:00:00:01", "dev", "nic")
        for rules, policy, expected in RULES:
            load(rules, policy)
            listed = subprocess.run(
                ["nft", "--json", "list", "ruleset"], capture_output=True, check=True
            )
            found = find_drop(tuple(json.loads(listed.stdout)["nftables"]), SYN)
            assert (found is not None) == expected, rules
            assert is_sent(wire) == (not expected), rules
