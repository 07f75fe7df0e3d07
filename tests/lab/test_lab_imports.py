"""Test that the lab imports nothing of the agent."""

from __future__ import annotations

import ast
from pathlib import Path

import anycastd.lab

HERE = Path(next(iter(anycastd.lab.__path__)))


def imported_names(file: Path) -> set[str]:
    """Return the names of all modules that a file imports anywhere."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file.name} imports relatively"
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return found


def test_the_lab_imports_nothing_else_of_ours() -> None:
    """No file of the lab imports a module of ours outside the lab."""
    files = sorted(HERE.rglob("*.py"))
    assert len(files) > 10
    wrong = {
        f"{file.relative_to(HERE)}: {name}"
        for file in files
        for name in imported_names(file)
        if name.partition(".")[0] == "anycastd" and not name.startswith("anycastd.lab.")
    }
    assert not wrong
