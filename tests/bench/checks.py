"""Measure the two sets of check settings in the shipped HAProxy file, for its comments.

``python tests/bench/checks.py [TRIALS]`` as root.  HAProxy runs with the shipped file in one
network namespace, its two servers in another, with a bridge between them.  With 100 requests a
second and with none, both servers are killed, both stop answering, or the bridge drops everything
for a short time.  Prints when HAProxy had no server left, and how many requests failed.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from support.haproxy import until

SHIPPED = Path(__file__).resolve().parent.parent.parent / "haproxy" / "haproxy.cfg"
BINARY = os.environ.get("HAPROXY", "haproxy")
NEAR, BETWEEN, FAR = (f"anycastd-checks-{part}" for part in ("near", "between", "far"))
RATE = 100.0
SERVERS = ("10.0.3.11", "10.0.3.12")
FAULTS = ("kill", "silent", "blip 0.1", "blip 0.2", "blip 0.5", "blip 1", "blip 2")


def ip(*args: str) -> None:
    """Run ``ip``."""
    subprocess.run(["ip", *args], check=True)


@contextlib.contextmanager
def network() -> Iterator[None]:
    """Create the namespaces, and remove them at the end."""
    names = (NEAR, BETWEEN, FAR)
    try:
        for name in names:
            ip("netns", "add", name)
        ip("-n", BETWEEN, "link", "add", "bridge", "type", "bridge")
        ip("-n", BETWEEN, "link", "set", "bridge", "up")
        for name, port, addresses in (
            (NEAR, "near", ["10.0.3.1"]),
            (FAR, "far", list(SERVERS)),
        ):
            ip("link", "add", "net", "netns", name, "type", "veth", "peer", port, "netns", BETWEEN)
            ip("-n", BETWEEN, "link", "set", port, "master", "bridge", "up")
            ip("-n", name, "link", "set", "lo", "up")
            ip("-n", name, "link", "set", "net", "up")
            for address in addresses:
                ip("-n", name, "address", "add", f"{address}/24", "dev", "net")
        yield
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "delete", name], check=False)


def inside(namespace: str, *argv: str) -> list[str]:
    """Return the command that runs ``argv`` in a namespace."""
    return ["ip", "netns", "exec", namespace, *argv]


@dataclass
class Outcome:
    """One trial: milliseconds until no server was left and until one was up again; requests."""

    none_left: float | None
    back: float | None
    failed: int
    slowest: float


def trial(settings: str, fault: str, number: int, *, traffic: bool) -> Outcome:
    """Cause the fault once, and watch for some seconds."""
    with tempfile.TemporaryDirectory() as directory, contextlib.ExitStack() as ends:
        path = Path(directory) / "stats.sock"
        servers = [start(ends, FAR, "serve", address) for address in SERVERS]
        for server in servers:
            assert server.stdout is not None
            server.stdout.readline()
        config = Path(directory) / "haproxy.cfg"
        config.write_text(adapt_file(settings, path), encoding="utf-8")
        haproxy = subprocess.Popen(
            inside(NEAR, BINARY, "-W", "-f", str(config)), stderr=subprocess.DEVNULL
        )
        ends.callback(haproxy.wait)
        ends.callback(haproxy.terminate)
        until(
            lambda: path.exists() and ask(path, "show stat -1 4 -1").count(",L4OK,") == 2, 10, 0.01
        )
        events = Events(path)
        client = start(ends, NEAR, "ask") if traffic else None
        # Begin at a different moment between two checks each time.
        wait_until(time.monotonic() + 1.2 + number * 0.137 % 1.0)
        began_at = time.monotonic()
        if fault == "kill":
            for server in servers:
                server.kill()
            wait_until(began_at + 3)
        else:
            ip("-n", BETWEEN, "link", "set", "far", "down")
            kind, _, length = fault.partition(" ")
            wait_until(began_at + (float(length) if kind == "blip" else 5))
            ip("-n", BETWEEN, "link", "set", "far", "up")
            wait_until(time.monotonic() + (3 if kind == "blip" else 0))
        requests: list[tuple[float, float, str]] = []
        if client is not None:
            requests = json.loads(client.communicate(b"stop")[0])
        return Outcome(
            events.first_after("has no server available", began_at),
            events.first_after(" is UP", began_at),
            sum(status != "200" for _, _, status in requests),
            max((1000 * (end - start) for start, end, _ in requests), default=0.0),
        )


def start(ends: contextlib.ExitStack, namespace: str, *args: str) -> subprocess.Popen[bytes]:
    """Run this file as a server or as clients in a namespace."""
    process = subprocess.Popen(
        inside(namespace, sys.executable, __file__, *args),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    ends.callback(process.wait)
    ends.callback(process.kill)
    return process


def adapt_file(settings: str, path: Path) -> str:
    """Return the shipped file with one set of settings and the paths of this test."""
    text = SHIPPED.read_text(encoding="utf-8").replace(
        "backend web from calm", f"backend web from {settings}"
    )
    text = re.sub(r"^( +)(user|group|chroot|log /dev/log) .*$", "", text, flags=re.MULTILINE)
    text = text.replace("mode 660 group haproxy level operator", "level admin")
    return text.replace("/run/haproxy/anycastd.sock", str(path))


def ask(path: Path, command: str) -> str:
    """Send a command to HAProxy and return its answer; empty while it does not answer."""
    answer = b""
    with socket.socket(socket.AF_UNIX) as sock, contextlib.suppress(OSError):
        sock.connect(str(path))
        sock.sendall(command.encode() + b"\n")
        while data := sock.recv(1 << 16):
            answer += data
    return answer.decode()


class Events:
    """The lines of HAProxy's event ring, each with the time at which it came."""

    def __init__(self, path: Path) -> None:
        self.lines: list[tuple[float, str]] = []
        self._sock = socket.socket(socket.AF_UNIX)
        self._sock.connect(str(path))
        self._sock.sendall(b"show info;show events anycastd -w -n\n")
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        with contextlib.suppress(OSError):
            while data := self._sock.recv(1 << 16):
                now = time.monotonic()
                self.lines += [(now, line) for line in data.decode().splitlines()]

    def first_after(self, text: str, began_at: float) -> float | None:
        """Return the ms from ``began_at`` to the first line with a text; None if there is none."""
        found = [when for when, line in self.lines if text in line and when > began_at]
        return 1000 * (found[0] - began_at) if found else None


def wait_until(moment: float) -> None:
    """Wait until a time of the monotonic clock."""
    until(lambda: time.monotonic() >= moment, moment - time.monotonic() + 10, 0.001)


def summary(values: list[float]) -> str:
    """Return minimum, maximum and median as text."""
    if not values:
        return "never"
    return f"{min(values):.0f} to {max(values):.0f} ({statistics.median(values):.0f}) ms"


def main(trials: int) -> None:
    """Print the table."""
    with network():
        for settings in ("calm", "fast"):
            for fault, traffic in [(f, True) for f in FAULTS] + [(f, False) for f in FAULTS[:2]]:
                found = [trial(settings, fault, n, traffic=traffic) for n in range(trials)]
                left = [each.none_left for each in found if each.none_left is not None]
                back = [each.back for each in found if each.back is not None]
                print(
                    f"{settings}, {fault}, {RATE if traffic else 0:.0f} requests/s: "
                    f"no server in {len(left)} of {trials}, after {summary(left)}; "
                    f"back after {summary(back)}; "
                    f"failed {statistics.median(each.failed for each in found):.0f}, "
                    f"slowest {max(each.slowest for each in found):.0f} ms",
                    flush=True,
                )


# Programs in the namespaces: a server, and the clients ------------------------------------------


async def serve(address: str) -> None:
    """Answer requests on port 80."""

    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                await reader.readuntil(b"\r\n\r\n")
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\n")
        writer.close()

    server = await asyncio.start_server(one, address, 80)
    print("ready", flush=True)
    await server.serve_forever()


async def clients() -> None:
    """Send a request each 10 ms until something is on standard input."""
    done: list[tuple[float, float, str]] = []

    async def one() -> None:
        began, status = time.monotonic(), "none"
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(5):
                reader, writer = await asyncio.open_connection("127.0.0.1", 80)
                writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                status = (await reader.readline()).decode().split(" ")[1]
                writer.close()
        done.append((began, time.monotonic(), status))

    stop = asyncio.Event()
    asyncio.get_running_loop().add_reader(0, stop.set)
    tasks = []
    due = asyncio.get_running_loop().time()
    while not stop.is_set():
        tasks.append(asyncio.create_task(one()))
        due += 1 / RATE
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(due):
                await stop.wait()
    await asyncio.gather(*tasks)
    print(json.dumps(done))


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["serve", address]:
            asyncio.run(serve(address))
        case ["ask"]:
            asyncio.run(clients())
        case [] | [_]:
            main(int((*sys.argv[1:], "10")[0]))
