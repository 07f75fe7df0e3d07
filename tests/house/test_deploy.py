"""packaging/deploy: cloud-init's file and the Ansible role, by their own linters."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from anycastd.profile.validate import validate_profile

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "packaging" / "deploy"
ANSIBLE = DEPLOY / "ansible"
ROLE = ANSIBLE / "roles" / "anycastd"
YAMLLINT = (
    "{extends: default, rules: {line-length: {max: 110}, document-start: disable, "
    "comments: {require-starting-space: false, min-spaces-from-content: 1}}}"
)


def run(tmp_path: Path, *command: str, tries: int = 1) -> None:
    """Run a linter on the files until it passes, ``tries`` times; skips where there is none."""
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    said = ""
    for number in range(tries):
        home = tmp_path / str(number)
        home.mkdir()
        done = subprocess.run(
            command,
            cwd=ANSIBLE,
            env={
                **os.environ,
                "HOME": str(home),
                "XDG_CACHE_HOME": str(home / "cache"),  # else two runs share ansible-lint's links
                "PYTHONHASHSEED": "0",  # ansible-lint goes through sets of files
                "ANSIBLE_LOCAL_TEMP": str(home),
                "ANSIBLE_ROLES_PATH": str(ANSIBLE / "roles"),
                "NO_COLOR": "1",
                "LC_ALL": "C.UTF-8",
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            check=False,
        )
        if done.returncode == 0:
            return
        said += f"{done.returncode}: {done.stdout}{done.stderr}\n"
    raise AssertionError(said)


def test_yamllint(tmp_path: Path) -> None:
    """All files."""
    run(tmp_path, "yamllint", "--strict", "-d", YAMLLINT, str(DEPLOY))


def test_cloud_init_takes_its_file(tmp_path: Path) -> None:
    """By its own schema."""
    run(tmp_path, "cloud-init", "schema", "--config-file", str(DEPLOY / "cloud-init.yaml"))


def test_ansible_reads_the_playbook(tmp_path: Path) -> None:
    """With the role and the inventory."""
    playbook = ("--syntax-check", "-i", "inventory.yaml", "site.yaml")
    run(tmp_path, "ansible-playbook", *playbook)


@pytest.mark.timeout(300)
def test_ansible_lint(tmp_path: Path) -> None:
    """All its rules, without the network."""
    run(
        tmp_path,
        "ansible-lint",
        "--offline",
        "--profile",
        "basic",
        "--project-dir",
        str(ANSIBLE),
        "site.yaml",
        # It has failed once by itself on a busy machine; what it finds, it finds each time.
        tries=2,
    )


def read_written(path: str) -> str:
    """Return what cloud-init's file writes to a path."""
    document = yaml.safe_load((DEPLOY / "cloud-init.yaml").read_text(encoding="utf-8"))
    (content,) = (each["content"] for each in document["write_files"] if each["path"] == path)
    return str(content)


def test_the_profile_of_cloud_init_can_be_used() -> None:
    """As all examples."""
    text = read_written("/etc/anycastd/profile.yaml")
    validation = validate_profile(text, "cloud-init.yaml")
    assert validation.profile is not None, "\n".join(map(str, validation.problems))


def test_the_script_of_cloud_init_is_one() -> None:
    """The shell can read it, and every part that is to be changed says so."""
    script = read_written("/usr/local/sbin/install-anycastd")
    subprocess.run(["sh", "-n"], input=script, encoding="utf-8", check=True)
    assert script.count("EDIT") == 2


def test_every_variable_of_the_role_is_documented() -> None:
    """docs/deploy.md has them with their defaults."""
    page = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")
    said = dict(re.findall(r"^\| `(anycastd_\w+)` \|.*\| ([^|]+) \|$", page, re.MULTILINE))
    defaults = yaml.safe_load((ROLE / "defaults" / "main.yaml").read_text(encoding="utf-8"))
    tasks = "".join(each.read_text(encoding="utf-8") for each in (ROLE / "tasks").glob("*.yaml"))
    used = set(re.findall(r"\banycastd_\w+", tasks)) - set(re.findall(r"register: (\w+)", tasks))
    assert used == set(said) == {*defaults, "anycastd_package", "anycastd_profile"}
    for name, value in defaults.items():
        shown = {"": "empty", False: "`false`"}.get(value, f"`{value}`")
        assert said[name] == shown, name
