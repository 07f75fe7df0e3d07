"""packaging/: what each unit must set, and what docs/security.md must list."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
UNITS = sorted((ROOT / "packaging/debian").glob("*.service"))
SECURITY = (ROOT / "docs/security.md").read_text(encoding="utf-8")


def read_settings(unit: Path) -> dict[str, str]:
    """Return a unit's settings; of several with one name, the last."""
    lines = unit.read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line and line[0] != "#")


def test_the_units_were_found() -> None:
    """Agent, speaker, VIPs, BFD."""
    assert len(UNITS) == 4


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_each_unit_is_limited(unit: Path) -> None:
    """A fault of ours takes neither memory nor processes from HAProxy."""
    settings = read_settings(unit)
    for name in ("LimitNOFILE", "MemoryHigh", "MemoryMax", "TasksMax", "IPAddressDeny"):
        assert settings.get(name), name
    if settings.get("Restart"):
        assert settings["ExecStopPost"] == "-+/usr/libexec/anycastd/restart-delay %n"
        assert settings["RestartSec"] == "0", "restart-delay waits where it fails again and again"
        assert settings["RuntimeDirectoryPreserve"] == "restart", "the next start needs its files"


def test_each_unit_has_its_apparmor_profile() -> None:
    """The units name the profiles of packaging/apparmor, and none is left over."""
    text = (ROOT / "packaging/apparmor/anycastd").read_text(encoding="utf-8")
    profiles = re.findall(r"^profile (\S+)", text, re.MULTILINE)
    assert sorted(f"-{name}" for name in profiles) == sorted(
        read_settings(unit)["AppArmorProfile"] for unit in UNITS
    )


def test_every_library_has_its_licence_in_the_docs() -> None:
    """What anycastd needs to run is listed with its licence, what is vendored with its version."""
    lock = (ROOT / "requirements/runtime.txt").read_text(encoding="utf-8")
    names = re.findall(r"^([\w.-]+)==", lock, re.MULTILINE)
    assert len(names) > 5
    table = SECURITY.split("| component | licence |", 1)[1].lower()
    for name in names:
        assert re.search(rf"\b{name}\b", table), name
    vendored = (ROOT / "packaging/vendor.txt").read_text(encoding="utf-8")
    for name, version in re.findall(r"^([\w.-]+)==(\S+)", vendored, re.MULTILINE):
        assert f"{name} {version}" in SECURITY
