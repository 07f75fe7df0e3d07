"""Find the files that ship with the project: profiles/, haproxy/ and packaging/examples/."""

from __future__ import annotations

import sys
from pathlib import Path


class MissingFileError(Exception):
    """A file that ships with the project was not found; the message names the paths tried."""


def find_checkout() -> Path | None:
    """Return the source tree that this package was imported from; None if it is installed."""
    above = Path(__file__).resolve().parents[3]
    return above if (above / "profiles").is_dir() else None


def find_shipped(name: str) -> Path:
    """Return the path of a shipped file such as ``profiles/primary.yaml``.

    The source tree that this package was imported from is tried first, then ``share/anycastd`` of
    the Python installation.  Raises MissingFileError where it is in neither.
    """
    candidates = (
        Path(__file__).resolve().parents[3] / name,
        Path(sys.prefix) / "share" / "anycastd" / name.removeprefix("packaging/"),
    )
    for place in candidates:
        if place.is_file():
            return place
    tried = " nor ".join(str(place) for place in candidates)
    raise MissingFileError(
        f"{name} is neither {tried}: install the whole package, or use a complete checkout"
    )
