"""Where the files that ship with the project are: profiles/ and haproxy/."""

from __future__ import annotations

import sys
from pathlib import Path


class MissingFileError(Exception):
    """A file that ships with the project is not there; the message says where it was looked for."""


def checkout() -> Path | None:
    """Return the checkout that this package was imported from; None when it is installed."""
    above = Path(__file__).resolve().parents[3]
    return above if (above / "profiles").is_dir() else None


def shipped(name: str) -> Path:
    """Return the path of a shipped file such as ``profiles/primary.yaml``.

    The checkout that this package was imported from comes first, then ``share/anycastd`` of the
    Python installation.  Raises MissingFileError.
    """
    places = (
        Path(__file__).resolve().parents[3] / name,
        Path(sys.prefix) / "share" / "anycastd" / name,
    )
    for place in places:
        if place.is_file():
            return place
    looked = " nor ".join(str(place) for place in places)
    raise MissingFileError(
        f"{name} is neither {looked}: install anycastd whole, or use a full checkout"
    )
