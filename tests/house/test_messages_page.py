"""docs/messages.md has every reason, event and problem of the code, each with what to do."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import messages_page
from anycastd.reasons import Reason
from anycastd.views.events import EventKind
from problem_catalogue import PROBLEMS, Known

PACKAGE = Path(__file__).resolve().parents[2] / "anycastd"
PASSED_ON = "VIP {prefix}: {vip.detail}"
"""A problem whose text is written elsewhere."""


def read_texts(node: ast.AST) -> list[str]:
    """Return the texts within a part of the source; `{` and `}` stand around what varies."""
    found = []
    inner = {
        id(part)
        for each in ast.walk(node)
        if isinstance(each, ast.JoinedStr)
        for part in ast.walk(each)
        if part is not each
    }
    for each in ast.walk(node):
        if isinstance(each, ast.JoinedStr):
            found.append(ast.unparse(each)[2:-1])
        elif isinstance(each, ast.Constant) and id(each) not in inner:
            found.append(str(each.value))
    return found


def parse(source: str) -> ast.Module:
    """Parse a file below anycastd/."""
    return ast.parse((PACKAGE / source).read_text(encoding="utf-8"))


def test_the_page_is_written_from_the_code() -> None:
    """`PYTHONPATH=. python scripts/messages_page.py` writes it anew."""
    assert messages_page.PAGE.read_text(encoding="utf-8") == messages_page.render_page()


@pytest.mark.parametrize("known", PROBLEMS, ids=lambda known: known.shown)
def test_a_known_problem_is_one_of_the_code(known: Known) -> None:
    """A text that was changed there has to be changed in scripts/problem_catalogue.py."""
    module = parse(known.source)
    texts = [*read_texts(module), ast.unparse(module)]
    assert any(known.text in text for text in texts), known.source
    assert known.remedy


def test_every_problem_of_the_status_is_known() -> None:
    """Each text that views/problems.py yields is in the catalogue."""
    known = [each.text for each in PROBLEMS if each.source == "views/problems.py"]
    yields = [
        each
        for function in parse("views/problems.py").body
        if isinstance(function, ast.FunctionDef)
        for each in ast.walk(function)
        if isinstance(each, ast.Yield) and each.value is not None
    ]
    texts = [" ".join(read_texts(each)) for each in yields]
    texts.remove(PASSED_ON)
    assert len(texts) > 9
    for text in texts:
        assert any(part in text for part in known), f"scripts/problem_catalogue.py lacks: {text}"


def test_every_source_of_problems_is_known() -> None:
    """Each file with a function that lists problems has an entry, or only asks others."""
    sources = {each.source for each in PROBLEMS}
    asking = {"control_server", "drain_controller", "memory_store", "answers", "web", "sources"}
    asking |= {"asker", "late_parts", "runner"}
    for path in PACKAGE.rglob("*.py"):
        if "def list_problems(" in path.read_text(encoding="utf-8"):
            assert path.relative_to(PACKAGE).as_posix() in sources or path.stem in asking, (
                f"scripts/problem_catalogue.py has no problem of {path.name}"
            )


def test_everything_has_a_remedy() -> None:
    """Whoever reads a message is told what to do, or that there is nothing to do."""
    assert {reason for reason in Reason if not reason.remedy} == {Reason.SERVING}
    assert not [kind for kind in EventKind if not kind.remedy or not kind.meaning]
    assert {kind.priority for kind in EventKind} <= set(messages_page.PRIORITIES)
