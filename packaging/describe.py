# ruff: noqa: INP001 - a script beside what it is for, no package
"""Write the manual pages and the completions from what `--help` and the schema say.

PYTHONPATH=.:scripts python3 packaging/describe.py DIRECTORY

    DIRECTORY/man/*.8, *.5    manual pages of the package anycastd
    DIRECTORY/lab/*.8         manual page of the package anycastd-lab
    DIRECTORY/anycastd        completion for bash
    DIRECTORY/_anycastd       completion for zsh
"""

from __future__ import annotations

import sys
from pathlib import Path

from completions import render_bash, render_zsh
from man_pages import render_pages

LAB_PAGE = "anycastd-lab.8"


def main() -> int:
    """Write everything into the directory that is named on the command line."""
    if len(sys.argv) != 2:  # noqa: PLR2004 - the program and the directory
        sys.stderr.write(f"{__doc__}\n")
        return 2
    made = Path(sys.argv[1])
    for name, text in render_pages().items():
        page = made / ("lab" if name == LAB_PAGE else "man") / name
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text(text, encoding="utf-8")
    (made / "anycastd").write_text(render_bash(), encoding="utf-8")
    (made / "_anycastd").write_text(render_zsh(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
