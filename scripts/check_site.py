"""See that a built site needs nothing from elsewhere: python scripts/check_site.py DIRECTORY."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

_OUTSIDE = r"(?:https?:)?//[^\s\"')]+"
_RESOURCES = (
    re.compile(
        rf"<(?:link|script|img|iframe|source|object)\b[^>]*?\b(?:href|src|data)=[\"']?({_OUTSIDE})"
    ),
    re.compile(rf"url\(\s*[\"']?({_OUTSIDE})"),
    re.compile(rf"@import\s+[\"']({_OUTSIDE})"),
)


def find_outside(site: Path) -> Iterator[str]:
    """Yield `FILE: address` for each resource that a browser would fetch from another host."""
    for path in sorted(site.rglob("*")):
        if path.suffix in {".html", ".css"}:
            text = path.read_text(encoding="utf-8")
            for pattern in _RESOURCES:
                for address in pattern.findall(text):
                    yield f"{path.relative_to(site)}: {address}"


def main() -> int:
    """Print what comes from elsewhere; 1 if there is any, or no page at all."""
    site = Path(sys.argv[1])
    found = list(find_outside(site))
    sys.stderr.writelines(f"{each} comes from another host\n" for each in found)
    return 1 if found or not (site / "index.html").is_file() else 0


if __name__ == "__main__":
    sys.exit(main())
