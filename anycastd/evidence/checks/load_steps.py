"""The load of this machine -> the step that it stands for (pure).

Each limit that a value passes is one step.  A step ends only when the value is better than its
limit by the hysteresis, so a value that stands at a limit does not go to and fro.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from anycastd.profile.checks import LoadCheck


class Load(NamedTuple):
    """The load of this machine.

    ``average`` is the load average of the last minute per core, ``memory`` the available memory in
    percent of all memory.
    """

    average: float
    memory: float


def choose_step(asks: LoadCheck, load: Load, last: int | None) -> int:
    """Choose the step of ``load``; ``last`` is the step until now (None: none yet)."""
    worse_by = 1 - asks.hysteresis / 100
    # Available memory gets worse downwards: its inverse is compared.
    scarce = _invert(load.memory)
    return max(
        _count(asks.load_average, load.average, worse_by, last),
        _count([_invert(limit) for limit in asks.memory_available], scarce, worse_by, last),
    )


def describe_load(asks: LoadCheck, load: Load, step: int) -> str:
    """Describe the values that ``asks`` compares, and their step."""
    parts = [f"load average {load.average:.2f} per core"] if asks.load_average else []
    if asks.memory_available:
        parts.append(f"{load.memory:.0f} % of memory available")
    return f"{', '.join(parts)}: step {step} of {asks.steps}"


def _invert(value: float) -> float:
    return 1 / max(value, 1e-9)


def _count(limits: Sequence[float], value: float, worse_by: float, last: int | None) -> int:
    passed = sum(value >= limit for limit in limits)
    kept = sum(value >= limit * worse_by for limit in limits)
    return max(passed, min(kept, last or 0))


def join_nodes(texts: Iterable[str]) -> str:
    """Add up the meminfo of the kernel's nodes (in /sys) -> the lines that ``read_load`` needs.

    Available is what is free, the cache of files, and what the kernel can give back: the kernel's
    own figure is in /proc/meminfo only.
    """
    fields: Counter[str] = Counter()
    for line in "\n".join(texts).splitlines():
        words = line.split()
        if len(words) > _VALUE and words[_VALUE].isdecimal():
            fields[words[_VALUE - 1].rstrip(":")] += int(words[_VALUE])
    if not fields["MemTotal"]:
        return ""
    available = sum(
        fields[name] for name in ("MemFree", "Active(file)", "Inactive(file)", "SReclaimable")
    )
    return f"MemTotal: {fields['MemTotal']} kB\nMemAvailable: {available} kB\n"


_VALUE = 3
"""Place of the value in a line such as ``Node 0 MemFree: 6570360 kB``."""


def read_load(average: str, meminfo: str, cores: int) -> Load:
    """Read the texts of /proc/loadavg and /proc/meminfo (proc(5)); ``cores`` of this process.

    Raises ValueError where they do not have what is needed.
    """
    fields = dict(line.partition(":")[::2] for line in meminfo.splitlines())
    try:
        total, free = (int(fields[name].split()[0]) for name in ("MemTotal", "MemAvailable"))
        return Load(float(average.split(maxsplit=1)[0]) / max(1, cores), 100 * free / total)
    except (KeyError, IndexError, ZeroDivisionError) as error:
        raise ValueError(f"the load of this machine cannot be read: {error!r}") from None
