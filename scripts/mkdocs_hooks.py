"""Hooks of MkDocs: pages outside docs/ are in the site too, and links are the same in both.

The pages link each other as files of the checkout, so that they can be read there.  In the site
README.md is the first page, and all pages are in one folder.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parent.parent
PAGES = {"README.md": "index.md"} | {
    name: name for name in ("DESIGN.md", "CHANGELOG.md", "CONTRIBUTING.md")
}
"""File of the checkout -> page of the site."""
FOLDERS = ("profiles", "haproxy", "packaging/deploy")
"""Folders whose files the pages link to."""


def on_config(config: Any, **_: object) -> Any:  # noqa: ANN401 - MkDocs' own
    """Put pages that mkdocs.yml does not place yet under Reference."""
    placed = set(re.findall(r"[\w-]+\.md", str(config["nav"])))
    (reference,) = (each["Reference"] for each in config["nav"] if "Reference" in each)
    reference += sorted({each.name for each in (ROOT / "docs").glob("*.md")} - placed)
    return config


def on_files(files: Files, config: Any, **_: object) -> Files:  # noqa: ANN401 - MkDocs' own
    """Add the pages and files that are outside docs/."""
    sources = {ROOT / name: page for name, page in PAGES.items()}
    for folder in FOLDERS:
        found = [each for each in (ROOT / folder).rglob("*") if each.is_file()]
        # A page of the site would be made of a file with this ending.
        sources |= {
            each: each.relative_to(ROOT).as_posix() for each in found if each.suffix != ".md"
        }
    for source, page in sources.items():
        files.append(File.generated(config, page, abs_src_path=str(source)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: object) -> str:  # noqa: ANN401 - MkDocs' own
    """Write the links of a page as they are in the site."""
    name = page.file.src_uri
    folder = ROOT if name in PAGES.values() else (ROOT / "docs" / name).parent
    up = "../" * name.count("/")

    def rewrite(found: re.Match[str]) -> str:
        text, file, anchor = found[1], found[2], found[3]
        if re.match(r"[a-z]+:", file) or not file:
            return found[0]
        target = (folder / file).resolve().relative_to(ROOT).as_posix()
        if target.startswith("docs/"):
            target = target.removeprefix("docs/")
        elif target in PAGES:
            target = PAGES[target]
        elif not target.startswith(FOLDERS):
            return f"{text[1:-1]} (`{target}`)"
        return f"{text}({up}{target}{anchor or ''})"

    return re.sub(r"(\[[^]\n]*\])\(([^)\s#]*)(#[^)\s]*)?\)", rewrite, markdown)
