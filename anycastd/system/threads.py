"""Start the threads of a process before it needs them (I/O, stdlib only)."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

START_TIMEOUT = 10.0
"""Seconds for all threads to run."""


class NoThreadError(Exception):
    """The system gives this process no thread; the text says what limits them."""


def start_threads(number: int) -> ThreadPoolExecutor:
    """Start ``number`` threads, and return the executor that has them all.

    An executor starts a thread only when it needs one.  A process that has reached the limit of
    threads by then would fail in the middle of its work, and the work would be done at some later
    time.  Raises NoThreadError where they cannot be started.
    """
    executor = ThreadPoolExecutor(number, thread_name_prefix="work")
    running = threading.Barrier(number + 1)
    try:
        for _ in range(number):
            executor.submit(running.wait, START_TIMEOUT)
        running.wait(START_TIMEOUT)
    except RuntimeError as error:  # BrokenBarrierError is one too
        running.abort()
        executor.shutdown(wait=False)
        raise NoThreadError(
            f"{number} threads cannot be started ({error}): raise the limit of tasks (TasksMax=) "
            "or of memory (MemoryMax=)"
        ) from None
    return executor
