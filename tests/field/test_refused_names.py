"""What HAProxy refuses costs the rule that asks for it, and nothing else."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from anycastd.evidence.haproxy.answer import MASTER_SOCKET
from anycastd.reasons import Reason
from support.appliance import BODY, PROFILE, Appliance, own_network
from support.haproxy import HEAD, until
from support.watched import DEADLINE, Watched, run_anycastd

pytestmark = pytest.mark.root

PRESENT = ("domain", "typed", "json", "up", "3", "-1", "0x10", "a:b.c_d", "no-maint", "info")
"""Names that HAProxy accepts, and that its `show stat` could take for something else."""
ABSENT = ("gone", "desc", "proxy", "4", "-01", "99999999999999999999", "7-", "servers")
"""Names that it does not have."""


def service(name: str, number: int, rules: str) -> str:
    """Build one more service of the profile."""
    return f"""
  {name}:
    vip: 203.0.113.{number}/32
    serve: {rules}
    standby: {{{{prepend: 6, after: 0.2}}}}
    failed: withdraw
    return: {{{{rise: 0.5, hold_down: 1, hold_down_max: 2, spacing: 0.1}}}}
"""


def rules(names: tuple[str, ...], more: str = "") -> str:
    """Build a condition that asks for a server of each backend."""
    return "{{all: [" + ", ".join(f"{{{{backend: '{it}'{more}}}}}" for it in names) + "]}}"


TEXT = (
    PROFILE.rstrip()
    + "\n    maintenance: {{map: /none.map, key: web}}\n"
    + service("keywords", 11, rules(PRESENT, ", usable: 1, count_unchecked: true"))
    + service("weighed", 12, rules(PRESENT, ", usable: 50%, by: weight, count_unchecked: true"))
    + "".join(
        service(f"absent{number}", 20 + number, rules((name,), ", usable: 50%, by: weight"))
        for number, name in enumerate(ABSENT)
    )
)
FULL_BODY = BODY + "".join(
    f"backend {name}\n    server {name} 127.0.0.1:{{one}}\n" for name in PRESENT
)


def unfold(text: str) -> str:
    """Return a text in one line."""
    return " ".join(text.split())


@pytest.fixture(params=["", " severity-output number", " severity-output string"])
def one(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Watched]:
    """Run an appliance whose HAProxy marks its messages in each way."""
    with own_network(), _appliance(tmp_path, request.param) as it:
        it.start()
        yield Watched(it)


def _appliance(place: Path, option: str) -> Appliance:
    it = Appliance(place, profile=TEXT, body=FULL_BODY, ttl=3, deadline=DEADLINE)
    config = it.haproxy.config.read_text(encoding="utf-8")
    assert "level admin\n" in HEAD
    it.haproxy.config.write_text(config.replace("level admin\n", f"level admin{option}\n"))
    return it


def directory(one: Appliance) -> tuple[str, str]:
    """Return the option that leads a command to the agent."""
    return ("--directory", one.directory_of("agent"))


def findings(one: Watched) -> dict[str, tuple[str, str]]:
    """Read (level, reason) of each service from the status."""
    services: dict[str, Any] = one.appliance.status()["services"]
    return {name: (it["level"], it["reason"]["name"]) for name, it in services.items()}


def test_a_name_that_is_missing_or_a_keyword_costs_its_own_rule(one: Watched) -> None:
    """Services whose names HAProxy has are preferred, those whose names it lacks say so."""
    # FC-SEVERITY: haproxy issue 2350; names that are keywords: `show stat` of the manual, 9.3
    one.wait_well()
    expected = dict.fromkeys(("web", "keywords", "weighed"), ("preferred", "serving"))
    expected |= {
        f"absent{number}": ("withdrawn", "backend_missing") for number in range(len(ABSENT))
    }
    with contextlib.suppress(AssertionError):
        until(lambda: findings(one) == expected, 30, 0.1)
    assert findings(one) == expected
    one.assert_calm(time.monotonic(), 4 * DEADLINE)
    assert findings(one) == expected
    text = unfold(run_anycastd(one.appliance, "status", *directory(one.appliance)))
    assert Reason.MAP_MISSING.sentence in text


def test_the_masters_socket_is_named_at_once(tmp_path: Path) -> None:
    """The master never closes the connection; the words do not wait for a time-out."""
    # FC-MASTER: haproxy issues 481, 1626
    master = tmp_path / "master.sock"
    with own_network(), Appliance(tmp_path, socket=master, ttl=3, deadline=DEADLINE) as it:
        it.haproxy.stop()
        it.haproxy.arguments = ("-S", str(master))
        it.haproxy.start()
        began_at = time.monotonic()
        checked = unfold(run_anycastd(it, "check", str(it.profile)))
        assert checked.count(f"{master}: {MASTER_SOCKET}") >= 2, checked  # the look, the inventory
        assert "no answer within" not in checked
        assert time.monotonic() - began_at < 30
        it.start_speaker()
        it.start_agent()
        until(lambda: MASTER_SOCKET in unfold(run_anycastd(it, "status", *directory(it))), 20, 0.1)
        assert "no answer within" not in run_anycastd(it, "status", *directory(it))
