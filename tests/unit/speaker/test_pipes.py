"""Lines from descriptors: cut where they are too long, at a cost that is linear."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import pytest

from anycastd.speaker.pipes import Pipe, select_newest


@pytest.fixture
def ends() -> Iterator[tuple[Pipe, int]]:
    """Yield a pipe whose lines may have 100 bytes, and the descriptor to write into it."""
    read, write = os.pipe()
    os.set_blocking(read, False)
    yield Pipe(read, 100), write
    os.close(read)
    os.close(write)


def test_lines_come_whole(ends: tuple[Pipe, int]) -> None:
    """A line that is not complete waits for its end."""
    pipe, write = ends
    os.write(write, b"one\ntwo\nthr")
    assert pipe.read() == b"one\ntwo"
    assert pipe.read() == b""
    os.write(write, b"ee\n")
    assert pipe.read() == b"three"


def test_a_line_that_is_too_long_is_cut(ends: tuple[Pipe, int]) -> None:
    """One byte more than it may have is kept; the line after it is whole again."""
    pipe, write = ends
    for _ in range(50):
        os.write(write, b"x" * 1000)
        assert pipe.read(4096) == b""
        assert len(pipe.received) == 101
        assert pipe.is_too_long()
    os.write(write, b"xx\nnext\nre")
    assert pipe.read() == b"x" * 101 + b"\nnext"
    assert not pipe.is_too_long()
    os.write(write, b"st\n")
    assert pipe.read() == b"rest"


def test_a_byte_at_a_time_costs_no_square(ends: tuple[Pipe, int]) -> None:
    """With 4 MB of an unfinished line, a byte costs what it costs without."""
    pipe, write = ends
    pipe.max_line = 1 << 23

    def measure() -> float:
        began = time.process_time()
        for _ in range(2000):
            os.write(write, b"x")
            pipe.read()
        return time.process_time() - began

    small = measure()
    for _ in range(64):
        os.write(write, b"x" * 65536)
        pipe.read()
    assert measure() < 5 * small + 0.1


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (b"a", [b"a"]),
        (b"a\nb\nc", [b"c"]),
        (b'a\n{"reload":1}', [b"a", b'{"reload":1}']),
        (b'{"reload":1}\n{"reload":2}\na', [b"a", b'{"reload":2}']),
        (b'{"reload":1}\nb\n{"reload":2}\nc\n{"reload":3}', [b"c", b'{"reload":3}']),
        (b'{"reload":1}', [b'{"reload":1}']),
    ],
)
def test_the_newest_lines_are_selected(lines: bytes, expected: list[bytes]) -> None:
    """The newest state and the newest verb, wherever they are."""
    assert select_newest(lines) == expected
