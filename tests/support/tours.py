"""Read the tours: what each ``__init__`` says of its folder, and what its files really import."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "anycastd"

_STEP = re.compile(r"^ {2,3}(\d+)  (\S+)  +(\S+)", re.MULTILINE)
_FOLDER = re.compile(r"^ {4}(\w+) {2,}\S.*?; uses (.+)$", re.MULTILINE)
# The formatter takes the indentation away where every line has it.
_ENTRY = re.compile(r"^(?: {4})?(\w+/?) {2,}\S", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Step:
    """One step of the way of an event: a file below the package, and a function in it."""

    number: int
    path: Path
    function: str


@dataclass(frozen=True, slots=True)
class Tour:
    """What a folder's ``__init__`` lists: names in order, those without I/O first."""

    pure: tuple[str, ...]
    impure: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Return all files (``name``) and folders (``name/``), in the order of the tour."""
        return self.pure + self.impure


def docstring(folder: Path) -> str:
    """Return the docstring of a folder's ``__init__.py``."""
    text = (folder / "__init__.py").read_text(encoding="utf-8")
    return ast.get_docstring(ast.parse(text), clean=False) or ""


def steps() -> list[Step]:
    """Return the way of one event as the package's tour has it."""
    return [
        Step(int(number), PACKAGE / f"{path}.py", function)
        for number, path, function in _STEP.findall(docstring(PACKAGE))
    ]


def uses() -> dict[str, frozenset[str]]:
    """Return folder -> the folders that it may use, in the order of the package's tour."""
    found = {
        name: frozenset() if words == "nothing" else frozenset(re.split(r", | and ", words))
        for name, words in _FOLDER.findall(docstring(PACKAGE))
    }
    everything = frozenset(found) - {"cli", "lab"}
    return {
        name: everything - {name} if words == {"all above"} else words
        for name, words in found.items()
    }


def tour(folder: Path) -> Tour:
    """Return the files and folders that a folder's ``__init__`` lists.

    What stands below a line that begins with ``I/O`` may do I/O; a tour that begins with
    ``Pure`` says that nothing in it does.
    """
    text = docstring(folder)
    pure, _, impure = text.partition("\nI/O")
    return Tour(tuple(_ENTRY.findall(pure)), tuple(_ENTRY.findall(impure)))


def folders() -> list[Path]:
    """Return every folder below the package that has an ``__init__.py``."""
    return sorted(path.parent for path in PACKAGE.rglob("__init__.py") if path.parent != PACKAGE)


def sources(*places: str) -> list[Path]:
    """Return the Python files below some folders of the checkout."""
    return sorted(path for place in places for path in (ROOT / place).rglob("*.py"))


def name_of(path: Path) -> str:
    """Return a path below the checkout, as a test's id."""
    return str(path.relative_to(ROOT))


def module_of(path: Path) -> str:
    """Return the dotted name of a file of the package."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def imports(path: Path) -> frozenset[str]:
    """Return the dotted name of every module that a file imports, wherever the line stands."""
    return frozenset(_imports(path))


def _imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import; write it in full"
            assert node.module
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield full if _is_module(full) else node.module


def _is_module(name: str) -> bool:
    if name.startswith("importlib."):
        return name == "importlib.resources"
    place = ROOT / name.replace(".", "/")
    return name.startswith("anycastd.") and (
        place.with_suffix(".py").is_file() or (place / "__init__.py").is_file()
    )


def ours(path: Path) -> frozenset[str]:
    """Return the modules of ours that a file imports."""
    return frozenset(name for name in imports(path) if name.startswith("anycastd."))


def closure(*modules: str) -> frozenset[str]:
    """Return these modules of ours and all that they import, directly or through others."""
    found: set[str] = set()
    ahead = list(modules)
    while ahead:
        name = ahead.pop()
        path = ROOT / (name.replace(".", "/") + ".py")
        if name not in found and path.is_file():
            found.add(name)
            ahead += ours(path)
    return frozenset(found)
