"""The figures of a run as tables: for a terminal of 80 columns, and for docs/comparison.md."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from compare.faults import CYCLES, DOWN, FAULTS, RETURN_LIMIT, UP, WATCH
from compare.systems import SYSTEMS, System

Figures = dict[str, Any]
"""What ``run.py`` writes as JSON; ``trials`` are system -> fault -> list of trials."""

BEGIN = "<!-- measured, and written by make compare: begin -->"
END = "<!-- measured: end -->"
LIMITS = {fault.name: fault.limit for fault in FAULTS} | {"return": RETURN_LIMIT}
"""Fault -> seconds after which a trial was given up."""
STAYING = frozenset(fault.name for fault in FAULTS if fault.stays)
NAMES = {
    "healthcheck": "ExaBGP healthcheck, defaults",
    "healthcheck-careful": "ExaBGP healthcheck, careful",
    "healthcheck-fast": "ExaBGP healthcheck, ten a second",
    "anycast-healthchecker": "anycast-healthchecker and BIRD, defaults",
    "anycast-healthchecker-careful": "anycast-healthchecker and BIRD, careful",
    "poll": "a script, `show stat` each 5 s",
    "keepalived": "keepalived (VRRP)",
    "anycastd": "anycastd, as shipped",
    "anycastd-self-test": "anycastd, self-test",
    "anycastd-fast": "anycastd, fast",
}
"""Names in the page."""


def list_systems(figures: Figures) -> list[System]:
    """List the systems that were measured, in the order of the tables."""
    return [each for each in SYSTEMS if each.name in figures["trials"]]


def list_trials(figures: Figures, system: str, fault: str) -> list[dict[str, Any]]:
    """List the trials of a fault; empty if there are none."""
    found: list[dict[str, Any]] = figures["trials"].get(system, {}).get(fault, [])
    return found


def find_median(values: Sequence[float]) -> float:
    """Return the median (of an even number the upper one)."""
    return sorted(values)[len(values) // 2]


def format_seconds(seconds: float, limit: float) -> str:
    """Format seconds with two digits that count; infinite is shown as more than the limit."""
    if seconds == float("inf"):
        return f">{limit:g}"
    if seconds < 0.005:
        return "0"
    return f"{seconds:.2f}" if seconds < 10 else f"{seconds:.0f}"


def _count_trials(figures: Figures) -> set[int]:
    names = {fault.name for fault in FAULTS}
    return {
        len(each)
        for one in figures["trials"].values()
        for fault, each in one.items()
        if fault in names
    }


def format_count(figures: Figures) -> str:
    """Format how many trials each fault has, such as ``3``, or ``1 to 3`` where they differ."""
    counts = sorted(_count_trials(figures)) or [0]
    return str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"


def list_seconds(trials: Sequence[dict[str, Any]]) -> list[float]:
    """List the seconds of trials, sorted; never is infinite."""
    return sorted(float("inf") if each["seconds"] is None else each["seconds"] for each in trials)


def format_median(figures: Figures, system: System, fault: str) -> str:
    """Format the median of a fault's trials; "stays" where it may change nothing and did not."""
    trials = list_trials(figures, system.name, fault)
    if not trials:
        return "-"
    if fault in STAYING and not any(each["moves"] or each["failed"] for each in trials):
        return "stays"
    return format_seconds(find_median(list_seconds(trials)), LIMITS[fault])


def format_range(figures: Figures, system: System, fault: str, to: str) -> str:
    """Format the shortest and the longest of a fault's trials; empty where they are the same."""
    trials = list_trials(figures, system.name, fault)
    times = [format_seconds(each, LIMITS[fault]) for each in list_seconds(trials)]
    return "" if not times or times[0] == times[-1] else f"{times[0]}{to}{times[-1]}"


def build_text(figures: Figures) -> Iterator[str]:
    """Build the lines for a terminal; none is longer than 80 characters."""
    systems = list_systems(figures)
    faults = [
        fault for fault in FAULTS if any(list_trials(figures, s.name, fault.name) for s in systems)
    ]
    count = max(_count_trials(figures), default=0)
    if faults:
        yield f"The outage that a client sees, seconds: median of {format_count(figures)}"
        yield from _build_grid(
            systems,
            [fault.title for fault in faults],
            lambda system: [format_median(figures, system, fault.name) for fault in faults],
        )
        if count > 1:
            moving = [fault for fault in faults if not fault.stays]
            yield "The shortest and the longest"
            yield from _build_grid(
                systems,
                [fault.title for fault in moving],
                lambda system: [format_range(figures, system, fault.name, "-") for fault in moving],
            )
    if figures["costs"] or any("return" in each for each in figures["trials"].values()):
        yield from _build_grid(systems, _MORE, lambda system: list_more(figures, system))
    yield from describe_machine(figures)


_MORE = (
    ("servers", "back, s"),
    ("moves", "then"),
    ("restless", "moves"),
    ("failed", "requests"),
    ("CPU", "%"),
    ("memory", "MB"),
)


def list_more(figures: Figures, system: System) -> list[str]:
    """List the columns after the outages: the return, a crash loop, and the cost."""
    back = list_trials(figures, system.name, "return")
    loops = list_trials(figures, system.name, "restless")
    cost = figures["costs"].get(system.name)
    return [
        format_median(figures, system, "return"),
        f"{find_median([each['moves'] for each in back]):g}" if back else "-",
        f"{find_median([each['moves'] for each in loops]):g}" if loops else "-",
        f"{find_median([each['failed'] for each in loops]):g}" if loops else "-",
        f"{100 * cost['cpu']:.1f}" if cost else "-",
        f"{cost['memory']:.0f}" if cost else "-",
    ]


def _build_grid(
    systems: Sequence[System],
    titles: Sequence[tuple[str, str]],
    columns: Callable[[System], list[str]],
) -> Iterator[str]:
    width = min(10, 60 // max(1, len(titles)))
    for number in range(2):
        yield " " * 20 + "".join(f"{title[number]:>{width}}" for title in titles)
    for system in systems:
        yield f"{system.title:20}" + "".join(f"{text:>{width}}" for text in columns(system))
    yield ""


def describe_machine(figures: Figures) -> Iterator[str]:
    """Describe the run: when, on what, with which versions, and the machine's noise."""
    noise = figures["noise"]
    ms = [f"{1000 * noise[key]:.2f}" for key in ("median", "p99", "worst")]
    yield f"{figures['date']}, {figures['machine']}, load {figures['load']:.1f}"
    yield f"late wake-ups, ms: median {ms[0]}, 99th percentile {ms[1]}, longest {ms[2]}"
    line = ""
    for name, version in figures["versions"].items():
        if len(line) + len(name) + len(version) > 76:
            yield line.rstrip(" ,") + ","
            line = ""
        line += f"{name} {version}, "
    yield line.rstrip(" ,")
    for text in figures["left_out"]:
        yield f"left out: {text}"
    yield from figures.get("notes", ())


def build_page_part(figures: Figures) -> str:
    """Build the measured part of docs/comparison.md, with its markers."""
    return "\n".join([BEGIN, "", *_build_page_lines(figures), "", END])


def _build_page_lines(figures: Figures) -> Iterator[str]:
    systems = list_systems(figures)
    count = format_count(figures)
    yield from _wrap(
        f"Measured on {figures['date']} ({figures['machine']}), {count} "
        f"{'trial' if count == '1' else 'trials'} of each fault, all systems in turn. The outage "
        "that a client sees, in seconds: the median, and the shortest and the longest trial. What "
        "has no range has one trial, or trials that do not differ."
    )
    yield ""
    yield "![The outages of all systems on a scale of time](images/comparison.svg)"
    yield ""
    yield from _build_markdown(
        ("", *(" ".join(fault.title) for fault in FAULTS)),
        [
            (NAMES[each.name], *(_format_cell(figures, each, fault.name) for fault in FAULTS))
            for each in systems
        ],
    )
    yield ""
    told = "; ".join(f"`{' '.join(fault.title)}`: {fault.describes}" for fault in FAULTS)
    yield from _wrap(
        f"{told}. The checker is the process that probes or watches; what restarts it in real "
        "life does so here. A fault that should change nothing was watched for "
        f"{WATCH:g} s, and `stays` means that it did not. `>20`: not within 20 s, after which "
        "the trial was ended."
    )
    yield ""
    yield from _build_markdown(
        ("", "notices a dead host by", *(f"{one} {two}" for one, two in _MORE)),
        [(NAMES[each.name], each.host, *list_more(figures, each)) for each in systems],
    )
    yield ""
    requests = 100 * (CYCLES * (DOWN + UP) + 5)
    yield from _wrap(
        "`servers back`: from the start of the web servers until the region answers again. "
        "`moves then`: how often the answering region changed in that time; 1 is best. "
        f"`restless moves`: the servers die {CYCLES} times, {DOWN:g} s dead and {UP:g} s "
        f"alive, and so often the traffic moves; `failed requests`: of about {requests:.0f} "
        "in that time. CPU (of a core) and memory (proportional set size) are those of "
        "checker and speaker in one region."
    )
    yield ""
    yield "Who was best, by the median:"
    yield ""
    for line in list_best(figures):
        yield f"- {line}"
    yield ""
    yield "The machine, its noise meanwhile, and the versions:"
    yield ""
    for line in describe_machine(figures):
        yield f"    {line}"
    if figures.get("holds"):
        yield ""
        yield from build_holds_page(figures["holds"])


def list_best(figures: Figures) -> Iterator[str]:
    """List who has the shortest outage of each fault, the soonest return, and the lowest cost."""
    systems = list_systems(figures)
    for name, title in (
        *((fault.name, fault.describes) for fault in FAULTS if not fault.stays),
        ("return", "the return"),
    ):
        medians = {
            each.name: find_median(times)
            for each in systems
            if (times := list_seconds(list_trials(figures, each.name, name)))
        }
        if medians:
            best = min(medians, key=lambda each: medians[each])
            if medians[best] == float("inf"):
                yield f"{title}: nobody in {LIMITS[name]:g} s"
                continue
            yield f"{title}: {NAMES[best]}, {format_seconds(medians[best], LIMITS[name])} s"
    costs = figures["costs"]
    if costs:
        frugal = min(costs, key=lambda each: costs[each]["cpu"])
        small = min(costs, key=lambda each: costs[each]["memory"])
        yield f"CPU: {NAMES[frugal]}, {100 * costs[frugal]['cpu']:.1f} % of a core"
        yield f"memory: {NAMES[small]}, {costs[small]['memory']:.0f} MB"


def _wrap(text: str) -> list[str]:
    return textwrap.wrap(text, 110, break_on_hyphens=False, break_long_words=False)


def _format_cell(figures: Figures, system: System, fault: str) -> str:
    text, span = (
        format_median(figures, system, fault),
        format_range(figures, system, fault, " to "),
    )
    return f"{text} ({span})" if span and text != "stays" else text


def _build_markdown(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(heads)} |"
    yield "|" + "---|" * len(heads)
    for row in rows:
        yield f"| {' | '.join(row)} |"


def build_holds_text(holds: Figures) -> Iterator[str]:
    """Build the table of hold times for a terminal."""
    pauses = holds["pauses"]
    yield "How soon a dead host is noticed, and in how many trials a pause of the machine"
    yield f"closed the session (of {holds['trials']})"
    yield f"{'':14}{'noticed after, s':>18}" + "".join(f"{f'{each:g} s':>6}" for each in pauses)
    for name, row in holds["rows"].items():
        times = list_seconds([{"seconds": each} for each in row["noticed"]])
        span = f"{times[0]:.1f}-{times[-1]:.1f}" if times else "-"
        closed = "".join(f"{row['closed'].get(f'{each:g}', 0):>6}" for each in pauses)
        yield f"{name:14}{span:>18}{closed}"
    yield ""


def build_holds_page(holds: Figures) -> Iterator[str]:
    """Build the table of hold times for the page."""
    pauses, trials = holds["pauses"], holds["trials"]
    yield "### Hold times against pauses of the machine"
    yield ""
    yield from _wrap(
        "A short hold time notices a dead host sooner, and closes the session needlessly "
        "when the machine pauses (live migration, maintenance, a snapshot). Measured "
        "between ExaBGP (with BFD: BIRD) and a BIRD in the place of the route server: the "
        f"host was cut off silently, or the speakers were stopped for a time, {trials} "
        "trials each, at a random moment."
    )
    yield ""
    yield from _build_markdown(
        ("session", "dead host noticed after", *(f"pause of {each:g} s" for each in pauses)),
        [
            (
                name,
                f"{min(row['noticed']):.1f} to {max(row['noticed']):.1f} s"
                if row["noticed"]
                else "-",
                *(_format_closed(row["closed"].get(f"{each:g}", 0), trials) for each in pauses),
            )
            for name, row in holds["rows"].items()
        ],
    )
    yield ""
    yield from _wrap(
        "The neighbor counts the hold time from the last KEEPALIVE, which is sent each "
        "third of it (RFC 4271, 4.4), and later when the speaker is busy. So a dead host is "
        "noticed after half to the whole of it, and a pause of more than half of it may "
        "close the session. Take the longest pause that the session has to survive, and use "
        "a hold time of more than twice that: 9 s for pauses of up to 4 s, 30 s for 14 s. "
        "With BFD it is interval times multiplier, for both."
    )


def _format_closed(count: int, trials: int) -> str:
    if count == 0:
        return "stays"
    return "closes" if count == trials else f"closes in {count} of {trials}"


def insert_part(page: str, part: str) -> str:
    """Return the page with its measured part replaced.

    Raises ValueError where the page has no markers.
    """
    pattern = f"{re.escape(BEGIN)}.*?{re.escape(END)}"
    found, count = re.subn(pattern, lambda _: part, page, count=1, flags=re.DOTALL)
    if not count:
        raise ValueError(f"the page has no '{BEGIN}'")
    return found
