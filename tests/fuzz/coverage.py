"""Let atheris choose the inputs of one surface by the code that they reach.

``python tests/fuzz/coverage.py SURFACE --count N --seconds S``, with an interpreter that has
atheris (`pip install atheris`).  atheris prints the first input that fails, and ends the process.
"""

from __future__ import annotations

import argparse
import importlib
import logging
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))


def main() -> int:
    """Feed one surface, and return the exit code: 2 where atheris is not installed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("surface")
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=int, default=600)
    options = parser.parse_args()
    try:
        atheris: Any = importlib.import_module("atheris")
    except ImportError:
        print("atheris is not installed here; try: pip install atheris", file=sys.stderr)
        return 2
    # It counts what it sees of modules that are imported inside this block.
    with atheris.instrument_imports(include=["anycastd"]):
        surfaces = importlib.import_module("fuzz.surfaces").SURFACES
    engine = importlib.import_module("fuzz.engine")
    (surface,) = [each for each in surfaces if each.name == options.surface]
    logging.disable()

    def feed(data: bytes) -> None:
        engine.try_input(surface, data)

    limits = (f"-runs={options.count}", f"-max_total_time={options.seconds}", "-max_len=65536")
    atheris.Setup([sys.argv[0], *limits], feed)
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
