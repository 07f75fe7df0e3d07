"""A real Prometheus scrapes an appliance, with the alert rules of the package."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

import pytest

from support.appliance import PROFILE, VIP, Appliance, own_network
from support.peer import wait_for
from support.tours import ROOT
from support.web_client import ask

pytestmark = [
    pytest.mark.root,
    pytest.mark.slow,
    pytest.mark.skipif(
        shutil.which("prometheus") is None, reason="needs Debian's package prometheus"
    ),
]

WITH_WEB = PROFILE.replace("services:\n", "web: {{listen: '127.0.0.1:9480'}}\nservices:\n", 1)
RULES = ROOT / "packaging" / "monitoring" / "anycastd.rules.yml"
PORT = 9490
WAITS = 60.0
"""Seconds for each step; the slowest one takes three seconds on a quiet machine."""
CONFIG = """\
global: {scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}
rule_files: [rules.yml]
scrape_configs:
  - job_name: anycastd
    static_configs: [{targets: ["127.0.0.1:9480"]}]
"""


class Prometheus:
    """A Prometheus on the loopback of this network namespace, with its files in ``directory``."""

    def __init__(self, directory: Path) -> None:
        rules = RULES.read_text(encoding="utf-8")
        quick = re.sub(r"^( +for:) \S+$", r"\1 2s", rules, flags=re.MULTILINE)
        assert quick.count("for: 2s") > 10
        (directory / "rules.yml").write_text(quick, encoding="utf-8")
        (directory / "prometheus.yml").write_text(CONFIG, encoding="utf-8")
        self._log = directory / "prometheus.log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [
                    "prometheus",
                    f"--config.file={directory}/prometheus.yml",
                    f"--storage.tsdb.path={directory}/data",
                    f"--web.listen-address=127.0.0.1:{PORT}",
                ],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()

    def get(self, path: str) -> Any:
        """Ask its API; raises OSError while it does not answer."""
        answer = json.loads(ask(f"/api/v1/{path}", port=PORT).body)
        assert answer["status"] == "success", answer
        return answer["data"]

    def read_value(self, query: str) -> float | None:
        """Return the value of a query with one result; None: there is none yet."""
        with contextlib.suppress(OSError, ValueError):
            results = self.get(f"query?query={quote(query)}")["result"]
            if len(results) == 1:
                return float(results[0]["value"][1])
        return None

    def find_alert(self, name: str) -> dict[str, Any] | None:
        """Return the alert that fires, or None."""
        with contextlib.suppress(OSError, ValueError):
            for alert in self.get("alerts")["alerts"]:
                if alert["labels"]["alertname"] == name and alert["state"] == "firing":
                    return dict(alert)
        return None

    def wait_value(self, query: str, value: float) -> None:
        """Wait until a query has a value."""
        wait_for(lambda: self.read_value(query) == value, WAITS, f"{query}\n{self.log()}")

    def wait_alert(self, name: str, *, fires: bool) -> None:
        """Wait until an alert fires, or until it does not any more."""
        wait_for(
            lambda: (self.find_alert(name) is not None) is fires,
            WAITS,
            f"{name}, fires: {fires}\n{self.log()}",
        )

    def log(self) -> str:
        """Return the end of its log."""
        return self._log.read_text(encoding="utf-8")[-2000:]


@pytest.fixture
def both(tmp_path: Path) -> Iterator[tuple[Appliance, Prometheus]]:
    """Give a running appliance, and a Prometheus that scrapes it each second."""
    (tmp_path / "prometheus").mkdir()
    with own_network(), Appliance(tmp_path, profile=WITH_WEB) as appliance:
        appliance.start()
        with Prometheus(tmp_path / "prometheus") as prometheus:
            yield appliance, prometheus


def test_an_alert_fires_and_ends(both: tuple[Appliance, Prometheus]) -> None:
    """Both servers go, and the alerts say so; they come back, and it ends."""
    one, prometheus = both
    prometheus.wait_value('up{job="anycastd"}', 1)
    prometheus.wait_value("anycastd_service_serving", 1)
    prometheus.wait_value('anycastd_service_wanted_level{level="preferred"}', 1)
    prometheus.wait_alert("AnycastdBelowPreferred", fires=False)
    for name in ("AnycastdWithdrawn", "AnycastdVipServedNowhere", "AnycastdAgentDown"):
        prometheus.wait_alert(name, fires=False)
    for backend in one.backends:
        backend.stop()
    one.wait_path(0)
    prometheus.wait_alert("AnycastdWithdrawn", fires=True)
    prometheus.wait_alert("AnycastdVipServedNowhere", fires=True)
    alert = wait_for(lambda: prometheus.find_alert("AnycastdWithdrawn"), WAITS)
    assert alert is not None
    assert alert["labels"]["service"] == "web"
    assert alert["labels"]["vip"] == f"{VIP}/32"
    assert alert["annotations"]["summary"] == "web is withdrawn at 127.0.0.1:9480"
    for backend in one.backends:
        backend.start()
    one.wait_path(1)
    for name in ("AnycastdWithdrawn", "AnycastdVipServedNowhere", "AnycastdBelowPreferred"):
        prometheus.wait_alert(name, fires=False)
    changes = 'anycastd_service_transitions_total{from="preferred",to="withdrawn"}'
    prometheus.wait_value(changes, 1)


def test_an_agent_that_dies_is_an_alert(both: tuple[Appliance, Prometheus]) -> None:
    """Without an agent there is nothing to scrape; the next one ends the alert."""
    one, prometheus = both
    prometheus.wait_value('up{job="anycastd"}', 1)
    assert one.agent is not None
    one.agent.kill()
    one.agent.wait()
    prometheus.wait_alert("AnycastdAgentDown", fires=True)
    one.start_agent()
    prometheus.wait_alert("AnycastdAgentDown", fires=False)
    prometheus.wait_value("anycastd_service_serving", 1)
