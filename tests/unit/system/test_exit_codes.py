"""The table of exit codes: the page for operators and the lab have the same."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from anycastd.lab.network import namespaces
from anycastd.system import exit_codes

ROOT = Path(__file__).resolve().parents[3]
NAMES = {name: value for name, value in vars(exit_codes).items() if isinstance(value, int)}


def page_rows() -> set[tuple[int, str]]:
    """Read code and name of each row of the page's first table."""
    page = (ROOT / "docs" / "exit-codes.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d+) \| ([^|]+) \|", page.split("\n## ")[0], re.MULTILINE)
    return {(int(code), name.strip()) for code, name in rows}


def test_the_page_has_every_code_with_its_name() -> None:
    """Each code of the table stands in the page, and the page has no other but ExaBGP's."""
    table = {
        (code, name if name.startswith("EX_") else name.lower().replace("_", " "))
        for name, code in NAMES.items()
    }
    assert page_rows() - table == {(1, "ExaBGP's own")}
    assert table <= page_rows()


def test_the_lab_has_the_same_codes() -> None:
    """It imports nothing of ours, so it writes them down again."""
    lab = {name: value for name, value in vars(namespaces).items() if name.startswith("EX_")}
    assert lab
    assert lab.items() <= NAMES.items()


def test_no_exit_code_stands_bare_in_the_code() -> None:
    """A command, a process and an error take their code from the table."""
    codes = {code for name, code in NAMES.items() if name.startswith("EX_")}
    for path in sorted((ROOT / "anycastd").rglob("*.py")):
        if path.name == "exit_codes.py":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Return) and isinstance(node.value, ast.Constant):
                assert node.value.value not in codes, f"{path}:{node.lineno}"
            elif isinstance(node, ast.Call) and not isinstance(node.func, ast.Attribute):
                found = [each.value for each in node.args if isinstance(each, ast.Constant)]
                found = [value for value in found if not isinstance(value, bool)]
                assert not codes & set(found), f"{path}:{node.lineno}"
