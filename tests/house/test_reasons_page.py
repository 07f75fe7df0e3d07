"""docs/reasons.md has every reason of the code."""

from __future__ import annotations

import reasons_page


def test_the_page_is_written_from_the_code() -> None:
    """`PYTHONPATH=. python scripts/reasons_page.py` writes it anew."""
    assert reasons_page.PAGE.read_text(encoding="utf-8") == reasons_page.render_page()
