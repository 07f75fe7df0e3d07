"""docs/metrics.md has every metric of the code, and their names are as Prometheus wants them."""

from __future__ import annotations

import re

import pytest

import metrics_page
from anycastd.views.metric_table import LABELS, METRICS, MetricType


def test_the_page_is_written_from_the_code() -> None:
    """`PYTHONPATH=. python scripts/metrics_page.py` writes it anew."""
    assert metrics_page.PAGE.read_text(encoding="utf-8") == metrics_page.render_page()


@pytest.mark.parametrize("name", METRICS)
def test_a_name_follows_the_conventions(name: str) -> None:
    """Units are base units, and ``_total`` stands for counters alone."""
    metric = METRICS[name]
    assert re.fullmatch(r"anycastd(_[a-z]+)+", name)
    assert name.endswith("_total") is (metric.type is MetricType.COUNTER)
    if "timestamp" in name or metric.type is MetricType.HISTOGRAM:
        assert name.endswith("_seconds")
    assert not re.search(r"_(ms|milliseconds|age|percent)\b", name)


def test_every_label_is_explained() -> None:
    """The table of labels has those that metrics have, and no other."""
    assert {label for metric in METRICS.values() for label in metric.labels} == set(LABELS)
