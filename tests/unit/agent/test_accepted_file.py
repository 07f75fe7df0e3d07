"""What a check accepted is used for the same text and code only, and only if nobody else wrote it.

All files here are real; what cannot be trusted costs a new check and nothing else.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from anycastd.agent.accepted_file import (
    NAME,
    compute_key,
    keep_sealed,
    open_sealed,
    read_sealed,
    seal_accepted,
)
from support.peer import wait_for

KEY = compute_key("/etc/anycastd/profile.yaml", "region: northeurope\n")
ACCEPTED = '{"tree": {"region": "northeurope \\u2028 ü"}}'
LATER = time.time_ns() + 3_600_000_000_000
"""An instant (ns) before which all files of the code were there, even in a fresh checkout."""


def seal() -> str:
    """Seal what was accepted."""
    sealed = seal_accepted(ACCEPTED, KEY, LATER)
    assert sealed
    return sealed


def reseal(sealed: str, change: Callable[[dict[str, object]], None]) -> str:
    """Change the header of a sealed text, with a digest that fits."""
    _, header, accepted = sealed.split("\n")
    found = json.loads(header)
    change(found)
    rest = f"{json.dumps(found)}\n{accepted}"
    return f"{hashlib.sha256(rest.encode()).hexdigest()}\n{rest}"


def test_it_opens_for_the_same_text_and_code() -> None:
    """All files of the code that checks are named, and the schema."""
    sealed = seal()
    assert open_sealed(sealed, KEY, LATER) == ACCEPTED
    code = json.loads(sealed.split("\n")[1])["code"]
    assert any(path.endswith("profile/schema.json") for path in code)
    assert any(path.endswith("anycastd/agent/accepted_file.py") for path in code)
    assert not any(path.endswith("/json/decoder.py") for path in code)


def test_another_text_path_or_release_is_another_key() -> None:
    """A key stands for all three."""
    others = [
        compute_key("/etc/anycastd/profile.yaml", "region: northeurope\n\n"),
        compute_key("/etc/anycastd/other.yaml", "region: northeurope\n"),
    ]
    assert len({KEY, *others}) == 3
    for other in others:
        assert not open_sealed(seal(), other, LATER)


def test_it_never_opens_for_other_code() -> None:
    """A file that has changed, one that is missing, a list that is empty or no list."""
    sealed = seal()
    path = next(iter(json.loads(sealed.split("\n")[1])["code"]))

    def replace(code: object) -> str:
        return reseal(sealed, lambda header: header.update(code=code))

    files = json.loads(sealed.split("\n")[1])["code"]
    assert open_sealed(replace(files), KEY, LATER) == ACCEPTED
    for place in range(4):
        changed = dict(files) | {path: [n + (i == place) for i, n in enumerate(files[path])]}
        assert not open_sealed(replace(changed), KEY, LATER)
    others: tuple[object, ...] = (
        {**files, "/nonexistent": [1, 1, 1, 1]},
        None,
        [],
        {},
        7,
        {"a\0b": []},
    )
    for strange in others:
        assert not open_sealed(replace(strange), KEY, LATER)


def test_code_that_changed_since_this_process_began_is_not_the_code_that_runs() -> None:
    """Then what is loaded is not what is on disk: nothing is sealed, and nothing opens."""
    newest = max(each[3] for each in json.loads(seal().split("\n")[1])["code"].values())
    assert not seal_accepted(ACCEPTED, KEY, newest)
    assert not open_sealed(seal(), KEY, newest)


def test_damage_is_noticed() -> None:
    """Each cut, and each byte that is another one."""
    sealed = seal()
    for end in range(0, len(sealed), 37):
        assert not open_sealed(sealed[:end], KEY, LATER)
    for place in range(0, len(sealed), 41):
        damaged = f"{sealed[:place]}{chr(ord(sealed[place]) ^ 1)}{sealed[place + 1 :]}"
        assert not open_sealed(damaged, KEY, LATER)


def test_it_is_kept_for_its_owner_alone(tmp_path: Path) -> None:
    """Mode 0600 whatever the umask is, whole, and no temporary file is left."""
    before = os.umask(0)
    try:
        keep_sealed(str(tmp_path), seal())
    finally:
        os.umask(before)
    assert [path.name for path in tmp_path.iterdir()] == [NAME]
    assert (tmp_path / NAME).stat().st_mode & 0o7777 == 0o600
    assert read_sealed(str(tmp_path)) == seal()
    keep_sealed(str(tmp_path), "other")
    assert read_sealed(str(tmp_path)) == "other"


def test_a_directory_that_cannot_be_written_costs_nothing(tmp_path: Path) -> None:
    """Nothing is raised: the next start checks anew."""
    keep_sealed(str(tmp_path / "missing"), seal())
    keep_sealed("/proc/self", seal())
    (tmp_path / NAME).mkdir()
    keep_sealed(str(tmp_path), seal())
    assert [path.name for path in tmp_path.iterdir()] == [NAME]
    assert not read_sealed(str(tmp_path))


def _other_owner(path: Path) -> None:
    os.chown(path, 12345, -1)


def _symlink(path: Path) -> None:
    path.rename(path.with_suffix(".moved"))
    path.symlink_to(path.with_suffix(".moved"))


def _fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path, 0o600)


def _not_utf8(path: Path) -> None:
    path.write_bytes(b"\xff\xfe")


@pytest.mark.root
@pytest.mark.parametrize(
    "change",
    [
        lambda path: path.chmod(0o640),
        lambda path: path.chmod(0o602),
        _other_owner,
        _symlink,
        _fifo,
        _not_utf8,
        lambda path: path.unlink(),
    ],
    ids=["group", "others", "owner", "symlink", "fifo", "bytes", "missing"],
)
def test_what_others_could_have_written_is_not_read(
    change: Callable[[Path], None], tmp_path: Path
) -> None:
    """A file that this user alone could write, or none at all."""
    keep_sealed(str(tmp_path), seal())
    assert read_sealed(str(tmp_path))
    change(tmp_path / NAME)
    assert not read_sealed(str(tmp_path))


@pytest.mark.root
def test_what_is_older_than_the_machine_s_start_is_not_read(tmp_path: Path) -> None:
    """In a namespace whose clock says that the machine started a moment ago."""
    keep_sealed(str(tmp_path), seal())
    code = (
        "import sys\n"
        "from anycastd.agent.accepted_file import read_sealed\n"
        "print(len(read_sealed(sys.argv[1])))"
    )
    # There the machine started a second ago at most; the file has to be older.
    written_at = (tmp_path / NAME).stat().st_ctime
    wait_for(lambda: time.time() - written_at > 2, 10, "an older file")
    uptime = int(time.clock_gettime(time.CLOCK_BOOTTIME))
    found = []
    for offset in (0, -uptime):
        done = subprocess.run(
            ["unshare", "--time", "--boottime", str(offset), sys.executable, "-c", code, tmp_path],
            capture_output=True,
            encoding="utf-8",
            check=False,
            env=os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[3])},
        )
        if "unshare" in done.stderr:
            pytest.skip(f"no time namespaces here: {done.stderr.strip()}")
        found.append(int(done.stdout))
    assert found == [len(seal()), 0]
