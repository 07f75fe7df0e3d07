"""docs/promises.md: every promise names tests, and every test that it names is there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/promises.md"
ROWS = [
    line.strip("|").split("|")
    for line in PAGE.read_text(encoding="utf-8").splitlines()
    if line.startswith("| ") and not line.startswith("| what happens")
]


def named_tests(file: Path) -> set[str]:
    """The names of a file's tests."""
    return {
        node.name
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test")
    }


def test_the_page_was_read() -> None:
    """The table of design and issue: nothing of it was lost on the way."""
    assert len(ROWS) > 35


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0].strip())
def test_each_promise_has_a_test(row: list[str]) -> None:
    """Three columns, and in the last one tests that are there."""
    _, promise, proof = row
    assert promise.strip()
    named = re.findall(r"`(\w+\.py)::(\w+)`", proof)
    assert named
    assert not re.sub(r"`(\w+\.py)::(\w+)`", "", proof).strip()
    for file, test in named:
        there = [path for path in (ROOT / "tests").rglob(file) if test in named_tests(path)]
        assert there, f"no {file} has {test}"
