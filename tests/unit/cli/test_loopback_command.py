"""`anycastd loopback`: the VIPs before HAProxy starts, and away again."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from support.profiles import TEXT

pytestmark = pytest.mark.root

ROOT = Path(__file__).resolve().parents[3]


def inside(script: str, tmp_path: Path) -> list[str]:
    """Run a shell's lines in a network of their own, $A and $P being program and profile."""
    profile = tmp_path / "profile.yaml"
    profile.write_text(TEXT, encoding="utf-8")
    done = subprocess.run(
        ["unshare", "--net", "sh", "-c", f"ip link set lo up\n{script}"],
        capture_output=True,
        encoding="utf-8",
        check=False,
        timeout=60,
        env=os.environ
        | {
            "A": f"{sys.executable} -m anycastd loopback",
            "P": f"--profile {profile}",
            "PYTHONPATH": str(ROOT),
        },
    )
    return (done.stdout + done.stderr).splitlines()


def test_add_puts_them_there_and_remove_takes_them_away(tmp_path: Path) -> None:
    """Address and route, both ways, and twice is no harm."""
    shown = inside(
        "$A add $P; $A add $P; echo $?; ip -o address show lo; ip route show;"
        "echo --; $A remove $P && $A remove $P; echo $?; ip -o address show lo; ip route show",
        tmp_path,
    )
    middle = shown.index("--")
    there, away = "\n".join(shown[:middle]), "\n".join(shown[middle:])
    assert "203.0.113.10/32: put on lo" in there
    assert "0" in shown[:middle]
    assert "inet 203.0.113.10/32" in there
    assert "unreachable 203.0.113.10" in there
    assert "0" in shown[middle:]
    assert "203.0.113.10" not in away


def test_without_the_privilege_it_says_what_to_give(tmp_path: Path) -> None:
    """Exit code 77, for either of the two."""
    for action in ("add", "remove"):
        drop = "setpriv --bounding-set=-net_admin"
        given = inside(f"[ {action} = add ] || $A add $P; {drop} $A {action} $P; echo $?", tmp_path)
        assert given[given.index("77") :] == ["77", given[-1]]
        assert "CAP_NET_ADMIN" in given[-1]
