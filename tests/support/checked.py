"""Run `anycastd check` on a machine of its own: a network namespace with an interface and a VIP."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from support.appliance import own_network

ROOT = Path(__file__).resolve().parents[2]
PROFILE = """\
region: northeurope
platform: plain
bgp:
  local_as: 65010
  router_id: 10.0.2.10
  local_address: 10.0.2.10
  neighbors:
    - {address: 10.0.1.4, peer_as: 65515}
    - {address: 10.0.1.5, peer_as: 65515}
haproxy: {main: {socket: SOCKET, ring: anycastd}}
services:
  web:
    vip: 203.0.113.10/32
    serve: {all: [{backend: web}, {frontend: web}]}
    failed: withdraw
"""
BODY = """\
frontend web
    bind 203.0.113.10:80
    default_backend web
backend web
    server s1 127.0.0.1:PORT check inter 50ms
"""
VIP = "203.0.113.10"


def ip(*words: str) -> None:
    """Run `ip` in this network namespace."""
    subprocess.run(["ip", *words], check=True)


@contextlib.contextmanager
def a_machine() -> Iterator[None]:
    """Move into a network namespace with one network interface, a default route, and the VIP."""
    with own_network():
        ip("link", "add", "nic", "type", "veth", "peer", "name", "cable")
        for name in ("nic", "cable"):
            ip("link", "set", name, "up")
        ip("address", "add", "10.0.2.10/24", "dev", "nic")
        ip("route", "add", "default", "via", "10.0.2.1", "dev", "nic")
        ip("address", "add", f"{VIP}/32", "dev", "lo")
        yield


def write_profile(directory: Path) -> Path:
    """Write the profile of the machine, with a HAProxy that runs in ``directory``."""
    path = directory / "profile.yaml"
    path.write_text(PROFILE.replace("SOCKET", str(directory / "stats.sock")), encoding="utf-8")
    return path


def change(profile: Path, old: str, new: str) -> None:
    """Replace a text of the profile."""
    text = profile.read_text(encoding="utf-8")
    assert old in text
    profile.write_text(text.replace(old, new), encoding="utf-8")


class Checked:
    """What `anycastd check` said of this machine.

    ``problems`` are unfolded; ``lines`` are those of this machine.  ``words`` is the output in one
    line.
    """

    def __init__(self, *arguments: str, before: tuple[str, ...] = ()) -> None:
        done = subprocess.run(
            [*before, sys.executable, "-m", "anycastd", "check", *arguments],
            capture_output=True,
            encoding="utf-8",
            check=False,
            timeout=60,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )
        self.code, self.output, self.errors = done.returncode, done.stdout, done.stderr
        self.words = " ".join(done.stdout.split())
        self.problems = unfold(done.stderr)
        lines = [line.partition(": this machine: ")[2] for line in self.problems]
        self.clock = [line for line in lines if line.startswith("the clock ")]
        self.lines = [line for line in lines if line and line not in self.clock]

    def __repr__(self) -> str:
        return f"code {self.code}\n{self.errors}\n{self.output}"


def unfold(text: str) -> list[str]:
    """Give each problem of `anycastd check` as one line: what is wrong; what to do."""
    lines: list[str] = []
    for line in text.splitlines():
        if line.startswith("    -> "):
            lines[-1] += f"; {line[7:]}"
        elif line.startswith("    "):
            lines[-1] += f" {line.strip()}"
        else:
            lines.append(line)
    return lines


def check(profile: Path, *arguments: str) -> list[str]:
    """Check the profile; return the lines about this machine but for the clock's; code 0."""
    checked = Checked(str(profile), *arguments)
    assert checked.code == 0, checked
    assert "  this machine: " in checked.output
    return checked.lines
