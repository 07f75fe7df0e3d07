"""docs/commands.md has every command and every argument of the help."""

from __future__ import annotations

import commands_page


def test_the_page_is_written_from_the_code() -> None:
    """`PYTHONPATH=. python scripts/commands_page.py` writes it anew."""
    assert commands_page.PAGE.read_text(encoding="utf-8") == commands_page.render_page()
