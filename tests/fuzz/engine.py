"""Feed a surface with hostile inputs, and hold each one to its bounds of time and memory.

A surface is a place where text from outside enters.  Whatever it is fed with, it raises nothing but
what its reader expects, takes time in proportion to the size of the input, and little memory.
"""

from __future__ import annotations

import gc
import random
import signal
import time
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import FrameType

from fuzz.edits import apply_edits, draw_edit

SECONDS = 0.1
"""CPU time that any input may take; each surface allows more for each byte."""
LINE = 50e-6
"""Seconds of CPU time for each byte of what is read line by line: a line may have one byte."""
MAX_SECONDS = 5.0
"""CPU time after which an input is ended."""
MEMORY, MEMORY_PER_BYTE = 4 << 20, 100
"""Bytes of memory that an input may take at once: the first for any, the second for each byte."""
MEMORY_EACH = 500
"""The memory of one of so many inputs is measured, since measuring is slow."""
ATTEMPTS = 3
"""An input that was too slow is tried again; the fastest attempt counts."""
MAX_SHRINKS, SHRINK_SECONDS = 2_000, 30.0
"""How many inputs, and for how long, to try for a shorter one that fails as well."""


class _HungError(BaseException):
    """An input has run for MAX_SECONDS; no parser catches it."""


@dataclass(frozen=True, slots=True)
class Surface:
    """A place where text from outside enters.

    ``sender`` is who may send it, ``seeds`` are sound inputs, ``pieces`` are parts of its grammar.
    ``feed`` takes one input; it lets through only what would be a fault of ours.
    ``seconds_per_byte``: CPU time that it may take for each byte.
    """

    name: str
    sender: str
    seeds: tuple[bytes, ...]
    pieces: tuple[bytes, ...]
    feed: Callable[[bytes], None]
    seconds_per_byte: float = 5e-6


@dataclass(slots=True)
class Count:
    """How many inputs a surface had, and what they took: seconds and bytes, the most for one."""

    inputs: int = 0
    seconds: float = 0.0
    slowest: float = 0.0
    memory: int = 0


class FoundError(AssertionError):
    """An input broke a bound or raised what nobody expects; ``data`` is that input."""

    def __init__(self, surface: Surface, data: bytes, detail: str) -> None:
        super().__init__(f"{surface.name}: {detail}\nwith {len(data)} bytes: {data[:2000]!r}")
        self.surface = surface
        self.data = data
        self.detail = detail


def generate(surface: Surface, source: random.Random) -> bytes:
    """Generate one input from a seed and one to eight edits."""
    edits = [draw_edit(source) for _ in range(source.choice((1, 1, 2, 3, 5, 8)))]
    return apply_edits(source.choice(surface.seeds), edits, surface.pieces)


def try_input(surface: Surface, data: bytes, *, with_memory: bool = False) -> tuple[float, int]:
    """Feed one input; return its CPU seconds and, if measured, its bytes of memory.

    Raises FoundError if it raises, or takes more than its bounds.
    """
    took = _measure_time(surface, data)
    allowed = SECONDS + surface.seconds_per_byte * len(data)
    for _ in range(ATTEMPTS - 1):
        if took <= allowed:
            break
        took = min(took, _measure_time(surface, data))
    if took > allowed:
        raise FoundError(surface, data, f"took {took:.3f} s of {allowed:.3f} s")
    used = _measure_memory(surface, data) if with_memory else 0
    if used > MEMORY + MEMORY_PER_BYTE * len(data):
        raise FoundError(surface, data, f"took {used / 1e6:.1f} MB of memory")
    return took, used


def _measure_time(surface: Surface, data: bytes) -> float:
    began_at = time.thread_time()
    signal.signal(signal.SIGVTALRM, _stop_input)  # of CPU time: pytest has the other timer
    signal.setitimer(signal.ITIMER_VIRTUAL, MAX_SECONDS)
    try:
        surface.feed(data)
    except _HungError:
        raise FoundError(surface, data, f"did not end in {MAX_SECONDS:g} s") from None
    except Exception as error:
        raise FoundError(surface, data, f"{type(error).__name__}: {error}") from error
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    return time.thread_time() - began_at


def _stop_input(_: int, __: FrameType | None) -> None:
    raise _HungError


def _measure_memory(surface: Surface, data: bytes) -> int:
    gc.collect()
    tracemalloc.start()
    try:
        surface.feed(data)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def run(
    surface: Surface,
    seed: int,
    *,
    inputs: int,
    seconds: float = float("inf"),
    shrink_seconds: float = SHRINK_SECONDS,
) -> Count:
    """Feed ``inputs`` inputs, or for ``seconds`` of wall time; one at least.

    Raises FoundError with a shorter input that fails as well, searched for ``shrink_seconds``.
    """
    source = random.Random(f"{surface.name} {seed}")  # noqa: S311 - to be repeated
    count = Count()
    began_at = time.monotonic()
    try:
        for data in surface.seeds:
            _add(count, *try_input(surface, data, with_memory=True))
        least = len(surface.seeds) + 1  # on a busy machine the seeds alone may take the time
        while count.inputs < inputs and (
            count.inputs < least or time.monotonic() - began_at < seconds
        ):
            data = generate(surface, source)
            measured = count.inputs % MEMORY_EACH == 0
            _add(count, *try_input(surface, data, with_memory=measured))
    except FoundError as found:
        raise shrink(found, shrink_seconds) from None
    count.seconds = time.monotonic() - began_at
    return count


def _add(count: Count, took: float, used: int) -> None:
    count.inputs += 1
    count.slowest = max(count.slowest, took)
    count.memory = max(count.memory, used)


def shrink(found: FoundError, seconds: float) -> FoundError:
    """Find a shorter input that fails in the same way (the same words before any colon)."""
    kind = found.detail.split(":")[0].split(" ")[0]
    tries, ends_at = 0, time.monotonic() + seconds
    shorter = True
    while shorter and tries < MAX_SHRINKS and time.monotonic() < ends_at:
        shorter = False
        for data in _shorten(found.data):
            tries += 1
            again = _fails(found.surface, data)
            if again is not None and again.detail.split(":")[0].split(" ")[0] == kind:
                found, shorter = again, True
                break
            if tries >= MAX_SHRINKS or time.monotonic() >= ends_at:
                break
    return found


def _shorten(data: bytes) -> Iterator[bytes]:
    """Yield the input without one part of it, large parts first."""
    size = len(data) // 2
    while size:
        for start in range(0, len(data), size):
            yield data[:start] + data[start + size :]
        size //= 2


def _fails(surface: Surface, data: bytes) -> FoundError | None:
    try:
        try_input(surface, data, with_memory=len(data) > 1000)
    except FoundError as found:
        return found
    return None
