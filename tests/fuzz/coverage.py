"""Let atheris choose the inputs of one surface by the code that they reach.

``python tests/fuzz/coverage.py SURFACE --count N --seconds S``, with an interpreter that has
atheris (`pip install atheris`).  It begins with the surface's seeds, and changes them with the
edits of ``edits`` or with those of libFuzzer.  It prints what libFuzzer does: ``cov`` is how many
branches were reached, ``corp`` how many inputs reached a new one.  The first input that fails is
shortened and written to a file, and ends it with 1.
"""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import random
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

SLOWER = 20.0
"""How much more time an input may take here: every branch is counted, and the machine is shared."""
SHARE_OF_JOINED = 0.3
"""How many inputs are made of two others; the rest is one that was edited."""


def main() -> int:
    """Feed one surface; returns 2 where atheris is not installed, else atheris ends the process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("surface")
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=int, default=600)
    parser.add_argument("--seed", type=int, default=0, help="0: another one each time")
    parser.add_argument("--found", default="build/fuzz", help="directory for inputs")
    options = parser.parse_args()
    try:
        atheris: Any = importlib.import_module("atheris")
    except ImportError:
        print("atheris is not installed here; try: pip install atheris", file=sys.stderr)
        return 2
    # It counts what it sees of modules that are imported inside this block.
    with atheris.instrument_imports(include=["anycastd"]):
        surfaces = importlib.import_module("fuzz.surfaces").SURFACES
    by_name = {surface.name: surface for surface in surfaces}
    if options.surface not in by_name:
        parser.error(f"no surface {options.surface!r}; there are {', '.join(by_name)}")
    surface = by_name[options.surface]
    logging.disable()
    found_in = Path(options.found)
    limits = [f"-runs={options.count}", f"-max_total_time={options.seconds}"]
    atheris.Setup(
        [sys.argv[0], *limits, f"-seed={options.seed}", *_write_corpus(surface, found_in)],
        _build_feed(surface, found_in),
        custom_crossover=_build_crossover(surface),
    )
    atheris.Fuzz()
    return 0


def _write_corpus(surface: Any, place: Path) -> list[str]:
    """Write seeds and pieces where libFuzzer reads them; return its arguments.

    It adds the inputs that reach something new, so the next run goes on from there.
    """
    corpus = place / f"{surface.name}-corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(surface.seeds):
        (corpus / f"seed-{number}").write_bytes(seed)
    arguments = [str(corpus), "-max_len=65536", "-print_final_stats=1"]
    words = ["".join(f"\\x{byte:02x}" for byte in piece) for piece in surface.pieces if piece]
    if words:  # libFuzzer refuses an empty dictionary
        dictionary = place / f"{surface.name}-dictionary"
        dictionary.write_text("".join(f'"{word}"\n' for word in words), encoding="utf-8")
        arguments.append(f"-dict={dictionary}")
    return arguments


def _build_feed(surface: Any, found_in: Path) -> Any:
    """Build the function that takes one input, with the bounds of the engine."""
    engine: Any = importlib.import_module("fuzz.engine")
    engine.SECONDS *= SLOWER
    engine.MAX_SECONDS *= SLOWER
    object.__setattr__(surface, "seconds_per_byte", surface.seconds_per_byte * SLOWER)

    def feed(data: bytes) -> None:
        try:
            engine.try_input(surface, data)
        except engine.FoundError as found:
            shortest = engine.shrink(found, engine.SHRINK_SECONDS)
            found_in.mkdir(parents=True, exist_ok=True)
            path = found_in / f"{surface.name}-coverage-{os.getpid()}"
            path.write_bytes(shortest.data)
            print(f"{shortest}\nthe input is in {path}", flush=True)
            os._exit(1)  # libFuzzer would keep the long one, and tell its own story of it

    return feed


def _build_crossover(surface: Any) -> Any:
    """Build the function that joins two inputs: half of one and half of the other, then edits.

    It is one of libFuzzer's dozen ways to change an input, so that the others are used as well.
    """
    edits = importlib.import_module("fuzz.edits")

    def join(first: bytes, second: bytes, max_size: int, seed: int) -> bytes:
        source = random.Random(seed)  # noqa: S311 - to be repeated
        data = first
        if source.random() < SHARE_OF_JOINED:
            share = source.random()
            data = first[: int(share * len(first))] + second[int(share * len(second)) :]
        chosen = [edits.draw_edit(source) for _ in range(source.choice((1, 1, 2, 3)))]
        edited: bytes = edits.apply_edits(data, chosen, surface.pieces)[:max_size]
        return edited or first[:max_size]

    return join


if __name__ == "__main__":
    sys.exit(main())
