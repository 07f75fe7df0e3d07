"""The documentation site: `make docs` builds it strictly; here is what that does not see."""

from __future__ import annotations

from pathlib import Path

import pytest

from check_site import find_outside


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ('<a href="https://example.com/">a link is no resource</a>', 0),
        ('<link rel="stylesheet" href="css/base.css">', 0),
        ('<link rel="stylesheet" href="https://example.com/base.css">', 1),
        ("<script async src='//example.com/a.js'></script>", 1),
        ("<style>a { background: url(https://example.com/a.png) }</style>", 1),
        ('<style>@import "https://example.com/a.css";</style>', 1),
    ],
)
def test_resources_from_elsewhere_are_found(tmp_path: Path, text: str, count: int) -> None:
    """What a browser would fetch, not what a person may click."""
    (tmp_path / "index.html").write_text(text, encoding="utf-8")
    assert len(list(find_outside(tmp_path))) == count
