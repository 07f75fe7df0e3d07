"""The lines for haproxy.cfg that pages show one by one: HAProxy takes them."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"
KEYWORDS = r"(?:http-request|option|default-server) "
MAP = "/etc/haproxy/maintenance.map"
SHOWN = [
    (page.name, line)
    for page in sorted(DOCS.glob("*.md"))
    if page.name != "security.md"  # test_http_over_tls runs its lines
    for line in re.findall(rf"^ *({KEYWORDS}.*)$", page.read_text("utf-8"), re.MULTILINE)
]


def test_pages_have_lines() -> None:
    """None was lost on the way."""
    assert len(SHOWN) > 5


@pytest.mark.parametrize(("page", "line"), SHOWN)
def test_a_shown_line_is_taken(tmp_path: Path, page: str, line: str) -> None:
    """It stands in a proxy of its own; HAProxy reads the file and finds nothing to complain of."""
    (tmp_path / "maintenance.map").touch()
    config = tmp_path / "haproxy.cfg"
    line = line.replace(MAP, f"{tmp_path}/maintenance.map")
    config.write_text(
        "defaults\n    mode http\n    timeout connect 1s\n    timeout client 1s\n"
        "    timeout server 1s\n"
        f"listen web\n    bind 127.0.0.1:8080\n    {line}\n"
        "    server web1 127.0.0.1:8081\n",
        encoding="utf-8",
    )
    done = subprocess.run(
        ["haproxy", "-c", "-f", str(config)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{page}: {done.stdout}{done.stderr}"
