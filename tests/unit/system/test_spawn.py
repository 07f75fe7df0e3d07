"""A program that cannot be loaded yet holds up the thread that starts it, and no other."""

from __future__ import annotations

import ctypes
import os
import select
import signal
import struct
import threading
from pathlib import Path

import pytest

from anycastd.system.spawn import drop_ambient_capabilities, spawn_program

_CLASS_CONTENT, _CLOEXEC, _ADD, _OPEN_EXEC_PERM, _ALLOW = 4, 1, 1, 0x40000, 1  # fanotify(7)
_AT_FDCWD = -100
_EVENT = struct.Struct("=IBBHQii")


def spawn(*argv: str) -> int:
    """Start a program without input and output; return its pid."""
    with open("/dev/null", "r+b") as null:
        return spawn_program(argv, {"PATH": os.environ["PATH"]}, null.fileno(), null.fileno())


def wait(pid: int) -> int:
    """Wait for a child, and return its exit code."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_a_program_is_started_in_a_group_of_its_own() -> None:
    """With the signals as they are by default, and none of them blocked."""
    group = "test $(cut -d' ' -f5 /proc/$$/stat) = $$"
    code = f"{group} && exec grep -q '^SigBlk:.0000000000000000' /proc/self/status"
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        assert wait(spawn("/bin/sh", "-c", code)) == 0
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def test_a_missing_program_is_an_error(tmp_path: Path) -> None:
    """With its path."""
    missing = str(tmp_path / "missing")
    with pytest.raises(FileNotFoundError) as error:
        spawn(missing)
    assert error.value.filename == missing


def test_capabilities_are_dropped_in_one_thread_alone() -> None:
    """It raises nothing where there are none."""
    thread = threading.Thread(target=drop_ambient_capabilities)
    thread.start()
    thread.join()


def block_execution(path: Path) -> int:
    """Have the kernel ask before ``path`` is executed; return the descriptor to answer at."""
    library = ctypes.CDLL(None, use_errno=True)
    notifier: int = library.fanotify_init(_CLASS_CONTENT | _CLOEXEC, os.O_RDONLY | os.O_CLOEXEC)
    if notifier < 0:
        pytest.skip("this kernel, or this container, has no fanotify(7)")
    mask = ctypes.c_uint64(_OPEN_EXEC_PERM)
    if library.fanotify_mark(notifier, _ADD, mask, _AT_FDCWD, os.fsencode(path)) < 0:
        os.close(notifier)
        pytest.skip("this kernel does not ask before it executes a file")
    return notifier


def allow_one(notifier: int) -> None:
    """Let the program be executed that the kernel asks for."""
    *_, descriptor, _ = _EVENT.unpack(os.read(notifier, _EVENT.size))
    os.write(notifier, struct.pack("=iI", descriptor, _ALLOW))
    os.close(descriptor)


def start_guard(notifier: int) -> tuple[int, int]:
    """Start a process that answers after 60 s, so that a fault fails and does not hang.

    Returns its pid, and a descriptor that ends it when it is closed.
    """
    watched, held = os.pipe()
    guard = os.fork()
    if guard == 0:
        os.close(held)
        if not select.select([watched], [], [], 60)[0]:
            allow_one(notifier)
        os._exit(0)
    os.close(watched)
    return guard, held


@pytest.mark.root
def test_a_program_on_a_disk_that_hangs_holds_up_one_thread(tmp_path: Path) -> None:
    """Until its file can be read, the others go on: nothing keeps Python's lock meanwhile."""
    program = tmp_path / "program"
    program.write_bytes(Path("/bin/true").read_bytes())
    program.chmod(0o755)
    notifier = block_execution(program)
    started: list[int] = []
    thread = threading.Thread(target=lambda: started.append(spawn(str(program))), daemon=True)
    guard, held = start_guard(notifier)
    try:
        thread.start()
        assert select.select([notifier], [], [], 120)[0], "nobody wants to execute it"
        turns = sum(1 for _ in range(100_000))
        assert turns == 100_000
        assert thread.is_alive()
        assert not started
        allow_one(notifier)
        thread.join(60)
    finally:
        os.close(held)
        os.waitpid(guard, 0)
        os.close(notifier)
    assert wait(started[0]) == 0
