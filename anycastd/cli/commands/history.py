"""`anycastd history`: show what has happened, from the agent or from its files."""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import sys
import textwrap
import time
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from anycastd.agent.control_client import MISMATCH, NO_ANSWER, ControlError, ask_agent
from anycastd.agent.history_reader import CURRENT, Selection, read_history
from anycastd.cli.arguments import add_agent_directory, add_colour, add_state
from anycastd.cli.output import RED, YELLOW, paint, print_error, print_lines, wants_colour
from anycastd.system.exit_codes import DONE, EX_UNAVAILABLE, USAGE
from anycastd.system.printable import make_printable
from anycastd.views.events import ERROR, WARNING, Event, EventKind, format_time

SHOWN = 50
"""Events that are shown where nothing else is asked for."""
MAX_SHOWN = 1000
"""Events that are shown at most."""
POLL_INTERVAL = 1.0
"""Seconds between two questions to the agent by ``--follow``."""
MAX_WIDTH, MIN_WIDTH = 160, 60
"""Columns of the output."""
MAX_SPAN = 16
"""Characters of a time span."""
MAX_TEXT = 4096
"""Characters of a text that are printed."""
_INDENT = 15  # columns of the time and the mark
_UNITS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_MARKS = {ERROR: ("!!", RED), WARNING: ("! ", YELLOW)}


class Page(NamedTuple):
    """Events that were found, oldest first.

    ``newest`` is the number to ask after the next time.  ``services`` are the names of all
    services.  ``is_cut``: older events that fit were left out.  ``notes`` are for standard error.
    """

    events: list[Event]
    newest: int
    services: list[str]
    is_cut: bool
    notes: list[str]


class RefusedError(Exception):
    """There is no such service; the text says which there are."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "service", nargs="?", metavar="SERVICE", help="only this service, and what is about none"
    )
    parser.add_argument("--service", dest="named", metavar="SERVICE", help="the same")
    parser.add_argument(
        "--since",
        type=parse_since,
        metavar="WHEN",
        help="from then on: 30m, 2h, 1d, or a time in UTC such as 2026-11-30T02:00 "
        f"(default: the last {SHOWN} events)",
    )
    parser.add_argument("--follow", action="store_true", help="go on with each new event")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    add_colour(parser)
    add_agent_directory(parser)
    add_state(parser, "where the history is, for when no agent answers")


def main(args: argparse.Namespace) -> int:
    """Print the events.

    Returns the exit code: 0; 2 (no such service); 69 (no agent answers, and there is no history on
    disk that can be read).
    """
    service = args.service or args.named
    limit = SHOWN if args.since is None else MAX_SHOWN
    try:
        page = _ask(args.directory, service, since=args.since, limit=limit)
    except RefusedError as error:
        print_error(f"anycastd: {error}")
        return USAGE
    except ControlError as error:
        found = _read_files(args.state, service, args.since, limit)
        if isinstance(found, int):
            if found != USAGE:
                print_error(f"anycastd: {error}")
            return found
        page = found
    for note in page.notes:
        print_error(f"anycastd: {note}")
    printer = _Printer(as_json=args.json, with_colour=wants_colour(args.color))
    if page.is_cut and args.since is not None:
        print_error(f"anycastd: only the newest {len(page.events)} events are shown")
    printer.show(page.events)
    if not page.events and not args.follow:
        print_error("anycastd: there are no such events")
    if args.follow:
        _follow(args.directory, service, page.newest, printer)
    return DONE


def parse_since(text: str) -> float:
    """Parse a time or a time span before now; returns Unix time.

    Raises ArgumentTypeError for another text.
    """
    span = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(min|[smhdw])", text.strip())
    if span and len(text) < MAX_SPAN:
        return time.time() - float(span[1]) * _UNITS[span[2]]
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no time; write for example 30m, 2h, 1d or 2026-11-30T02:00 (UTC)"
        ) from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _ask(
    directory: str,
    service: str | None,
    *,
    since: float | None = None,
    after: int = 0,
    limit: int = MAX_SHOWN,
) -> Page:
    """Ask the agent.  Raises ControlError and RefusedError."""
    question = {"service": service, "since": since, "after": after, "limit": limit}
    answer = ask_agent(directory, "history", arguments=question)
    if "refused" in answer:
        raise RefusedError(str(answer["refused"]))
    try:
        events = list(_load_events(answer["events"]))
        names = [str(name) for name in answer["services"]]
        newest, is_cut = int(answer["newest"]), bool(answer["cut"])
        notes = [str(each) for each in answer["problems"]]
    except MISMATCH:
        raise ControlError(f"{directory}: {NO_ANSWER}") from None
    return Page(events, newest, names, is_cut, notes)


def _load_events(values: Iterable[object]) -> Iterator[Event]:
    """Yield the events that this release knows."""
    for value in values:
        try:
            yield Event.from_json(value)
        except ValueError:
            continue


def _read_files(directory: str, service: str | None, since: float | None, limit: int) -> Page | int:
    """Read the files; returns the exit code where there is nothing to be read."""
    path = os.path.join(directory, CURRENT)
    found = read_history(directory, Selection(limit, since=since, service=service))
    if found.problems or not os.path.lexists(path):
        for problem in found.problems:
            print_error(f"anycastd: {problem}; use sudo, or join the agent's group")
        return EX_UNAVAILABLE
    if service is not None and not any(event.service == service for event in found.events):
        everything = read_history(directory, Selection(10 * MAX_SHOWN)).events
        names = sorted({event.service for event in everything} - {""})
        if service not in names:
            known = ", ".join(names) or "none"
            print_error(f"anycastd: the history has no service {service}; it has: {known}")
            return USAGE
    notes = [f"no agent answers; read from {path}"]
    if found.damaged:
        notes.append(f"{path}: {found.damaged} damaged lines are left out")
    if found.has_short_line:
        notes.append(f"{path}: the last line was cut short and is left out")
    newest = found.events[-1].number if found.events else 0
    return Page(found.events, newest, [], found.is_cut, notes)


def _follow(directory: str, service: str | None, newest: int, printer: _Printer) -> None:
    """Print each new event until interrupted; an agent that is away is waited for."""
    is_away = False
    while True:
        time.sleep(POLL_INTERVAL)
        try:
            page = _ask(directory, service, after=newest)
        except ControlError as error:
            if not is_away:
                print_error(f"anycastd: {error}; waiting for it")
            is_away = True
            continue
        except RefusedError as error:  # the profile that was reloaded has no such service
            print_error(f"anycastd: {error}; waiting for it")
            continue
        is_away = False
        printer.show(page.events)
        newest = max(newest, page.newest)


class _Printer:
    """It prints events, for people or as JSON."""

    def __init__(self, *, as_json: bool, with_colour: bool) -> None:
        self._as_json = as_json
        self._with_colour = with_colour
        self._day = ""
        columns = os.environ.get("COLUMNS", "")
        width = int(columns) if columns.isdecimal() and len(columns) < MAX_TEXT else 0
        if not width and sys.stdout.isatty():
            width = os.get_terminal_size(sys.stdout.fileno()).columns
        self._width = max(MIN_WIDTH, min(width or 80, MAX_WIDTH))

    def show(self, events: Iterable[Event]) -> None:
        """Print events."""
        for event in events:
            if self._as_json:
                print(json.dumps(event.to_json()))
            else:
                print_lines(self._format(event))
        sys.stdout.flush()

    def _format(self, event: Event) -> Iterator[str]:
        day, _, rest = format_time(event.at).partition("T")
        if day != self._day:
            self._day = day
            yield f"{day} UTC"
        text = make_printable(event.text, MAX_TEXT)
        mark, colour = _MARKS.get(event.priority, ("  ", None))
        indent = " " * _INDENT
        lines = textwrap.wrap(
            text,
            self._width - 1,
            initial_indent=f"{rest[:11]} {mark} ",
            subsequent_indent=indent,
            break_on_hyphens=False,
        )
        if self._with_colour and colour is not None:
            lines[0] = lines[0].replace(mark, paint(mark, colour), 1)
        yield from lines
        stages = describe_stages(event)
        if stages:
            yield f"{indent}{stages}"


def describe_stages(event: Event) -> str:
    """Describe what each stage of a change took; empty for other events.

    How long after its evidence a change was decided is only said of steps down: a step up comes
    when a wait ends.
    """
    if event.kind is not EventKind.TRANSITION:
        return ""
    stages = [] if event.is_step_up else [("decided", "decided_ms")]
    stages += [("sent", "sent_ms"), ("confirmed", "acknowledged_ms")]
    found = [f"{name} +{_milliseconds(event.fields, key)}" for name, key in stages]
    return ", ".join(each for each in found if not each.endswith("+"))


def _milliseconds(fields: Mapping[str, Any], key: str) -> str:
    value = fields.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return ""
    return f"{value:.1f} ms"
