"""A log that nobody reads: nothing waits for it, and what is dropped is counted."""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from anycastd.system.log_queue import MAX_EQUAL, MAX_LENGTH, MAX_LINES, QueuedLogHandler
from support.peer import wait_for


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """Return the reading and the writing end of a pipe."""
    reader, writer = os.pipe()
    yield reader, writer
    os.close(reader)


def open_log(writer: int) -> tuple[logging.Logger, QueuedLogHandler]:
    """Return a logger of its own that writes to a descriptor."""
    handler = QueuedLogHandler(writer)
    logger = logging.Logger("log")  # noqa: LOG001 - none that others see
    logger.addHandler(handler)
    return logger, handler


def read_all(reader: int, end: str, timeout: float = 10.0) -> str:
    """Read until a text has come."""
    os.set_blocking(reader, False)
    text, began = "", time.monotonic()
    while end not in text:
        assert time.monotonic() - began < timeout, text[-500:]
        try:
            text += os.read(reader, 1 << 16).decode()
        except BlockingIOError:
            time.sleep(0.01)
    return text


def test_lines_come_in_their_order(pipe: tuple[int, int]) -> None:
    """All of them, with the traceback of an error."""
    logger, handler = open_log(pipe[1])
    for number in range(100):
        logger.info("line %d", number)
    try:
        raise ValueError("an error")
    except ValueError:
        logger.exception("caught")
    handler.flush()
    text = read_all(pipe[0], "ValueError: an error\n")
    lines = text.splitlines()
    assert lines[:100] == [f"line {number}" for number in range(100)]
    assert lines[100:102] == ["caught", "Traceback (most recent call last):"]


def test_nobody_reads(pipe: tuple[int, int]) -> None:
    """Nothing waits, the memory is bounded; once somebody reads, the number is told."""
    logger, handler = open_log(pipe[1])
    began = time.monotonic()
    for number in range(3 * MAX_LINES):
        logger.info("line %d %s", number, "x" * 100)
    logger.info("huge %s", "x" * 10_000_000)
    assert time.monotonic() - began < 2
    began = time.monotonic()
    handler.flush()
    assert time.monotonic() - began < 2
    # The thread may have written a part of them before, so the number may come in pieces.
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(read_all, pipe[0], "after it\n")
        wait_for(lambda: not handler._queue, 10, "the queue to be read")  # noqa: SLF001
        logger.info("after it")
        text = reading.result()
    dropped = sum(int(count) for count in re.findall(r"(\d+) lines of this log were dropped", text))
    written = len(re.findall(r"^(?:line|huge) ", text, re.MULTILINE))
    assert dropped + written == 3 * MAX_LINES + 1
    assert dropped > MAX_LINES


def test_a_flood_of_equal_lines_is_counted(pipe: tuple[int, int]) -> None:
    """The first ones are written, the others become a number, and other lines stay."""
    logger, handler = open_log(pipe[1])
    for number in range(500):
        logger.info("refused %s", "a client")
        if number % 100 == 0:
            logger.info("line %d", number)
    handler.flush()
    text = read_all(pipe[0], "more lines like: refused a client\n")
    assert text.count("refused a client\n") == MAX_EQUAL + 1
    assert f"{500 - MAX_EQUAL} more lines like" in text
    assert text.count("line ") == 5


def test_a_reader_that_has_gone() -> None:
    """A broken pipe ends nothing, and each line counts as dropped."""
    reader, writer = os.pipe()
    logger, handler = open_log(writer)
    os.close(reader)
    for number in range(3):
        logger.info("line %d", number)
    handler.flush()
    wait_for(lambda: handler.dropped == 3, 10)


def test_a_line_is_cut(pipe: tuple[int, int]) -> None:
    """One line does not fill the journal; what cannot be formatted is a line as well."""
    logger, handler = open_log(pipe[1])
    logger.info("x" * 1_000_000)
    logger.info("%d", "no number")
    logger.info("end \ud800")
    handler.flush()
    lines = read_all(pipe[0], "end \\ud800\n").splitlines()
    assert len(lines[0]) == MAX_LENGTH
    assert "cannot be formatted" in lines[1]


def test_the_line_about_what_was_dropped_is_within_the_bound(pipe: tuple[int, int]) -> None:
    """A free place in a queue that has dropped something is not used twice."""
    logger, handler = open_log(pipe[1])
    for number in range(3 * MAX_LINES):
        logger.info("line %d", number)
    with handler._changed:  # noqa: SLF001 - as the writer takes a line, at the worst moment
        handler._queue.popleft()  # noqa: SLF001
        while len(handler._queue) >= MAX_LINES:  # noqa: SLF001
            handler._queue.popleft()  # noqa: SLF001
        logger.info("one more")
        assert len(handler._queue) <= MAX_LINES  # noqa: SLF001
