"""A real BIRD 2 on loopback, as a neighbor for tests."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from support.peer import free_port, wait_for

BOTH = {"ipv4": "", "ipv6": ""}
"""Both address families, with nothing added."""
_PATH = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"


class Bird:
    """A real BIRD 2 on loopback as one passive neighbor; a context manager.

    Needs no privilege where ``port`` is above 1023 (0: a free one): it has no kernel protocol.
    ``extra`` is added to its protocol.  The families of ``channels`` are activated there, each with
    the text that it maps to.  Entering it raises AssertionError where BIRD is not installed or does
    not start.
    """

    def __init__(
        self,
        directory: Path,
        address: str = "127.0.0.1",
        port: int = 0,
        *,
        neighbor: str = "127.0.0.1",
        neighbor_as: int = 65010,
        hold_time: int = 180,
        extra: str = "",
        channels: Mapping[str, str] = BOTH,
    ) -> None:
        self.directory, self.address = directory, address
        families = "".join(
            f"  {family} {{ {table} {channels[family]} import all; export none; }};\n"
            for family, table in (("ipv4", "igp table master4;"), ("ipv6", ""))
            if family in channels
        )
        self.port = port or free_port(address)
        self.socket = directory / f"bird-{address}.ctl"
        self._conf = directory / f"bird-{address}.conf"
        self._conf.write_text(
            f"""
log stderr all;
router id 192.0.2.254;
protocol device {{}}
protocol static defaults {{ ipv4; route 0.0.0.0/0 blackhole; }}
protocol bgp speaker {{
  local {address} port {self.port} as 65515;
  neighbor {neighbor} as {neighbor_as};
  passive; multihop; strict bind on;
  hold time {hold_time};
  graceful restart off;
  error wait time 1, 2;
  {extra}
{families}}}
""",
            encoding="utf-8",
        )
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        program = find_bird()
        if program is None:
            raise AssertionError("BIRD is not installed (apt install bird2)")
        command = [program, "-f", "-c", str(self._conf), "-s", str(self.socket)]
        command += ["-P", str(self.directory / f"bird-{self.address}.pid")]
        with (self.directory / f"bird-{self.address}.log").open("wb") as log:
            self._process = subprocess.Popen(command, stderr=log, stdout=log)
        wait_for(self._answers, 30, "BIRD's control socket")
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(30)

    def _answers(self) -> bool:
        """Return whether it listens: its socket is there before that."""
        with socket.socket(socket.AF_UNIX) as client:
            return client.connect_ex(str(self.socket)) == 0

    def ask(self, command: str) -> str:
        """Return what ``birdc COMMAND`` prints.

        Raises CalledProcessError if it fails, TimeoutExpired after 10 s.
        """
        program = shutil.which("birdc", path=_PATH)
        assert program is not None
        done = subprocess.run(
            [program, "-s", str(self.socket), *command.split()],
            capture_output=True,
            encoding="utf-8",
            timeout=10,
            check=True,
        )
        return done.stdout

    def established(self) -> bool:
        """Return whether BIRD has the session."""
        return "Established" in self.ask("show protocols speaker")

    def imported(self) -> int:
        """Return how many updates of routes BIRD has taken from the session so far."""
        lines = self.ask("show protocols all speaker").splitlines()
        counts = [int(line.split()[2]) for line in lines if "Import updates:" in line]
        return sum(counts)


def find_bird() -> str | None:
    """Return the path of the ``bird`` program; None if there is none."""
    return shutil.which("bird", path=_PATH)
