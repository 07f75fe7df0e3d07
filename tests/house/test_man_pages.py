"""The manual pages: every command and every key of the profile, and no complaint of groff."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
from pathlib import Path

import pytest

import man_pages
import profile_reference
from anycastd.cli.main import COMMANDS
from anycastd.profile.schema import load_schema, resolve_ref
from command_parsers import iter_arguments, iter_parsers

PAGES = man_pages.render_pages()


def render(name: str, folder: Path) -> str:
    """Return a page as `man` shows it on a terminal of 80 columns."""
    page = folder / name
    page.write_text(PAGES[name], encoding="utf-8")
    done = subprocess.run(
        ["man", "--warnings", "-E", "UTF-8", "-l", str(page)],
        env={**os.environ, "MANWIDTH": "80", "LC_ALL": "C.UTF-8", "MANPAGER": "cat"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    assert not done.stderr, "groff complains"
    return done.stdout.replace("\N{HYPHEN}", "-").replace("\b", "")


def test_every_command_has_a_page() -> None:
    """Each is named in anycastd(8)."""
    assert set(PAGES) == {
        "anycastd.8",
        "anycastd-profile.5",
        *(f"anycastd-{name}.8" for name in COMMANDS),
    }
    for name in COMMANDS:
        assert f".BR anycastd\\-{name} (8)" in PAGES["anycastd.8"]


@pytest.mark.skipif(shutil.which("man") is None, reason="man is not installed")
@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_shown_without_complaint(name: str, tmp_path: Path) -> None:
    """It fits 80 columns, and has its sections."""
    shown = render(name, tmp_path)
    assert max(map(len, shown.splitlines())) <= 80
    for section in ("NAME", "SYNOPSIS", "DESCRIPTION", "SEE ALSO"):
        assert f"\n{section}\n" in f"\n{shown}", section


@pytest.mark.skipif(shutil.which("mandoc") is None, reason="mandoc is not installed")
@pytest.mark.parametrize("name", PAGES)
def test_mandoc_finds_no_fault(name: str) -> None:
    """Warnings too; no date is meant: the version stands for it."""
    done = subprocess.run(
        ["mandoc", "-T", "lint", "-W", "warning"],
        input=PAGES[name],
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    found = [line for line in done.stdout.splitlines() if "missing date" not in line]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(("name", "parser"), list(iter_parsers()), ids=list(COMMANDS))
def test_a_page_has_every_option(name: str, parser: argparse.ArgumentParser) -> None:
    """As the help has it."""
    page = PAGES[f"anycastd-{name}.8"]
    for argument in iter_arguments(parser):
        for option in argument.options:
            assert f"\\fB{man_pages.escape_roff(option)}\\fR" in page
    assert ".SH EXIT STATUS\n.TP" in page, "neither the help nor docs/exit-codes.md has its codes"


def test_the_page_of_the_profile_has_every_key() -> None:
    """The blocks are those of docs/profile.md."""
    root = load_schema()
    for _, path in profile_reference.BLOCKS:
        block = root
        for step in path:
            block = block[step]
        for key, raw in block["properties"].items():
            assert f"\\fB{man_pages.escape_roff(key)}\\fR (" in PAGES["anycastd-profile.5"]
            assert resolve_ref(raw, root)["description"]
