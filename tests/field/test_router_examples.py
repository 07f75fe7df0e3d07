"""The configurations of docs/routers.md and docs/ibgp.md, loaded by the routers they are for."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.bird import Bird, find_bird
from support.peer import wait_for

DOCS = Path(__file__).resolve().parents[2] / "docs"
PATH = "/usr/lib/frr:/usr/sbin:/sbin:/usr/bin:/bin"
CHECKS = {
    "frr": ["bgpd", "-C", "-f", "FILE"],
    "bird": ["bird", "-p", "-c", "FILE"],
    "toml": ["gobgpd", "-d", "-p", "-f", "FILE"],
}
"""Language of the example -> the command that only checks a configuration."""


def read_example(language: str, page: str = "routers") -> str:
    """Return the one example of a page in a language."""
    text = (DOCS / f"{page}.md").read_text(encoding="utf-8")
    (example,) = re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    return str(example)


@pytest.fixture
def folder() -> Iterator[Path]:
    """Return a folder that every user can read: bgpd reads its file as a user of its own."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


def find_fault(language: str, text: str, folder: Path) -> str:
    """Have the router read a configuration, and return its complaint, or "".

    Skips the test where the router is not installed.
    """
    program, *arguments = CHECKS[language]
    found = shutil.which(program, path=PATH)
    if found is None:
        pytest.skip(f"{program} is not installed")
    file = folder / "example.conf"
    file.write_text(text, encoding="utf-8")
    done = subprocess.run(
        [found, *(str(file) if word == "FILE" else word for word in arguments)],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )
    said = done.stdout + done.stderr
    complains = re.search(r"error|unknown|can't open|failed on config", said, re.IGNORECASE)
    return f"{done.returncode}: {said}" if done.returncode or complains else ""


@pytest.mark.parametrize("page", ["routers", "ibgp"])
@pytest.mark.parametrize("language", CHECKS)
def test_a_router_takes_its_example(language: str, page: str, folder: Path) -> None:
    """As it stands on the page."""
    assert not find_fault(language, read_example(language, page), folder)


@pytest.mark.parametrize(
    ("language", "right", "wrong"),
    [
        ("frr", "remote-as 65010", "remote-as many"),
        ("bird", "hold time 9", "hold time long"),
        ("toml", "as = 65001", 'as = "many"'),
    ],
)
def test_a_router_refuses_a_wrong_one(language: str, right: str, wrong: str, folder: Path) -> None:
    """So the check above can fail."""
    text = read_example(language)
    assert right in text
    assert find_fault(language, text.replace(right, wrong, 1), folder)


class Feed(Bird):
    """A BIRD that applies the example's filter to routes of its own, without a neighbor."""

    def __init__(self, directory: Path, filters: str) -> None:
        super().__init__(directory)
        self._conf.write_text(
            f"""
log stderr all;
router id 192.0.2.254;
{filters}
protocol static feed {{
  ipv4 {{ import filter from_anycastd; import keep filtered; }};
  route 203.0.113.10/32 blackhole;
  route 203.0.113.11/32 blackhole;
  route 203.0.113.0/24 blackhole;
  route 0.0.0.0/0 blackhole;
}}
""",
            encoding="utf-8",
        )


@pytest.mark.skipif(find_bird() is None, reason="BIRD is not installed")
def test_the_filter_for_bird_takes_the_vip_alone(tmp_path: Path) -> None:
    """No other address, no shorter prefix, no default route."""
    (filters,) = re.findall(r"^filter .*?^}", read_example("bird"), re.DOTALL | re.MULTILINE)
    with Feed(tmp_path, filters) as bird:
        wait_for(lambda: "203.0.113.10/32" in bird.ask("show route"), 30, "the VIP")
        taken = re.findall(r"^([0-9./]+) ", bird.ask("show route"), re.MULTILINE)
        dropped = re.findall(r"^([0-9./]+) ", bird.ask("show route filtered"), re.MULTILINE)
    assert taken == ["203.0.113.10/32"]
    assert sorted(dropped) == ["0.0.0.0/0", "203.0.113.0/24", "203.0.113.11/32"]
