"""The floor: a bare ExaBGP, from a command on its API to the UPDATE at a peer.

This runs ExaBGP's own main without the shim, with its defaults, and a minimal API child.  The child
writes one line for each route, to all neighbors at once, and reads the answers.  The child is this
file as a program; it announces and withdraws repeatedly, and logs the times.
"""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from ipaddress import IPv4Address
from pathlib import Path

from support.appliance import OWN, PEERS
from support.bgp_wire import Update
from support.peer import Peer, wait_for

COMMAND_INTERVAL = 0.125
"""Seconds between two commands; for each fifty routes as much is added."""

CONF = """\
process bare {{
    run {python} {here} {log} {trials} {routes};
    encoder text;
}}
"""
NEIGHBOR = """\
neighbor {peer} {{
    router-id {own};
    local-address {own};
    local-as 65010;
    peer-as 65515;
    hold-time 9;
    family {{ ipv4 unicast; }}
    api {{ processes [ bare ]; neighbor-changes; }}
}}
"""


MAIN = """\
import sys
from exabgp.application.main import main
from exabgp.version import release
start = ["--env", "/dev/null"] if release.startswith("4.") else ["server"]
sys.argv = ["exabgp", *start, sys.argv[1]]
sys.exit(main())
"""

HERE = Path(__file__).resolve()
ENVIRONMENT = {
    "PYTHONPATH": os.pathsep.join(map(str, (HERE.parents[2], HERE.parents[1]))),
    "EXABGP_ENVFILE": "/dev/null",
    "exabgp_api_cli": "false",
    "exabgp_daemon_user": "root",
    "exabgp_log_destination": "stderr",
    "exabgp_log_level": "WARNING",  # the only level that 4.2 and 5.0 both know
    "exabgp_tcp_bind": "",
}


def service_prefix(number: int) -> str:
    """Return the VIP of a service by its number; the first is the appliance's own."""
    return f"{IPv4Address('203.0.113.10') + number}/32"


def run_child(log: str, trials: int, routes: int) -> None:
    """Announce and withdraw ``routes`` routes ``trials`` times; write the times to ``log``."""
    received = b""
    while not all(f"neighbor {peer} up".encode() in received for peer in PEERS):
        received += os.read(0, 65536)
    with Path(log).open("w", encoding="ascii") as stream:
        for trial in range(trials):
            for action in ("announce", "withdraw"):
                at = time.monotonic()
                path = " as-path [ 65010 ]" if action == "announce" else ""
                for number in range(routes):
                    print(f"{action} route {service_prefix(number)} next-hop {OWN}{path}")
                sys.stdout.flush()
                stream.write(f"{trial} {action} {at}\n")
                stream.flush()
                while (left := at + COMMAND_INTERVAL * (1 + routes / 50) - time.monotonic()) > 0:
                    if select.select([0], [], [], left)[0]:
                        os.read(0, 65536)
    while os.read(0, 65536):
        pass


def measure_floor(directory: Path, python: str, trials: int, routes: int = 1) -> list[float]:
    """Measure ``trials`` withdrawals of ``routes`` routes at once.

    Returns the seconds from each command until the last peer has received the last withdrawal.
    """
    conf = directory / "bare.conf"
    log = directory / "bare.log"
    log.unlink(missing_ok=True)
    head = CONF.format(python=sys.executable, here=HERE, log=log, trials=trials, routes=routes)
    conf.write_text(
        head + "".join(NEIGHBOR.format(peer=peer, own=OWN) for peer in PEERS), encoding="utf-8"
    )
    peers = [Peer(address, 179) for address in PEERS]
    for peer in peers:
        peer.__enter__()
    with (directory / "bare.err").open("wb") as errors:
        process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", python, "-c", MAIN, str(conf)],
            stdin=subprocess.DEVNULL,
            stdout=errors,
            stderr=errors,
            env=os.environ | ENVIRONMENT,
        )
    try:
        wait_for(
            lambda: log.exists() and log.read_text(encoding="utf-8").count("withdraw") >= trials,
            30 + trials * (1 + routes / 100),
            "the bare ExaBGP's trials",
        )
        for peer in peers:
            peer.wait(lambda it: len(_completed_at(it, routes)) >= trials, 20, "its withdrawals")
    finally:
        process.kill()
        process.wait()
        for peer in peers:
            peer.__exit__(None, None, None)
    sent_at = [
        float(line.split()[2])
        for line in log.read_text(encoding="utf-8").splitlines()
        if "withdraw" in line
    ]
    received = [_completed_at(peer, routes)[-trials:] for peer in peers]
    return [max(times) - at for at, *times in zip(sent_at, *received, strict=True)]


def _completed_at(peer: Peer, routes: int) -> list[float]:
    """Return when a peer had received each complete set of ``routes`` withdrawals."""
    times: list[float] = []
    count = 0
    for update in peer.list_events(Update):
        count += len(update.withdrawn)
        if update.withdrawn and count >= routes:
            times.append(update.at)
            count = 0
    return times


if __name__ == "__main__":
    run_child(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
