"""Write docs/metrics.md: ``PYTHONPATH=. python scripts/metrics_page.py``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from anycastd.views.metric_table import GROUPS, LABELS, MetricSpec

PAGE = Path(__file__).resolve().parent.parent / "docs" / "metrics.md"
HEAD = """# Every metric

`GET /metrics` of `web.listen` answers in the text format of Prometheus. How to scrape it, and which
alerts there are: [monitoring.md](monitoring.md). Names never change, and new ones are added.

Instants are Unix time in seconds, so `time() - anycastd_last_pass_timestamp_seconds` is an age.
What is not known is left out, or NaN where this page says so. Counters begin at 0 when the agent
starts. Labels have names of the profile, addresses and names of the code, and never text of
others. Which region it is comes from the scrape configuration; `anycastd_build_info` has it, too.

This page is written by `scripts/metrics_page.py` from the code.
"""


def render_page() -> str:
    """Return the text of the page."""
    return HEAD + "".join(_render_groups()) + "".join(_render_labels())


def _render_groups() -> Iterator[str]:
    for group in GROUPS:
        yield f"\n## {group.title}\n\n| name | type | labels | meaning |\n|---|---|---|---|\n"
        for metric in group.metrics:
            yield _render_row(metric)


def _render_row(metric: MetricSpec) -> str:
    labels = ", ".join(f"`{label}`" for label in metric.labels)
    return f"| `{metric.name}` | {metric.type.value} | {labels} | {metric.meaning} |\n"


def _render_labels() -> Iterator[str]:
    yield "\n## Labels\n\n| label | values |\n|---|---|\n"
    for name, values in LABELS.items():
        yield f"| `{name}` | {values} |\n"


if __name__ == "__main__":
    PAGE.write_text(render_page(), encoding="utf-8")
