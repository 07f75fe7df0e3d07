"""The file of an MD5 password: what is in its place, and who else may write there."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from anycastd.speaker.directory import read_passwords
from anycastd.system.exit_codes import ExitError
from support.descriptors import no_free_descriptor
from support.exabgp import FIRST, loopback_profile

PLAIN = f"{{address: {FIRST}, peer_as: 65515}}"
SECRET = f"{{address: {FIRST}, peer_as: 65515, md5_file: %s}}"
USER = 54321


def read(file: Path) -> str:
    """Read the password that a file holds; returns the message where it cannot be used."""
    try:
        (password,) = read_passwords(loopback_profile(9, (PLAIN, SECRET % file))).values()
    except ExitError as refusal:
        return f"{refusal.code}: {refusal}"
    return password


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """Return a good file in a directory that only its owner may write to."""
    file = tmp_path / "md5"
    file.write_text("s3cret\nmore\n", encoding="ascii")
    file.chmod(0o640)
    assert read(file) == "s3cret"
    return file


def test_what_is_no_regular_file(tmp_path: Path) -> None:
    """A FIFO, a device and a directory: refused at once, not waited for and not read."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo, 0o600)
    link = tmp_path / "zero"
    link.symlink_to("/dev/zero")
    for file in (fifo, link, tmp_path):
        assert read(file) == (
            f"78: {file}: the MD5 password of neighbor {FIRST} is not in a regular file"
        )


def test_a_line_without_an_end(secret: Path) -> None:
    """Only as much is read as a password can have."""
    with secret.open("w", encoding="ascii") as stream:
        stream.truncate(1 << 40)
    assert "is longer than the 80 characters" in read(secret)


@pytest.mark.parametrize("mode", [0o660, 0o620])
def test_the_group_may_not_write(secret: Path, mode: int) -> None:
    """Who may write the password chooses who may be our neighbor."""
    secret.chmod(mode)
    assert "can be changed by its group: chmod 0640" in read(secret)


@pytest.mark.parametrize(("mode", "good"), [(0o770, False), (0o707, False), (0o1777, True)])
def test_the_directory_counts_too(secret: Path, *, mode: int, good: bool) -> None:
    """Who may write there may replace the file, except in a sticky one; also behind a link."""
    folder = secret.parent / "folder"
    folder.mkdir()
    secret.rename(folder / "md5")
    secret.symlink_to(folder / "md5")
    folder.chmod(mode)
    for file in (folder / "md5", secret):
        assert (read(file) == "s3cret") is good
        assert good or "can be replaced by others" in read(file)


@pytest.fixture
def shared() -> Iterator[Path]:
    """Yield a file that another user than root may read."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        file = folder / "md5"
        file.write_text("s3cret\n", encoding="ascii")
        os.chown(file, 0, USER)
        file.chmod(0o640)
        yield file


@pytest.mark.root
def test_the_owner_is_root_or_we(shared: Path) -> None:
    """A speaker with a user of its own takes no password of a third user."""
    code = (
        "import sys; from pathlib import Path; sys.path.insert(0, 'tests');"
        f"import os; os.setgroups([]); os.setgid({USER}); os.setuid({USER});"
        "from unit.speaker.test_md5_file import read; print(read(Path(sys.argv[1])))"
    )

    def run() -> str:
        line = [sys.executable, "-c", code, str(shared)]
        done = subprocess.run(line, capture_output=True, encoding="utf-8", check=False)
        return done.stdout.strip() or done.stderr

    assert run() == "s3cret"
    os.chown(shared, USER, USER)
    assert run() == "s3cret"
    os.chown(shared, USER + 1, USER)
    assert f"belongs to user {USER + 1}: chown root" in run()
    os.chown(shared, 0, USER)
    os.chown(shared.parent, USER + 1, 0)
    assert f"can be replaced by user {USER + 1}" in run()


SHIM = ("anycastd.speaker.exabgp.shim", "/nowhere")
RUN = ("anycastd", "run", "--profile", "/nowhere")
BAD_VARIABLES = [
    *((name, RUN, "999999") for name in ("ANYCASTD_PROFILE_FD", "ANYCASTD_DRAINS_FD")),
    *(
        (name, module, value)
        for name, module in (
            ("ANYCASTD_PARENT", SHIM),
            ("ANYCASTD_PROFILE_FD", RUN),
            ("ANYCASTD_CONTROL_FD", RUN),
            ("ANYCASTD_DRAINS_FD", RUN),
        )
        for value in ("abc", "-1", "1" * 5000, "\N{ARABIC-INDIC DIGIT THREE}")
    ),
]


@pytest.mark.parametrize(("name", "module", "value"), BAD_VARIABLES)
def test_a_variable_that_holds_no_number(name: str, module: tuple[str, ...], value: str) -> None:
    """One message that names it, and exit code 2; so does one with no descriptor of a text."""
    done = subprocess.run(
        [sys.executable, "-m", *module],
        capture_output=True,
        encoding="utf-8",
        check=False,
        env=os.environ | {name: value},
    )
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert name in done.stderr
    assert "unset it" in done.stderr


def test_an_error_that_may_pass_has_a_code_of_its_own(secret: Path) -> None:
    """With 69 systemd starts the speaker again; with 78 somebody would have to."""
    with no_free_descriptor():
        found = read(secret)
    assert found == (
        f"69: {secret}: the MD5 password of neighbor {FIRST} cannot be read now: "
        "Too many open files"
    )
