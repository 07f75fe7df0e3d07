"""docs/files.md names files that the code or the package has, and none is left out."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "files.md").read_text(encoding="utf-8")


def read_sources() -> str:
    """Return the source and the package's files as one text, with the names of the files."""
    found = []
    for folder in ("anycastd", "packaging", "haproxy"):
        for path in sorted((ROOT / folder).rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts and "lab" not in path.parts:
                found += [str(path), path.read_text(encoding="utf-8")]
    return "\n".join(found)


def test_named_files_exist() -> None:
    """The last part of each path in the first column."""
    sources = read_sources()
    first = re.findall(r"^\| ([^|]*) \|", PAGE, re.MULTILINE)
    code = [text for cell in first for text in re.findall(r"`([^`]+)`", cell)]
    names = [Path(text).name for text in code if "/" in text or text.endswith((".json", ".jsonl"))]
    assert len(names) > 20
    # The second file of the history is named after the first one, and state files after a word.
    made = {"events.1.jsonl": "events", "drains.json": "drains", "memory.json": '"memory"'}
    assert not [name for name in names if made.get(name, name) not in sources]


def test_no_file_is_left_out() -> None:
    """Files that the agent, the speaker and BFD write by a fixed name."""
    for path in (ROOT / "anycastd").rglob("*.py"):
        if "lab" in path.parts:
            continue
        written = r'"([a-z_]+\.(?:json|jsonl|sock|conf|env|ctl))"'
        for name in re.findall(written, path.read_text(encoding="utf-8")):
            assert name in PAGE or name == "schema.json", f"{path.name}: {name}"
