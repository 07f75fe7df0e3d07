"""What `systemd-analyze security` finds in a booted system, against docs/security.md."""

from __future__ import annotations

import json
import re

from systems import ROOT, System

UNITS = ("anycastd", "anycastd-speaker", "anycastd-vip", "anycastd-bfd")
"""In the order of the columns of the page."""
TOTAL = "exposure of the whole unit"
PAGES_SYSTEMD = 252
"""The systemd of which the page has the rows; others have more rows, or fewer."""


def read_page() -> dict[str, dict[str, str]]:
    """Return what the page says: unit -> row -> exposure, with :data:`TOTAL` as a row."""
    page = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
    table = page.split("| row | agent | speaker | VIPs | BFD | why |\n", 1)[1].split("\n\n", 1)[0]
    rows = [[cell.strip() for cell in line.split("|")] for line in table.splitlines()[1:]]
    return {
        unit: {row[1].strip("`"): row[column] for row in rows if row[column]}
        for column, unit in enumerate(UNITS, start=2)
    }


def assert_as_documented(system: System) -> None:
    """Assert that no unit is more exposed than the page says, and that each row is there."""
    version = int(system.run("systemctl --version").split()[1])
    for unit, documented in read_page().items():
        analyze = f"systemd-analyze security --no-pager {unit}.service"
        output = system.run(analyze)
        overall = re.search(r"Overall exposure level for \S+: ([\d.]+)", output)
        assert overall, output
        assert float(overall[1]) <= float(documented[TOTAL]), output
        if version == PAGES_SYSTEMD:
            rows = json.loads(system.run(f"{analyze} --json=short"))
            found = {
                row["name"].replace("|", ", "): row["exposure"]
                for row in rows
                if float(row["exposure"] or 0)
            }
            assert {TOTAL: overall[1], **found} == documented, unit
