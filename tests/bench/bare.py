"""The floor: a bare ExaBGP, from a command on its API to the UPDATE at a peer.

Also a program: as ExaBGP's API child it announces and withdraws one route again and again, and
writes when it did.
"""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from pathlib import Path

from appliance import OWN, PEERS, VIP
from bgp import Update
from peer import Peer, wait_for

PACE = 0.125
"""Seconds between two commands."""

CONF = """\
process bare {{
    run {python} {here} {log} {trials};
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


def child(log: str, trials: int) -> None:
    """Announce and withdraw ``trials`` times, an eighth of a second apart; log the times."""
    heard = b""
    while not all(f"neighbor {peer} up".encode() in heard for peer in PEERS):
        heard += os.read(0, 65536)
    with Path(log).open("w", encoding="ascii") as stream:
        for trial in range(trials):
            for word in ("announce", "withdraw"):
                at = time.monotonic()
                for peer in PEERS:
                    line = f"neighbor {peer} {word} route {VIP}/32 next-hop {OWN}"
                    sys.stdout.write(f"{line} as-path [ 65010 ]\n")
                sys.stdout.flush()
                stream.write(f"{trial} {word} {at}\n")
                stream.flush()
                while (left := at + PACE - time.monotonic()) > 0:
                    if select.select([0], [], [], left)[0]:
                        os.read(0, 65536)
    while os.read(0, 65536):
        pass


def floor(directory: Path, python: str, trials: int) -> list[float]:
    """Measure ``trials`` withdrawals: seconds from the command until the last peer heard it."""
    conf = directory / "bare.conf"
    log = directory / "bare.log"
    head = CONF.format(python=sys.executable, here=Path(__file__).resolve(), log=log, trials=trials)
    conf.write_text(head + "".join(NEIGHBOR.format(peer=peer, own=OWN) for peer in PEERS))
    ours = str(Path(__file__).resolve().parents[2])
    environment = os.environ | {
        "PYTHONPATH": ours + os.pathsep + str(Path(__file__).resolve().parents[1]),
        "exabgp_api_cli": "false",
        "exabgp_daemon_user": "root",
        "exabgp_log_level": "CRITICAL",
        "exabgp_tcp_bind": "",
    }
    peers = [Peer(address, 179) for address in PEERS]
    for peer in peers:
        peer.__enter__()
    with (directory / "bare.err").open("wb") as errors:
        process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", python, "-m", "anycastd.shim", str(conf)],
            stdin=subprocess.DEVNULL,
            stdout=errors,
            stderr=errors,
            env=environment,
        )
    try:
        wait_for(
            lambda: log.exists() and log.read_text().count("withdraw") >= trials,
            30 + trials,
            "the bare ExaBGP's trials",
        )
        for peer in peers:
            peer.wait(lambda it: len(_withdrawals(it)) >= trials, 5, "its withdrawals")
    finally:
        process.kill()
        process.wait()
        for peer in peers:
            peer.__exit__(None, None, None)
    said = [float(line.split()[2]) for line in log.read_text().splitlines() if "withdraw" in line]
    heard = [_withdrawals(peer)[-trials:] for peer in peers]
    return [max(times) - at for at, *times in zip(said, *heard, strict=True)]


def _withdrawals(peer: Peer) -> list[float]:
    return [update.at for update in peer.of(Update) if update.withdrawn]


if __name__ == "__main__":
    child(sys.argv[1], int(sys.argv[2]))
