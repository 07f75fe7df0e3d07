"""Whose child is what, as the kernel tells it."""

from __future__ import annotations

import contextlib
from pathlib import Path

from support.appliance import Appliance
from support.peer import wait_for


def child(pid: int, name: str, within: float = 10.0) -> int:
    """Find the child of ``pid`` whose command line has ``name``; wait for it where it is new."""

    def find() -> int:
        for each in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="utf-8").split():
            with contextlib.suppress(OSError):  # it has gone meanwhile
                if name.encode() in Path(f"/proc/{each}/cmdline").read_bytes():
                    return int(each)
        return 0

    return wait_for(find, within, f"a child {name} of {pid}")


def keeper(appliance: Appliance) -> int:
    """Find an appliance's lease process."""
    assert appliance.speaker is not None
    return child(appliance.speaker.pid, "anycastd.speaker.lease_process")
