"""Tests of what the lab shows on a terminal: no line too wide, nothing left behind."""

from __future__ import annotations

import io
import os
import re
import shutil

import pytest

from anycastd.lab.network.azure import AZURE, PICTURE
from anycastd.lab.network.outage import RequestResult
from anycastd.lab.network.table import TableRow
from anycastd.lab.stories.live import FAILED, LiveView, draw_strip
from anycastd.lab.stories.report import StepReport, TextReport
from anycastd.lab.stories.shell import build_help

WIDTH = 80


class Screen(io.StringIO):
    """A terminal of a few columns, which remembers what is on it and what was ever written."""

    def __init__(self, columns: int = WIDTH) -> None:
        super().__init__()
        self.columns = columns
        self.rows = [""]
        self.widest = 0

    def isatty(self) -> bool:
        """Be a terminal."""
        return True

    def size(self) -> os.terminal_size:
        """Return the size."""
        return os.terminal_size((self.columns, 24))

    def write(self, text: str) -> int:
        """Move the cursor, erase, fold and print, as a terminal does."""
        for part in re.findall(r"\033\[\d*[A-Za-z]|\r|\n|[^\033\r\n]+", text):
            if part == "\n":
                self.rows.append("")
            elif part == "\033[J":
                self.rows[-1] = ""
            elif part.endswith("A") and part.startswith("\033"):
                del self.rows[len(self.rows) - int(part[2:-1]) :]
            elif part[0] not in "\r\033":
                self.rows[-1] += part
                self.widest = max(self.widest, len(self.rows[-1]))
                while len(self.rows[-1]) > self.columns:
                    rest = self.rows[-1][self.columns :]
                    self.rows[-1] = self.rows[-1][: self.columns]
                    self.rows.append(rest)
        return len(text)


@pytest.mark.parametrize("columns", [20, 40, 80, 200])
def test_no_line_is_wider_than_the_terminal_and_nothing_is_left(columns: int) -> None:
    """A wait with a long name, drawn again and again, leaves an empty screen."""
    screen = Screen(columns)
    view = LiveView(screen, screen.size)
    screen.write("1. Baseline\n")
    for number in range(50):
        view.draw(
            f"{number / 10} s of 60 s: northeurope preferred, westeurope preferred at the MSEE"
        )
        assert len(screen.rows) == 3
    assert 0 < screen.widest < columns
    view.clear()
    assert screen.rows == ["1. Baseline", ""]


def test_a_terminal_that_shrinks_is_cleared_too() -> None:
    """Lines that the terminal has folded since are removed as a whole."""
    screen = Screen(80)
    view = LiveView(screen, screen.size)
    view.draw("x" * 70)
    screen.columns = 30
    shown = screen.rows[0]
    screen.rows = [shown[:30], shown[30:60], shown[60:], ""]
    view.clear()
    assert screen.rows == [""]


def test_without_a_terminal_there_are_plain_lines() -> None:
    """A log gets a line now and then, without a control character."""
    stream = io.StringIO()
    view = LiveView(stream)
    for number in range(3):
        view("the routers to start", number, 20)
    view.clear()
    assert "\033" not in stream.getvalue()


def result(
    number: int, at: float, region: str = "northeurope", *, ok: bool = True
) -> RequestResult:
    """Return the result of a request that ended at a time."""
    return RequestResult(number, at, at, at, ok, region, "web1", "" if ok else "status 503")


def test_a_strip_shows_who_answered() -> None:
    """A character for each tenth of a second: the region, a failure, or nothing."""
    results = [
        result(1, 10.01),
        result(2, 10.12),
        result(3, 10.13, ok=False),
        result(4, 10.14),
        result(5, 10.35, "westeurope"),
        result(6, 99.0),
    ]
    assert draw_strip(results, 10.0, 5, AZURE.sites) == f"N{FAILED} W "


@pytest.mark.parametrize("columns", [60, 80, 100])
def test_a_report_is_folded_on_a_terminal(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    """No line of a step is wider than the terminal, and no word is lost."""
    monkeypatch.setattr(shutil, "get_terminal_size", lambda: os.terminal_size((columns, 24)))
    screen = Screen(columns)
    report = TextReport(screen)
    step = StepReport("name", "title")
    step.add_check("a criterion " * 12, passed=True, saw="what was seen " * 12 + "\nand more")
    step.add_time("a", "the MSEE sends to West Europe", 0.1)
    step.agents["North Europe"] = "preferred: " + "every rule is true " * 9
    report.write_heading("A heading that is long " * 6)
    report.write_step(step)
    assert screen.widest < columns
    words = " ".join(screen.rows).split()
    assert words.count("criterion") == words.count("seen") == 12


def test_a_route_has_the_name_of_its_node() -> None:
    """Beside each address stands the node, and a repeated AS number stands once."""
    row = TableRow("203.0.113.10/32", "172.16.138.12", (65515, *[65010] * 7), True, node="we-gw0")
    assert row.describe() == "* we-gw0  172.16.138.12    65515 65010 x7"
    assert len(row.describe()) + 4 < WIDTH
    assert AZURE.find_node("192.0.2.99") == ""


def test_the_picture_and_the_help_fit_into_eighty_columns() -> None:
    """The nodes of the picture are those of the lab."""
    assert max(map(len, (PICTURE + build_help(AZURE)).splitlines())) < WIDTH
    drawn = set(re.findall(r"\b(?:[nw]e-)?(?:client|ce|msee|nva|web|ars|gw)(?=\d|\b)", PICTURE))
    assert drawn >= {re.sub(r"\d$", "", node) for node in AZURE.names if not node.endswith("-vnet")}
