"""A directory on a disk that is full."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest


@contextlib.contextmanager
def full_disk(place: Path) -> Iterator[Path]:
    """Make ``place`` a full disk for a ``with`` block; needs root.

    What fills it is the file `clutter`.  Without that file there is room for all that an agent
    writes, and for the second copy that it writes of each file before it replaces the first.
    """
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "full", str(place)], check=True)
    try:
        with pytest.raises(OSError, match="No space"):
            (place / "clutter").write_bytes(b"x" * 512 * 1024)
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)
