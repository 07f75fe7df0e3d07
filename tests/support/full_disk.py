"""A directory on a disk that is full."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest


@contextlib.contextmanager
def full_disk(place: Path) -> Iterator[Path]:
    """Make ``place`` a full disk of 8 kB for a ``with`` block; needs root."""
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8k", "full", str(place)], check=True)
    try:
        with pytest.raises(OSError, match="No space"):
            (place / "clutter").write_bytes(b"x" * 16384)
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)
