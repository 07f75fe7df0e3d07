"""Entries of systemd's journal: encoded as journald reads them, and never waited for."""

from __future__ import annotations

import logging
import os
import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from anycastd.system.journal import MAX_VALUE, JournalSocket, encode_fields, is_journal
from anycastd.system.log_queue import MAX_EQUAL, QueuedLogHandler
from support.peer import wait_for


def parse(entry: bytes) -> dict[str, str]:
    """Read an entry as journald does; raises AssertionError where it breaks the protocol."""
    fields = {}
    while entry:
        head, newline, rest = entry.partition(b"\n")
        assert newline, "a field without an end"
        name, equals, value = head.partition(b"=")
        if not equals:
            (length,) = struct.unpack_from("<Q", rest)
            value, rest = rest[8 : 8 + length], rest[8 + length :]
            assert len(value) == length, "a length beyond the entry"
            assert rest.startswith(b"\n"), "no newline after a value with its length"
            rest = rest[1:]
        assert name[:1].isalpha(), name
        assert all(character in b"ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_" for character in name)
        assert len(name) <= 64
        fields[name.decode()] = value.decode()
        entry = rest
    return fields


class FakeJournal:
    """A socket like journald's, which checks each entry."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self.entries: list[dict[str, str]] = []
        self.faults: list[str] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.path)
        self._thread = threading.Thread(target=self._read, daemon=True)

    def start(self) -> None:
        """Read what is sent."""
        self._thread.start()

    def close(self) -> None:
        """End, and leave no socket behind."""
        self._socket.shutdown(socket.SHUT_RDWR)
        if self._thread.ident is not None:
            self._thread.join(60)
        self._socket.close()
        Path(self.path).unlink()

    def _read(self) -> None:
        while entry := self._socket.recv(1 << 20):
            try:
                self.entries.append(parse(entry))
            except (AssertionError, struct.error, UnicodeDecodeError) as error:
                self.faults.append(str(error))


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[FakeJournal]:
    """Return a journal that does not read yet."""
    one = FakeJournal(tmp_path / "journal")
    yield one
    one.close()
    assert not one.faults


def encode(record: logging.LogRecord) -> bytes:
    """Encode a record, shortly."""
    return encode_fields({"MESSAGE": record.getMessage(), "PRIORITY": 4})


def open_log(path: str, descriptor: int) -> tuple[logging.Logger, QueuedLogHandler]:
    """Return a logger of its own that sends to a journal."""
    handler = QueuedLogHandler(descriptor, JournalSocket(path), encode)
    logger = logging.Logger("log")  # noqa: LOG001 - none that others see
    logger.addHandler(handler)
    return logger, handler


@pytest.mark.parametrize(
    "value",
    ["text", "two\nlines", "\n", "=", "a=b", "é ☃", "x" * 100_000, "\n" * 10_000, "\ud800"],
    ids=ascii,
)
def test_any_value_is_read_as_it_was(value: str) -> None:
    """With a newline by its length; more than MAX_VALUE bytes are cut."""
    fields = parse(encode_fields({"MESSAGE": value, "NEXT": "1"}))
    expected = value.encode("utf-8", "backslashreplace")[:MAX_VALUE].decode()
    assert fields == {"MESSAGE": expected, "NEXT": "1"}


def test_names_are_those_that_journald_takes() -> None:
    """No field of others can be a trusted one (`_PID`), or begin another field."""
    names = ["_PID", "9lives", "a b", "x\nMESSAGE=y", "é", "", "under_score", "y" * 100]
    fields = parse(encode_fields(dict.fromkeys(names, "v")))
    assert set(fields) == {"PID", "LIVES", "A_B", "X_MESSAGE_Y", "UNDER_SCORE", "Y" * 64}
    assert parse(encode_fields({"A": None, "B": "", "C": 0, "D": 1.5})) == {"C": "0", "D": "1.5"}


def test_only_the_journal_itself_is_the_journal(tmp_path: Path) -> None:
    """Standard error may have been redirected since systemd set the variable."""
    with (tmp_path / "file").open("w") as file:
        found = os.fstat(file.fileno())
        assert is_journal(file.fileno(), f"{found.st_dev}:{found.st_ino}")
        for other in ("", "1:2", f"{found.st_dev}:{found.st_ino + 1}", "x"):
            assert not is_journal(file.fileno(), other)
    assert not is_journal(987_654, "1:2")


def test_entries_come_in_their_order(journal: FakeJournal, tmp_path: Path) -> None:
    """All of them, and nothing on standard error."""
    with (tmp_path / "stderr").open("w+b") as stderr:
        logger, handler = open_log(journal.path, stderr.fileno())
        journal.start()
        for number in range(100):
            logger.warning("line %d", number)
        handler.flush()
        wait_for(lambda: len(journal.entries) == 100, 60)
        texts = [entry["MESSAGE"] for entry in journal.entries]
        assert texts == [f"line {number}" for number in range(100)]
        assert journal.entries[0] == {"MESSAGE": "line 0", "PRIORITY": "4"}
        assert os.fstat(stderr.fileno()).st_size == 0


def test_repeats_are_counted_in_the_journal_too(journal: FakeJournal) -> None:
    """The count is an entry as well."""
    logger, handler = open_log(journal.path, 2)
    journal.start()
    for _ in range(MAX_EQUAL + 7):
        logger.warning("again")
    handler.flush()
    wait_for(lambda: len(journal.entries) == MAX_EQUAL + 1, 60)
    assert journal.entries[-1]["MESSAGE"] == "7 more lines like: again"


def test_without_a_journal_the_line_is_written(tmp_path: Path) -> None:
    """Journald is away: standard error has the line."""
    with (tmp_path / "stderr").open("w+b") as stderr:
        logger, handler = open_log(str(tmp_path / "none"), stderr.fileno())
        logger.warning("a line")
        handler.flush()
        wait_for(lambda: (tmp_path / "stderr").read_bytes() == b"a line\n", 60)


def test_a_journal_that_hangs_holds_up_nobody(journal: FakeJournal) -> None:
    """Nothing waits; the memory is bounded; when it reads again, what was dropped is told."""
    logger, handler = open_log(journal.path, 2)
    for number in range(5000):
        logger.warning("line %d", number)
    handler.flush()
    assert len(handler._queue) <= 1000  # noqa: SLF001 - nothing else shows that it is bounded
    journal.start()
    wait_for(lambda: any("were dropped" in entry["MESSAGE"] for entry in journal.entries), 60)
