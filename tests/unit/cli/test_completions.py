"""The completions of bash and zsh, in the shells themselves."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

import completions
from anycastd.cli.main import COMMANDS
from support.shells import Shell

NO_ZSH = shutil.which("zsh") is None
FAKE = """#!/bin/sh
# Stands for an agent with two services in the directory that the tests name.
case "$*" in
    "status --json --directory /run/elsewhere") echo '{"services": {"other": 1}}' ;;
    "status --json") echo '{"services": {"web": 1, "mail": 1}}' ;;
    *) exit 3 ;;
esac
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the completions, and with a program that answers for an agent."""
    made = tmp_path_factory.mktemp("completions")
    (made / "anycastd.bash").write_text(completions.render_bash(), encoding="utf-8")
    (made / "_anycastd").write_text(completions.render_zsh(), encoding="utf-8")
    program = made / "bin" / "anycastd"
    program.parent.mkdir()
    program.write_text(FAKE, encoding="utf-8")
    program.chmod(0o755)
    (made / "files").mkdir()
    (made / "files" / "a profile.yaml").touch()
    (made / "files" / "folder").mkdir()
    return made


def complete(folder: Path, *words: str) -> list[str]:
    """Return what bash offers for the last word."""
    script = (
        f'source "{folder}/anycastd.bash"; PATH="{folder}/bin:$PATH"; COMP_WORDS=("$@"); '
        'COMP_CWORD=$(($# - 1)); _anycastd; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    done = subprocess.run(
        ["bash", "-c", script, "bash", "anycastd", *words],
        cwd=folder / "files",
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    assert not done.stderr
    return sorted(done.stdout.split("\n")[:-1])


@pytest.mark.parametrize("name", COMMANDS)
def test_bash_offers_every_command(folder: Path, name: str) -> None:
    """By its first letters, and with its options."""
    assert name in complete(folder, name[:2])
    assert "--help" in complete(folder, name, "-")


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["drain", ""], ["mail", "web"]),
        (["explain", "w"], ["web"]),
        (["undrain", "--directory", "/run/elsewhere", ""], ["other"]),
        (["check", "a"], ["a profile.yaml"]),
        (["run", "--profile", ""], ["a profile.yaml", "folder"]),
        (["run", "--directory", ""], ["folder"]),
        (["loopback", ""], ["add", "remove"]),
        (["lab", "--story", "fail"], ["failover"]),
        (["drain", "--reason", ""], []),
        (["drain", "--for", "w"], []),
        (["drain", "--wa"], ["--wait"]),
        (["no-command", ""], ["--help"]),
    ],
)
def test_bash_offers_what_can_come_next(folder: Path, words: list[str], offered: list[str]) -> None:
    """Services, files, directories, words of a choice, options; nothing for a free text."""
    assert [word for word in complete(folder, *words) if word] == offered


@pytest.mark.parametrize(
    ("typed", "shown"),
    [
        ("anycastd undr\t", r"anycastd undrain "),
        ("anycastd drain w\t", r"anycastd drain web "),
        ("anycastd run --pro\t", r"anycastd run --profile "),
        ("anycastd run --profile a\t", r"run --profile a\\ profile\.yaml "),
    ],
)
@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_a_person_presses_tab(folder: Path, shell: str, typed: str, shown: str) -> None:
    """The line on the terminal is completed."""
    if shell == "zsh":
        if NO_ZSH:
            pytest.skip("zsh is not installed")
        begin = f"fpath=({folder} $fpath); autoload -U compinit; compinit -u -D"
        argv = ["zsh", "-f", "-i"]
    else:
        begin = f"source {folder}/anycastd.bash; bind 'set enable-bracketed-paste off'"
        argv = ["bash", "--norc", "--noprofile", "-i"]
    with Shell(
        argv, {"PATH": f"{folder}/bin:/usr/bin:/bin", "PS1": "$ ", "HISTFILE": ""}
    ) as terminal:
        terminal.send(f"cd {folder}/files; {begin}; PS1='rea''dy> '\n")
        terminal.wait("ready> ")
        terminal.send(typed)
        terminal.wait(shown)
