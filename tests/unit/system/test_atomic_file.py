"""A file that is replaced at once: complete, with the given mode, and without leftovers."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from anycastd.system.atomic_file import remove_leftovers, write_atomic


@pytest.mark.parametrize("mode", [0o600, 0o640])
def test_the_file_has_its_text_and_its_mode(tmp_path: Path, mode: int) -> None:
    """Whatever the old file had, and whatever the umask is."""
    file = tmp_path / "value.json"
    file.write_text("old", encoding="utf-8")
    file.chmod(0o666)
    before = os.umask(0o077)
    try:
        write_atomic(file, "new ä\n", mode)
    finally:
        os.umask(before)
    assert file.read_bytes() == "new ä\n".encode()
    assert stat.S_IMODE(file.stat().st_mode) == mode
    assert list(tmp_path.iterdir()) == [file]


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    """Here at the last step: the name is that of a directory."""
    (tmp_path / "value.json").mkdir()
    with pytest.raises(OSError, match=r"value\.json"):
        write_atomic(tmp_path / "value.json", "new")
    assert list(tmp_path.iterdir()) == [tmp_path / "value.json"]
    with pytest.raises(FileNotFoundError):
        write_atomic(tmp_path / "missing" / "value.json", "new")


def test_leftovers_of_a_killed_writer_are_removed(tmp_path: Path) -> None:
    """Also those of older releases, which ended in .new; files of other names stay."""
    for name in (".value.json.x7k2", ".value.json.new", ".value.yaml.new", "value.json"):
        (tmp_path / name).write_text("", encoding="utf-8")
    remove_leftovers(tmp_path / "value.json")
    assert {file.name for file in tmp_path.iterdir()} == {".value.yaml.new", "value.json"}
