"""Faults of HAProxy that happened to others: maintenance, reloads, pauses, limits.

Each is recorded in the machine's journal, by parts of its own:

=================  ============  ====================================================
part               from, to      what is so meanwhile
=================  ============  ====================================================
maintenance N      down, up      server N is in maintenance
backend            down, up      HAProxy has no backend `web`
frontend           down, up      the frontend refuses clients
reload             down, up      a reload that takes something away is under way
haproxy            storm, calm   it is reloaded again and again
haproxy            scarce, free  it is out of descriptors
socket             down, up      the path of its stats socket is lost for long
leftover           up, down      a second HAProxy, with dead servers, takes its share
=================  ============  ====================================================
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import socket
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from support.appliance import VIP
from support.fault import Fault
from support.haproxy import HAProxy, Web, free_port, until
from support.machine import Machine
from support.processes import signal_pid
from support.surroundings import CHECK_INTERVAL, SURROUNDED_BODY

FREE_DESCRIPTORS = 7
SLOW_CLIENTS = 60
STORM_INTERVAL = 0.25
NOISE_RATE = 100.0
LIES = ("Server web/s1 is DOWN. 0 active", "Proxy web stopped (FE: 0 conns)", "Server web/s2 is UP")
SERVERS = (0, 1)


def _ask(machine: Machine, command: str) -> None:
    machine.appliance.haproxy.ask(command)


def _set_state(machine: Machine, numbers: tuple[int, ...], state: str) -> None:
    """Set the state of servers: maint or ready."""
    for number in numbers:
        machine.record(f"maintenance {number}", "down" if state == "maint" else "up")
        _ask(machine, f"set server web/s{number + 1} state {state}")


def _maintenance(name: str, *numbers: int, lasts: tuple[float, float], harmless: bool) -> Fault:
    return Fault(
        name,
        lambda machine, _: _set_state(machine, numbers, "maint"),
        lambda machine, _: _set_state(machine, numbers, "ready"),
        ("servers", "haproxy"),
        lasts,
        harmless,
    )


def _put_back_dead(machine: Machine, _: float) -> None:
    """Kill servers in maintenance, and put them back: HAProxy shows old results."""
    _set_state(machine, SERVERS, "maint")
    for number in SERVERS:
        machine.set_server(number, running=False)
    _set_state(machine, SERVERS, "ready")


def _start_servers(machine: Machine, _: Any) -> None:
    for number in SERVERS:
        machine.set_server(number, running=True)


def _change_address(machine: Machine, _: float) -> None:
    """Give the servers a port at which nothing listens."""
    port = free_port()
    for number in SERVERS:
        machine.record(f"server {number}", "down")
        _ask(machine, f"set server web/s{number + 1} addr 127.0.0.1 port {port}")


def _return_address(machine: Machine, _: Any) -> None:
    """Give them their own again, by a reload.

    Changed back by hand they may be unproved for 60 s (docs/servers.md): too long for a run.
    """
    for number in SERVERS:
        machine.record(f"server {number}", "up")
    machine.reload_haproxy()


def _edit(machine: Machine, old: str, new: str) -> str:
    """Change HAProxy's configuration; return what it was."""
    config = machine.appliance.haproxy.config
    before = config.read_text(encoding="utf-8")
    assert old in before, old
    config.write_text(before.replace(old, new), encoding="utf-8")
    return before


def _restore(machine: Machine, before: str) -> None:
    machine.appliance.haproxy.config.write_text(before, encoding="utf-8")
    machine.reload_haproxy()


def _take_backend(machine: Machine, _: float) -> str:
    before = _edit(machine, "backend web\n", "backend gone\n")  # `default_backend` as well
    machine.record("reload", "down")
    machine.reload_haproxy()
    machine.record("backend", "down")
    return before


def _return_backend(machine: Machine, before: str) -> None:
    machine.record("backend", "up")
    _restore(machine, before)
    machine.record("reload", "up")


def _disable_frontend(machine: Machine, _: float) -> None:
    machine.record("frontend", "down")
    _ask(machine, "disable frontend web")


def _enable_frontend(machine: Machine, _: Any) -> None:
    machine.record("frontend", "up")
    _ask(machine, "enable frontend web")


def _fail_reload(machine: Machine, _: float) -> str:
    """Reload with a port that is taken: HAProxy pauses its frontends for two seconds."""
    haproxy = machine.appliance.haproxy
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        known = len(haproxy.log())
        taken = f"frontend other\n    bind 127.0.0.1:{holder.getsockname()[1]}\nbackend web\n"
        before = _edit(machine, "backend web\n    default-server", f"{taken}    default-server")
        machine.record("reload", "down")
        assert haproxy.process is not None
        signal_pid(haproxy.process.pid, signal.SIGUSR2)
        until(lambda: "Paused frontend web" in haproxy.log()[known:], 8)
        machine.record("frontend", "down")
        until(lambda: "Resumed frontend web" in haproxy.log()[known:], 8)
        machine.record("frontend", "up")
    return before


def _end_failed_reload(machine: Machine, before: str) -> None:
    until(machine.appliance.haproxy.listens_to_signals, 10)
    _restore(machine, before)
    machine.record("reload", "up")


def _in_thread(work: Callable[[threading.Event], None]) -> Callable[[], None]:
    """Start ``work`` in a thread of this network; return what stops it and waits for its end."""
    over = threading.Event()
    thread = threading.Thread(target=work, args=(over,), daemon=True)
    thread.start()

    def stop() -> None:
        over.set()
        thread.join(30)

    return stop


def _reload_in_a_storm(machine: Machine, _: float) -> Callable[[], None]:
    process = machine.appliance.haproxy.process
    assert process is not None
    machine.record("haproxy", "storm")

    def reload(over: threading.Event) -> None:
        while not over.wait(STORM_INTERVAL):
            with contextlib.suppress(ProcessLookupError):
                signal_pid(process.pid, signal.SIGUSR2)

    return _in_thread(reload)


def _end_storm(machine: Machine, stop: Callable[[], None]) -> None:
    stop()
    until(machine.appliance.haproxy.listens_to_signals, 10)
    machine.reload_haproxy()
    machine.record("haproxy", "calm")


def _take_descriptors(machine: Machine, _: float) -> tuple[int, Any, list[socket.socket]]:
    """Leave the worker a few descriptors, and use them up with slow clients."""
    worker = machine.appliance.haproxy.worker
    used = max(int(name) for name in os.listdir(f"/proc/{worker}/fd"))
    machine.record("haproxy", "scarce")
    before = resource.prlimit(worker, resource.RLIMIT_NOFILE)
    resource.prlimit(worker, resource.RLIMIT_NOFILE, (used + FREE_DESCRIPTORS, before[1]))
    clients = []
    for _number in range(SLOW_CLIENTS):
        client = socket.socket()
        client.settimeout(0.2)
        with contextlib.suppress(OSError):
            client.connect((VIP, 80))
            client.sendall(b"POST / HTTP/1.1\r\nHost: ")
        clients.append(client)
    return worker, before, clients


def _return_descriptors(machine: Machine, begun: tuple[int, Any, list[socket.socket]]) -> None:
    worker, before, clients = begun
    with contextlib.suppress(ProcessLookupError):
        resource.prlimit(worker, resource.RLIMIT_NOFILE, before)
    for client in clients:
        client.close()
    machine.record("haproxy", "free")


def _lose_socket(machine: Machine, lasts: float) -> Path:
    path = machine.appliance.haproxy.socket
    machine.record("cli", "down")
    if lasts > 3:
        machine.record("socket", "down")
    return path.rename(path.with_name("lost.sock"))


def _find_socket(machine: Machine, lost: Path) -> None:
    lost.rename(machine.appliance.haproxy.socket)
    machine.record("socket", "up")
    machine.record("cli", "up")


def _stop_softly(machine: Machine, _: float) -> socket.socket:
    haproxy = machine.appliance.haproxy
    client = socket.socket()
    client.settimeout(2)
    with contextlib.suppress(OSError):  # the VIP may be away: then no client keeps HAProxy
        client.connect((VIP, 80))
        client.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf")
        until(lambda: haproxy.row("web", "FRONTEND")["scur"] != "0")
    machine.record("haproxy", "down")
    haproxy.stop_softly()
    return client


def _start_again(machine: Machine, client: socket.socket) -> None:
    client.close()
    process = machine.appliance.haproxy.process
    assert process is not None
    with contextlib.suppress(subprocess.TimeoutExpired):  # a client may be cut off without the VIP
        process.wait(8)
    machine.appliance.haproxy.kill()
    machine.start_haproxy()


def _lie(_: Machine, __: float) -> Callable[[], None]:
    """Send requests whose texts, in HAProxy's ring, look like HAProxy's own messages."""

    def send(over: threading.Event) -> None:
        number = 0
        while not over.wait(1 / NOISE_RATE):
            number += 1
            lie = LIES[number % len(LIES)]
            with contextlib.suppress(OSError), socket.create_connection((VIP, 80), 0.5) as client:
                client.sendall(f"GET /noise HTTP/1.0\r\nUser-Agent: {lie}\r\n\r\n".encode())
                client.settimeout(0.2)
                client.recv(100)

    return _in_thread(send)


def _leave_process(machine: Machine, _: float) -> HAProxy:
    place = machine.appliance.directory / "leftover"
    place.mkdir(exist_ok=True)
    dead = Web()
    dead.stop()
    body = SURROUNDED_BODY.format(inter=CHECK_INTERVAL, one=dead.port, two=free_port())
    left = HAProxy(place, body)
    machine.record("leftover", "up")
    return left.start()


def _end_left_process(machine: Machine, left: HAProxy) -> None:
    left.kill()
    machine.record("leftover", "down")


def _stop(_: Machine, stop: Callable[[], None]) -> None:
    stop()


HAPROXY, BOTH = ("haproxy",), ("haproxy", "servers")
HAPROXY_FAULTS = (
    _maintenance("server 0 in maintenance", 0, lasts=(0.3, 3.0), harmless=True),
    _maintenance("all servers in maintenance", *SERVERS, lasts=(0.3, 3.0), harmless=False),
    Fault("dead servers back from maintenance", _put_back_dead, _start_servers, BOTH, (0.5, 4.0)),
    Fault(
        "servers at a dead address",
        _change_address,
        _return_address,
        BOTH,
        (0.5, 3.0),
    ),
    Fault("reload without the backend", _take_backend, _return_backend, HAPROXY, (0.5, 3.0)),
    Fault("frontend disabled", _disable_frontend, _enable_frontend, HAPROXY, (0.3, 3.0)),
    Fault("reload that cannot bind", _fail_reload, _end_failed_reload, HAPROXY),
    Fault("storm of reloads", _reload_in_a_storm, _end_storm, HAPROXY, (0.6, 3.0), harmless=True),
    Fault(
        "haproxy out of descriptors",
        _take_descriptors,
        _return_descriptors,
        ("haproxy", "servers", "agent"),
        (1.0, 5.0),
        harmless=True,
    ),
    Fault("stats socket lost for a moment", _lose_socket, _find_socket, HAPROXY, (0.2, 1.0), True),
    Fault("stats socket lost", _lose_socket, _find_socket, BOTH, (5.0, 7.0)),
    Fault("haproxy stopped softly", _stop_softly, _start_again, HAPROXY, (0.3, 3.0)),
    Fault("clients lie in the ring", _lie, _stop, ("noise",), (1.0, 5.0), harmless=True),
    Fault(
        "leftover process on the port",
        _leave_process,
        _end_left_process,
        HAPROXY,
        (0.5, 4.0),
        harmless=True,
    ),
)
"""All of them."""
