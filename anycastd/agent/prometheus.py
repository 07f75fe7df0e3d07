"""Import prometheus_client without the servers and HTTP clients that it brings.

It can serve and push metrics by itself, with modules of the standard library that take 1.6 MB of
memory.  Here h11 serves, so a class without content stands for each class of these modules.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from types import ModuleType

UNUSED = ("http.server", "urllib.request", "wsgiref.simple_server")
"""Modules of which prometheus_client derives classes that nothing here uses."""


class _StandIn(ModuleType):
    """A module that has an empty class for each name."""

    def __getattr__(self, name: str) -> type:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})


@contextlib.contextmanager
def _stand_ins() -> Iterator[None]:
    """Put stand-ins where modules of ``UNUSED`` are not loaded, and take them away again."""
    names = [name for name in UNUSED if name not in sys.modules]
    for name in names:
        sys.modules[name] = _StandIn(name)
    try:
        yield
    finally:
        for name in names:
            del sys.modules[name]


with _stand_ins():
    from prometheus_client import CollectorRegistry, generate_latest
    from prometheus_client.core import (
        CounterMetricFamily,
        GaugeMetricFamily,
        HistogramMetricFamily,
        Metric,
    )

__all__ = [
    "CollectorRegistry",
    "CounterMetricFamily",
    "GaugeMetricFamily",
    "HistogramMetricFamily",
    "Metric",
    "generate_latest",
]
