"""packaging/monitoring: alert rules, their tests and the dashboard fit the code and the docs."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from anycastd.views.metric_table import METRICS, MetricType
from support.tours import ROOT

FOLDER = ROOT / "packaging" / "monitoring"
RULES = FOLDER / "anycastd.rules.yml"
TESTS = FOLDER / "anycastd.test.yml"
DASHBOARD = FOLDER / "anycastd-dashboard.json"
PAGE = (ROOT / "docs" / "monitoring.md").read_text(encoding="utf-8")
ALERTS: list[dict[str, Any]] = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"][0][
    "rules"
]
needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="needs promtool, of Debian's package prometheus"
)


def list_expressions(value: object) -> Iterator[str]:
    """Yield every ``expr`` in the dashboard, with numbers for Grafana's variables."""
    if isinstance(value, dict):
        if isinstance(value.get("expr"), str):
            yield value["expr"].replace("$__rate_interval", "1m").replace('"$', '"')
        for each in value.values():
            yield from list_expressions(each)
    elif isinstance(value, list):
        for each in value:
            yield from list_expressions(each)


EXPRESSIONS = list(list_expressions(json.loads(DASHBOARD.read_text(encoding="utf-8"))))


def promtool(*arguments: str) -> None:
    """Run promtool; it has to be content."""
    done = subprocess.run(
        ["promtool", *arguments], capture_output=True, encoding="utf-8", check=False, cwd=FOLDER
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("expression", [*(each["expr"] for each in ALERTS), *EXPRESSIONS])
def test_every_metric_exists(expression: str) -> None:
    """Rules and panels ask for metrics of the table, and histograms by their parts."""
    names = re.findall(r"\banycastd_\w+", expression)
    assert names or "up{" in expression
    for name in names:
        base = re.sub(r"_(bucket|count|sum)$", "", name)
        metric = METRICS.get(name) or METRICS[base]
        assert (metric.type is MetricType.HISTOGRAM) is (metric.name != name), name
    for name, labels in re.findall(r"\b(anycastd_\w+)\{([^}]*)\}", expression):
        known = METRICS.get(name) or METRICS[re.sub(r"_(bucket|count|sum)$", "", name)]
        asked = set(re.findall(r"(\w+)=", labels)) - {"instance", "job"}
        assert asked <= {*known.labels, "le"}, f"{name}: {asked}"


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: str(alert["alert"]))
def test_an_alert_says_what_to_do(alert: dict[str, Any]) -> None:
    """It has a summary, a description and a section with its severity on the page."""
    name, notes = alert["alert"], alert["annotations"]
    assert set(notes) == {"summary", "description", "runbook_url"}
    assert notes["runbook_url"].endswith(f"/docs/monitoring.md#{name.lower()}")
    section = PAGE.split(f"\n### {name}\n", 1)[1].split("\n### ", 1)[0]
    assert section.strip().startswith(f"*{alert['labels']['severity']}.* ")
    assert len(section.strip().split("\n\n")) == 2, "what it means, and what to do"


def test_the_page_has_no_other_alert() -> None:
    """A section of an alert that is gone goes, too."""
    assert re.findall(r"^### (Anycastd\w+)$", PAGE, re.MULTILINE) == [
        alert["alert"] for alert in ALERTS
    ]


def test_every_alert_is_tested() -> None:
    """Each fires in one of the tests, and ends there or does not fire before its time."""
    tests = yaml.safe_load(TESTS.read_text(encoding="utf-8"))["tests"]
    found: dict[str, set[bool]] = {}
    for test in tests:
        for each in test["alert_rule_test"]:
            found.setdefault(each["alertname"], set()).add(bool(each["exp_alerts"]))
    assert found == {alert["alert"]: {True, False} for alert in ALERTS}


@needs_promtool
def test_promtool_accepts_the_rules() -> None:
    """`promtool check rules` and `promtool test rules` have nothing to say."""
    promtool("check", "rules", RULES.name)
    promtool("test", "rules", TESTS.name)


@needs_promtool
def test_every_expression_of_the_dashboard_parses(tmp_path: Path) -> None:
    """Each expression, as a rule, is accepted by promtool."""
    assert len(EXPRESSIONS) > 20
    rules = [{"record": f"test:panel:{n}", "expr": each} for n, each in enumerate(EXPRESSIONS)]
    file = tmp_path / "panels.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    promtool("check", "rules", str(file))


@needs_promtool
def test_the_documented_scrape_configuration_is_accepted(tmp_path: Path) -> None:
    """The lines of the page are accepted by `promtool check config`."""
    (block,) = re.findall(r"^```yml\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    (tmp_path / "token").write_text("x" * 16, encoding="ascii")
    for path, own in (
        ("/etc/prometheus/anycastd-token", str(tmp_path / "token")),
        ("/etc/prometheus/anycastd.rules.yml", str(RULES)),
    ):
        assert path in block
        block = block.replace(path, own)
    file = tmp_path / "prometheus.yml"
    file.write_text(block, encoding="utf-8")
    promtool("check", "config", str(file))
