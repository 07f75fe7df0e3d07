"""Find child processes by their command line."""

from __future__ import annotations

import contextlib
from pathlib import Path

from support.appliance import Appliance
from support.peer import wait_for

LEASE_PROCESS = ("anycastd.speaker.lease_process", "anycastd.keeper")
"""Names by which speakers start the lease process: this release, and 0.1.0."""


def wait_for_child(pid: int, *names: str, timeout: float = 30.0) -> int:
    """Wait for the child of ``pid`` whose command line has one of ``names``; return its pid.

    Raises AssertionError after ``timeout`` seconds, OSError where ``pid`` has ended.
    """

    def find() -> int:
        for each in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="utf-8").split():
            with contextlib.suppress(OSError):  # it has ended meanwhile
                line = Path(f"/proc/{each}/cmdline").read_bytes()
                if any(name.encode() in line for name in names):
                    return int(each)
        return 0

    return wait_for(find, timeout, f"a child {' or '.join(names)} of {pid}")


def find_lease_process(appliance: Appliance) -> int:
    """Find the lease process of an appliance and return its pid; wait for it up to 30 s."""
    assert appliance.speaker is not None
    return wait_for_child(appliance.speaker.pid, *LEASE_PROCESS)
