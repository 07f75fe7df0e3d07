"""A running appliance and what its peers see, for tests of faults that happen around it."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from support.appliance import VIP, Appliance, own_network
from support.haproxy import until
from support.peer import wait_for
from support.route_log import RouteLog

DEADLINE = 0.5
"""Seconds; short, and with room for a busy machine."""
SLACK = 1.0
"""Seconds that a busy machine may add to a bound; the benches measure the real times."""


class Watched:
    """A running appliance, and what its peers see."""

    def __init__(self, appliance: Appliance) -> None:
        self.appliance = appliance
        self.haproxy = appliance.haproxy
        self.wire = RouteLog(appliance.peers, f"{VIP}/32")
        self.config = appliance.haproxy.config.read_text(encoding="utf-8")

    def assert_calm(self, since: float, seconds: float) -> None:
        """Assert that no route changes from ``since`` until ``seconds`` after it."""
        until(lambda: time.monotonic() - since > seconds, seconds + 5)
        assert self.wire.describe_changes(since) == ["nothing", "nothing"], self.appliance.log()

    def wait_gone(self, since: float, within: float) -> None:
        """Wait until both peers have lost the route, and assert that it went in time.

        ``within`` is in seconds after ``since`` (monotonic clock), and SLACK is added to it.
        """
        self.wire.wait(0, 20, self.appliance.log())
        gone = [at - since for at in self.wire.list_first_changes(since)]
        assert max(gone) < within + SLACK, gone

    def wait_well(self) -> None:
        """Wait until both peers have the preferred route, and the agent knows that."""
        self.wire.wait(1, 60, self.appliance.log())
        self.appliance.wait_confirmed()
        until(lambda: self.service()["level"] == "preferred", 30, 0.05)

    def service(self) -> dict[str, Any]:
        """Read what the status reports about the service."""
        found: dict[str, Any] = self.appliance.status()["services"]["web"]
        return found

    def problems(self) -> list[str]:
        """Read the problems that the status lists."""
        found: list[str] = self.appliance.status()["problems"]
        return found

    def wait_reason(self, name: str, *texts: str) -> None:
        """Wait until the service has this reason, with these texts in its detail."""

        def is_reported() -> bool:
            reason = self.appliance.ask_status()["services"]["web"]["reason"]
            return reason["name"] == name and all(word in reason["detail"] for word in texts)

        wait_for(is_reported, 30, f"{name}: {texts}")

    def wait_problem(self, *texts: str) -> str:
        """Wait until the status lists a problem with all these texts, and return it."""

        def find() -> str:
            problems = self.appliance.ask_status()["problems"]
            return next((each for each in problems if all(word in each for word in texts)), "")

        return wait_for(find, 30, f"a problem with {texts}")

    def wait_state(self, state: str) -> None:
        """Wait until the status calls HAProxy answers, silent or gone, as ``state`` says."""

        def is_reported() -> bool:
            return bool(self.appliance.ask_status()["haproxy"]["main"]["state"] == state)

        wait_for(is_reported, 30, f"a HAProxy that is {state}")

    def reload(self, *changes: tuple[str, str]) -> float:
        """Reload HAProxy with another configuration; return the time."""
        text = self.config
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)  # `default_backend` as well
        self.haproxy.config.write_text(text, encoding="utf-8")
        began = time.monotonic()
        self.haproxy.reload()
        return began


@contextlib.contextmanager
def watched(place: Path, **settings: Any) -> Iterator[Watched]:
    """Run an appliance in a network of its own."""
    values = {"ttl": 3, "deadline": DEADLINE} | settings
    with own_network(), Appliance(place, **values) as it:
        it.start()
        yield Watched(it)


def run_anycastd(one: Appliance, *words: str) -> str:
    """Run a command; return what it prints."""
    done = subprocess.run(
        [sys.executable, "-m", "anycastd", *words],
        capture_output=True,
        encoding="utf-8",
        check=False,
        env=one.environment,
    )
    return done.stdout + done.stderr
