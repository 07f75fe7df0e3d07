"""Replace a file at once (I/O)."""

from __future__ import annotations

import os
from pathlib import Path


def write_atomic(file: Path, text: str, mode: int = 0o640) -> None:
    """Put ``text`` in place at once: whoever reads sees the old file or the new one."""
    new = file.with_name(f".{file.name}.new")
    new.unlink(missing_ok=True)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with open(descriptor, "w", encoding="ascii") as stream:
        os.fchmod(descriptor, mode)
        stream.write(text)
    new.replace(file)
