"""Start a program without holding up other threads (I/O, stdlib only).

`subprocess` and `os.posix_spawn` keep Python's lock until the new program is loaded: all threads
wait, for as long as the disk of that program likes.  The system's posix_spawn(3), called here,
keeps only the calling thread.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path

_SET_GROUP, _SET_DEFAULT_SIGNALS, _SET_MASK = 0x02, 0x04, 0x08  # <spawn.h> of glibc
_STRUCT_SIZE = 1024  # more than any C library has for the three structures
_CAP_AMBIENT, _CAP_AMBIENT_CLEAR_ALL = 47, 4  # prctl(2)
_FIRST_OTHER = 3  # descriptor after the standard ones


def drop_ambient_capabilities() -> None:
    """Take the ambient capabilities from this thread, and from what it starts.

    The other threads keep theirs.
    """
    ctypes.CDLL(None).prctl(_CAP_AMBIENT, _CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)


def spawn_program(
    argv: Sequence[str],
    environment: Mapping[str, str],
    stdin: int,
    output: int,
    directory: str | None = None,
) -> int:
    """Start ``argv`` in a process group of its own; return its pid, which is the group's too.

    ``argv[0]`` is a path.  ``stdin`` and ``output`` are descriptors of this process; ``output``
    takes standard output and standard error.  All other descriptors are closed there, and all
    signals are as they are by default.  ``directory`` is its working directory (None: ours; also
    where the C library cannot change it).  Raises OSError where it cannot be started.
    """
    library = ctypes.CDLL(None)
    actions = ctypes.create_string_buffer(_STRUCT_SIZE)
    attributes = ctypes.create_string_buffer(_STRUCT_SIZE)
    signals = ctypes.create_string_buffer(_STRUCT_SIZE)
    library.posix_spawn_file_actions_init(actions)
    library.posix_spawnattr_init(attributes)
    try:
        for source, target in ((stdin, 0), (output, 1), (output, 2)):
            library.posix_spawn_file_actions_adddup2(actions, source, target)
        # Not in every C library; Python opens no descriptor for other programs anyway.
        with contextlib.suppress(AttributeError):
            library.posix_spawn_file_actions_addclosefrom_np(actions, _FIRST_OTHER)
        if directory is not None:
            with contextlib.suppress(AttributeError):
                path = os.fsencode(directory)
                library.posix_spawn_file_actions_addchdir_np(actions, path)
        library.sigemptyset(signals)
        library.posix_spawnattr_setsigmask(attributes, signals)
        library.sigfillset(signals)
        library.posix_spawnattr_setsigdefault(attributes, signals)
        library.posix_spawnattr_setpgroup(attributes, 0)
        flags = _SET_GROUP | _SET_DEFAULT_SIGNALS | _SET_MASK
        library.posix_spawnattr_setflags(attributes, ctypes.c_short(flags))
        pid = ctypes.c_int()
        path = os.fsencode(argv[0])
        words = _build_array([os.fsencode(word) for word in argv])
        values = _build_array([os.fsencode(f"{k}={v}") for k, v in environment.items()])
        error = library.posix_spawn(ctypes.byref(pid), path, actions, attributes, words, values)
    finally:
        library.posix_spawn_file_actions_destroy(actions)
        library.posix_spawnattr_destroy(attributes)
    if error:
        raise OSError(error, os.strerror(error), argv[0])
    return pid.value


def make_killable(pid: int) -> None:
    """Let the kernel choose process ``pid`` before this one where memory is short."""
    with contextlib.suppress(OSError):
        Path(f"/proc/{pid}/oom_score_adj").write_text("500", encoding="ascii")


def kill_group(pid: int) -> None:
    """Kill the process group ``pid``, whole."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def _build_array(words: Sequence[bytes]) -> ctypes.Array[ctypes.c_char_p]:
    return (ctypes.c_char_p * (len(words) + 1))(*words, None)
