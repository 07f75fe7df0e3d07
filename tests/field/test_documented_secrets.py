"""The commands of docs/security.md that make a token and the groups, on an /etc of their own."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.root

PAGE = Path(__file__).resolve().parents[2] / "docs" / "security.md"
# What the package makes, and the users that the page takes as an example.
BEGIN = """
mount -t tmpfs tmpfs "$1"
mkdir "$1/upper" "$1/work"
mount -t overlay overlay -o "lowerdir=/etc,upperdir=$1/upper,workdir=$1/work" /etc
getent group anycastd >/dev/null || groupadd --system anycastd
getent passwd anycastd >/dev/null || useradd --system --gid anycastd anycastd
useradd alice
useradd monitoring
install -d -m 0755 /etc/anycastd
install -d -m 0750 -g anycastd /etc/anycastd/secrets /etc/anycastd/tokens
"""
READ = """
import os, pwd
from anycastd.system.secret_file import SecretFileError, read_secret
user = pwd.getpwnam("{user}")
os.setgroups([])
os.setgid(user.pw_gid)
os.setuid(user.pw_uid)
try:
    print(len(read_secret("{path}")))
except SecretFileError as error:
    print("refused")
"""


def read_commands(heading: str) -> str:
    """Return the commands below a heading of the page, one a line."""
    section = PAGE.read_text(encoding="utf-8").split(f" {heading}\n", 1)[1].split("\n#", 1)[0]
    commands = re.findall(r"^ {4}(\w.*)$", section, re.MULTILINE)
    assert commands
    return "\n".join(commands)


def run_documented(directory: Path, heading: str, then: str) -> str:
    """Run the commands below ``heading``, and ``then``, as root; returns what is printed.

    /etc is a copy in a mount namespace, which vanishes with the commands.
    """
    commands = read_commands(heading)
    if "groupadd" not in commands:
        commands = f"getent group anycastd-admin >/dev/null || groupadd anycastd-admin\n{commands}"
    script = f"set -e\n{BEGIN}\n{commands}\n{then}"
    done = subprocess.run(
        ["unshare", "--mount", "bash", "-c", script, "bash", str(directory)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_token_is_one_that_the_agent_takes(tmp_path: Path) -> None:
    """The agent's user reads it, another user may not."""
    found = re.search(r"/etc/anycastd/\S+", read_commands("A token"))
    assert found is not None
    readers = (READ.format(user=user, path=found[0]) for user in ("anycastd", "alice"))
    then = "\n".join(f"{sys.executable} -c '{reader}'" for reader in readers)
    assert run_documented(tmp_path, "A token", then).split() == ["64", "refused"]


def test_the_groups_are_those_that_the_page_says(tmp_path: Path) -> None:
    """Alice may read and change something, monitoring may read."""
    then = "id -nG alice; id -nG monitoring"
    alice, monitoring = run_documented(tmp_path, "Control socket", then).splitlines()
    assert set(alice.split()) == {"alice", "anycastd", "anycastd-admin"}
    assert set(monitoring.split()) == {"monitoring", "anycastd"}
