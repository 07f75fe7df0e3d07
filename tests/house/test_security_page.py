"""docs/security.md has the bounds that the code has."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

from fuzz.surfaces import SURFACES

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/security.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\|[^|]*\|[^|]+\| ([^|]+) \| `([\w/]+)\.([\w.]+)` \|$", re.MULTILINE)
BOUNDS = ROW.findall(PAGE)
UNITS = {"": 1, "bytes": 1, "KiB": 2**10, "MiB": 2**20, "%": 0.01, "s": 1, "days": 86400}
NANOSECONDS = {"MAX_EPOCH_AHEAD"}
DOORS = (
    "agent/http_server",
    "agent/control_server",
    "agent/region_client",
    "agent/state_file",
    "evidence/checks/http_answer",
    "evidence/checks/command_check",
    "evidence/haproxy/look",
    "evidence/haproxy/answer",
    "evidence/haproxy/event_stream",
    "lease/intake",
    "profile/document",
    "speaker/lease_process",
    "system/log_queue",
    "system/secret_file",
)
"""Modules where text of others enters: all of their maxima are on the page."""
NO_BOUND_OF_OTHERS = {"agent/http_server.MAX_JOINED"}  # how our own answer is sent


def read_constant(module: str, name: str) -> float:
    """Return the value of a constant of the package, such as ``BOUNDS.reserve``."""
    value = importlib.import_module("anycastd." + module.replace("/", "."))
    for part in name.split("."):
        value = getattr(value, part)
    assert isinstance(value, int | float)
    return value / 1e9 if name in NANOSECONDS else value


def test_the_table_was_read() -> None:
    """Each row that names a constant has the form that is compared."""
    section = PAGE.partition("## Bounds\n")[2].partition("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("|")][2:]
    assert len(rows) == len(BOUNDS) > 50


@pytest.mark.parametrize(("bound", "module", "name"), BOUNDS)
def test_a_bound_is_the_codes(bound: str, module: str, name: str) -> None:
    """The figure on the page, with its unit, is the constant's value."""
    number, _, unit = bound.partition(" ")
    assert float(number.replace(",", "")) * UNITS[unit] == pytest.approx(
        read_constant(module, name)
    )


@pytest.mark.parametrize("door", DOORS)
def test_every_maximum_of_a_door_is_on_the_page(door: str) -> None:
    """A bound that is added to such a module gets its row."""
    module = importlib.import_module("anycastd." + door.replace("/", "."))
    source = Path(str(module.__file__)).read_text(encoding="utf-8")
    own = re.findall(r"^(MAX_[A-Z_]+(?:, MAX_[A-Z_]+)*)\b.* = ", source, re.MULTILINE)
    names = {f"{door}.{name}" for line in own for name in line.split(", ")}
    named = {f"{module}.{name}" for _, module, name in BOUNDS}
    assert not names - named - NO_BOUND_OF_OTHERS


def test_every_surface_has_its_row() -> None:
    """The table of hostile inputs has the surfaces of the fuzzer, in its order."""
    section = PAGE.partition("## Hostile inputs\n")[2].partition("\n## ")[0]
    assert re.findall(r"^\| `([\w-]+)`: ", section, re.MULTILINE) == [one.name for one in SURFACES]


LIMITS = {
    "descriptors": ["LimitNOFILE"],
    "tasks": ["TasksMax"],
    "memory": ["MemoryHigh", "MemoryMax"],
}
LIMITED = (("",), (".anycastd-speaker",), (".anycastd-vip", ".anycastd-bfd"))
"""The columns of the table of limits, each with its units."""


def read_unit(name: str, keys: list[str]) -> list[str]:
    """Return the limits of a unit, as the page writes them: a number, with MB or GB."""
    unit = (ROOT / f"packaging/debian/anycastd{name}.service").read_text(encoding="utf-8")
    values = [re.search(rf"^{key}=(.+)$", unit, re.MULTILINE) for key in keys]
    return [
        each[1].replace("M", " MB").replace("G", " GB")
        if each[1][-1] in "MG"
        else f"{int(each[1]):,}"
        for each in values
        if each
    ]


@pytest.mark.parametrize("limit", LIMITS)
@pytest.mark.parametrize("column", range(len(LIMITED)))
def test_a_limit_is_the_units(limit: str, column: int) -> None:
    """Each cell of the table of limits has what the units of its column set."""
    row = re.search(rf"^\| {limit}\b[^|]*\|(.+)\|$", PAGE, re.MULTILINE)
    assert row
    written = re.findall(r"\d+(?:,\d{3})*(?: [MG]B)?", row[1].split("|")[column])
    for unit in LIMITED[column]:
        expected = read_unit(unit, LIMITS[limit])
        assert [one.removesuffix(" MB") for one in written] == [
            one.removesuffix(" MB") for one in expected
        ]
