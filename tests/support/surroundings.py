"""What surrounds an appliance that is broken at random: its log, its disk and its clock can fail.

Also a HAProxy whose clients may write into its ring, a service that needs names which HAProxy
refuses, and services whose routes rest on checks.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Self

from support.appliance import BODY, PROFILE, VIP, Appliance, own_network
from support.bgp_wire import Update
from support.checked_services import CHECKS, SERVICES, VIPS, CheckedServices
from support.machine import Machine

WEB = ("127.0.0.1", 9480)
"""Where the agent's HTTP listens."""
PIPE = 4096
NOISY = """\
    option httplog
    log-format "%ci:%cp [%tr] %ft %b/%s %ST {{%[capture.req.hdr(0)]}} %r"
    http-request capture req.fhdr(User-Agent) len 128
    http-request set-log-level err if {{ path /noise }}
    default_backend web
"""
NEVER = """
  never:
    vip: 203.0.113.11/32
    serve: {{all: [{{backend: list, usable: 50%, by: weight}}, {{backend: '-1'}}]}}
    maintenance: {{map: /none.map, key: never}}
    standby: {{prepend: 6, after: 0.2}}
    failed: withdraw
    return: {{rise: 0.5, hold_down: 1, hold_down_max: 2, spacing: 0.5}}
"""
CHECK_INTERVAL = "500ms"
"""So long that a server which is put back is not checked at once: what it shows is old."""
SURROUNDED_BODY = BODY.replace(
    "fall 1 rise 1", "fastinter 50ms downinter 50ms fall 2 rise 1"
).replace("    default_backend web\n", NOISY)
SURROUNDED_PROFILE = (
    PROFILE.replace(
        "services:\n", f"web: {{{{listen: '{WEB[0]}:{WEB[1]}'}}}}\n{CHECKS}services:\n", 1
    )
    # So short that what is believed without a check is announced, and seen.
    .replace("after: 0.2", "after: 0.02")
    .rstrip()
    + NEVER.rstrip()
    + SERVICES
)

# A sitecustomize.py: the wall clock is off by the size of a file, less NO_STEP.  It opens nothing,
# since it must work in a process without descriptors.
NO_STEP = 3600
STEPPED = """\
import os, time
real = time.time
def stepped():
    try:
        return real() + os.stat({mark!r}).st_size - {no_step}
    except OSError:
        return real()
time.time = stepped
"""


class LogReader:
    """Reads a pipe and appends to a file, until it is stopped: then the pipe is full.

    ``writer`` is the pipe's end for those who log; a context manager.
    """

    def __init__(self, path: Path) -> None:
        self._reader, self.writer = os.pipe()
        fcntl.fcntl(self.writer, fcntl.F_SETPIPE_SZ, PIPE)
        self._path = path
        self._over = False
        self._may_read = threading.Event()
        self._may_read.set()
        self._thread = threading.Thread(target=self._run, name="log-reader", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over = True
        self._may_read.set()
        self._thread.join(5)
        for descriptor in (self._reader, self.writer):
            os.close(descriptor)

    def stop(self) -> None:
        """Read no more, and fill the pipe: the next write to it waits."""
        self._may_read.clear()
        # A description of its own: that of the loggers stays one that waits.
        ours = os.open(f"/proc/self/fd/{self.writer}", os.O_WRONLY | os.O_NONBLOCK)
        try:
            for size in (512, 1):
                with contextlib.suppress(BlockingIOError):
                    while True:
                        os.write(ours, b"\n" * size)
        finally:
            os.close(ours)

    def resume(self) -> None:
        """Read on."""
        self._may_read.set()

    def _run(self) -> None:
        with self._path.open("ab") as log:
            while not self._over:
                self._may_read.wait()
                if select.select([self._reader], [], [], 0.05)[0]:
                    log.write(os.read(self._reader, PIPE).lstrip(b"\n"))
                    log.flush()


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The reader of all logs, the disk of the state directory, and the file that steps clocks.

    Also the services that checks decide.
    """

    log: LogReader
    disk: Path
    clock: Path
    checked: CheckedServices

    def fill_disk(self) -> None:
        """Leave no byte on the disk."""
        with contextlib.suppress(OSError), (self.disk / "filler").open("wb", buffering=0) as file:
            while True:
                file.write(b"x" * 1024)

    def free_disk(self) -> None:
        """Take back what ``fill_disk`` took."""
        (self.disk / "filler").unlink(missing_ok=True)

    def step_clock(self, seconds: int) -> None:
        """Set by how many seconds the clock of every Python process is wrong, 0 for none."""
        os.truncate(self.clock, NO_STEP + seconds)


class SurroundedAppliance(Appliance):
    """An appliance whose processes write their log to a ``LogReader``."""

    log_reader: LogReader | None = None

    def open_log(self, place: str) -> IO[bytes]:
        """Open the log reader's pipe."""
        if self.log_reader is None:
            return super().open_log(place)
        return os.fdopen(os.dup(self.log_reader.writer), "wb", buffering=0)


@contextlib.contextmanager
def _own_disk(place: Path) -> Iterator[Path]:
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "state", str(place)], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


@contextlib.contextmanager
def run_surrounded(place: Path, python: str, **settings: Any) -> Iterator[Machine]:
    """Run a machine with its surroundings, in a network of its own, for a ``with`` block."""
    hook, clock = place / "hook", place / "clock"
    hook.mkdir()
    clock.touch()
    (hook / "sitecustomize.py").write_text(
        STEPPED.format(mark=str(clock), no_step=NO_STEP), encoding="utf-8"
    )
    with (
        own_network(),
        _own_disk(place / "state") as disk,
        LogReader(place / "log.err") as log,
        CheckedServices(place) as checked,
    ):
        appliance = SurroundedAppliance(
            place,
            python=python,
            inter=CHECK_INTERVAL,
            body=SURROUNDED_BODY,
            profile=SURROUNDED_PROFILE,
            **(checked.settings | settings),
        )
        appliance.log_reader = log
        checked.watch(appliance.peers)
        around = Surroundings(log, disk, clock, checked)
        around.step_clock(0)
        path = os.pathsep.join((str(hook), appliance.environment["PYTHONPATH"]))
        with Machine(appliance, environment={"PYTHONPATH": path}, surroundings=around) as machine:
            yield machine


def list_other_prefixes(machine: Machine) -> set[str]:
    """List what any peer was ever told to reach, apart from the VIPs of services that serve."""
    known = {f"{vip}/32" for vip in (VIP, *VIPS.values())}
    return {
        route.prefix
        for peer in machine.appliance.peers
        for event in peer.list_events(Update)
        for route in event.announced
    } - known
