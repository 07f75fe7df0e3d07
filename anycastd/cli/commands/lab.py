"""`anycastd lab`: rehearse a failover in network namespaces."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from anycastd.lab.network import adapt, frr
from anycastd.lab.network.appliance import LabSettings
from anycastd.lab.network.azure import AZURE
from anycastd.lab.network.lab import Lab
from anycastd.lab.network.namespaces import LabError
from anycastd.lab.network.shipped_files import MissingFileError, find_shipped
from anycastd.lab.stories import steps as steps_module
from anycastd.lab.stories.catalogue import STORIES, list_stories
from anycastd.lab.stories.html_report import build_report
from anycastd.lab.stories.live import LiveView
from anycastd.lab.stories.recording import Recording, record_step
from anycastd.lab.stories.report import StepReport, TextReport, build_document, print_error
from anycastd.lab.stories.shell import LabShell
from anycastd.lab.stories.steps import Story, StoryStep
from anycastd.system.exit_codes import (
    DONE,
    EX_NOPERM,
    EX_SOFTWARE,
    EX_UNAVAILABLE,
    INTERRUPTED,
    NOT_SEEN,
    USAGE,
)

_MIN_TIMEOUT, _MAX_TIMEOUT = 0.05, 10.0


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.description = (
        "Build the network of a story in network namespaces: routers, HAProxy, agents and clients. "
        "Then break parts of it, and show what the client and the routers saw. Needs root. "
        "Everything is removed at the end. The exit code is 0 only if all that was expected was "
        "seen."
    )
    parser.add_argument(
        "--story",
        choices=STORIES,
        metavar="NAME",
        default="failover",
        help="the story to play (default: failover); --list names all",
    )
    parser.add_argument(
        "--short", action="store_true", help="play only the steps of the story's short form"
    )
    parser.add_argument("--list", action="store_true", help="list the stories, one a line")
    parser.add_argument("--keep", action="store_true", help="keep the network running until Ctrl-C")
    parser.add_argument(
        "--shell",
        action="store_true",
        help="play no story: open a prompt in a network that stays up, with commands to try",
    )
    parser.add_argument(
        "--report",
        metavar="FILE",
        type=Path,
        help="write an HTML file with a timeline of each fault and what was measured",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    _add_settings(parser)


def _add_settings(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that say with what the network is built."""
    parser.add_argument(
        "--client-timeout",
        metavar="SECONDS",
        type=_parse_timeout,
        default=0.25,
        help="how long a client waits for an answer (default: 0.25); more on a busy machine",
    )
    parser.add_argument(
        "--fast", action="store_true", help="use the fast health checks of the HAProxy file"
    )
    parser.add_argument(
        "--speaker",
        metavar="PROGRAM",
        help="the anycastd that runs the speaker (default: this one)",
    )
    parser.add_argument(
        "--haproxy",
        metavar="PROGRAM",
        default="haproxy",
        help="the HAProxy to use (default: haproxy)",
    )
    parser.add_argument(
        "--directory", type=Path, help="where to keep the lab's files; removed at the end"
    )


def _parse_timeout(text: str) -> float:
    """Read a number of seconds between 0.05 and 10; raises ArgumentTypeError for anything else."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not _MIN_TIMEOUT <= seconds <= _MAX_TIMEOUT:
        limits = f"{_MIN_TIMEOUT:g} and {_MAX_TIMEOUT:g}"
        raise argparse.ArgumentTypeError(f"'{text}' is no number of seconds between {limits}")
    return seconds


def main(args: argparse.Namespace) -> int:
    """Run the story and return the exit code.

    It is 0 if all was seen that should have been, else 1; 130 after Ctrl-C, SIGTERM or SIGHUP; 77
    without root; 2, 69, 70 or 78 where the lab cannot be built.
    """
    if args.list:
        print(list_stories())
        return DONE
    return _rehearse(args)


def _rehearse(args: argparse.Namespace) -> int:
    if os.geteuid() != 0:
        print_error("it needs root to create network namespaces: run it with sudo")
        return EX_NOPERM
    signal.signal(signal.SIGTERM, _interrupt)
    signal.signal(signal.SIGHUP, _interrupt)
    try:
        return _play(args)
    except KeyboardInterrupt:
        print_error("interrupted; the network was removed")
        return INTERRUPTED
    except MissingFileError as missing:
        print_error(str(missing))
        return EX_UNAVAILABLE
    except LabError as failed:
        print_error(str(failed))
        return failed.code
    except TimeoutError as silent:
        print_error(f"a router or HAProxy of the lab does not answer; was it frozen? ({silent})")
        return EX_SOFTWARE


def _interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def _play(args: argparse.Namespace) -> int:
    began_at = time.monotonic()
    _check_report(args.report)
    stream = sys.stderr if args.json else sys.stdout
    text_report, view = TextReport(stream), LiveView(sys.stderr)
    story = STORIES[args.story]
    settings = _build_settings(args, story)
    topology, planned = story.topology, story.choose_steps(short=args.short)
    lab = Lab(
        settings,
        topology,
        directory=args.directory,
        timeout=args.client_timeout,
        progress=view,
    )
    about = {"story": args.story, **_describe_settings(settings, story, lab)}
    text_report.write_line(f"anycastd lab: {topology.summary} ({topology.vip})")
    text_report.write_line()
    text_report.write_line(topology.picture)
    if not args.shell:
        for name, text in about["notes"].items():
            text_report.write_line(f"  {name:<15}{text}")
    try:
        with lab:
            view.lab = lab
            if args.shell:
                return _open_shell(lab, text_report, view)
            steps, recordings = _play_story(lab, planned, text_report, view)
            seconds = time.monotonic() - began_at
            text_report.write_verdict(steps, len(planned), seconds)
            passed = len(steps) == len(planned) and all(step.passed for step in steps)
            document = {**build_document(steps, {**about, "seconds": seconds}), "passed": passed}
            if args.report is not None:
                args.report.write_text(
                    build_report(recordings, document, topology), encoding="utf-8"
                )
                text_report.write_line(f"the report is in {args.report}")
            if args.json:
                print(json.dumps(document), flush=True)
            if args.keep:
                _keep_up(lab, text_report)
    finally:
        view.clear()
    return DONE if passed else NOT_SEEN


def _check_report(file: Path | None) -> None:
    """Raise LabError where the report could not be written at the end."""
    if file is None:
        return
    try:
        file.open("ab").close()
    except OSError as error:
        raise LabError(f"{file}: cannot write the report: {error.strerror}", USAGE) from None


def _build_settings(args: argparse.Namespace, story: Story) -> LabSettings:
    speaker = tuple(shlex.split(args.speaker)) if args.speaker else LabSettings().speaker
    return LabSettings(
        profiles={name: find_shipped(f"profiles/{file}") for name, file in story.profiles.items()},
        speaker=speaker,
        haproxy=args.haproxy,
        fast=args.fast,
        return_timers=story.return_timers,
        drain_times=story.drain_times,
    )


def _play_story(
    lab: Lab, planned: Sequence[StoryStep], text_report: TextReport, view: LiveView
) -> tuple[list[StepReport], list[Recording]]:
    recordings: list[Recording] = []

    def on_begin(title: str) -> None:
        view.clear()
        text_report.write_heading(title)

    def on_end(step: StepReport) -> None:
        view.clear()
        text_report.write_step(step)
        recording = record_step(lab, step)
        if recording is not None:
            recordings.append(recording)

    return steps_module.play_story(lab, planned, on_begin, on_end), recordings


def _open_shell(lab: Lab, text_report: TextReport, view: LiveView) -> int:
    """Open a prompt as soon as every site is preferred; returns the exit code."""
    for client in lab.clients.values():
        client.start()
    lab.wait_preferred()
    view.clear()
    serve = "Both regions serve" if lab.topology is AZURE else "All sites serve"
    text_report.write_heading(f"{serve}. The network stays up until `quit`")
    LabShell(lab, text_report, view, sys.stdin).run()
    return DONE


def _describe_settings(settings: LabSettings, story: Story, lab: Lab) -> dict[str, Any]:
    programs = {"haproxy": (settings.haproxy, "-v")} if lab.has_haproxy else {}
    known = {"bird": ("bird", "--version"), "frr": (f"{frr.DAEMONS}/bgpd", "--version")}
    known["gobgp"] = ("gobgpd", "--version")
    makes = {router.make for router in story.topology.routers}
    programs |= {make: known[make] for make in known if make in makes}
    notes = {"programs": "; ".join(_version(*each) for each in programs.values())}
    if lab.has_haproxy:
        notes["health checks"] = f"the HAProxy file's {'fast' if settings.fast else 'calm'} block"
    if story.return_timers:
        timers = ", ".join(f"{name} {value} s" for name, value in story.return_timers.items())
        notes["return timers"] = f"shortened for the story: {timers}"
        limits = f"{adapt.DEGRADED_FALL} s of `fall`, {adapt.SESSION_LIMIT} sessions"
        notes["limits"] = f"also for the story: {limits}"
    if story.drain_times:
        notes["drain"] = f"also for the story: {story.drain_times['wait']} s with the longest path"
    if "bird" in makes:
        notes["routers"] = "BIRD connects again after 1 to 2 s; routers of a cloud take longer"
    timeout = f"a timeout of {lab.client.timeout * 1000:g} ms"
    notes["client"] = f"a request each 10 ms, each on a new connection, with {timeout}"
    return {
        "vip": story.topology.vip,
        "regions": [site.name for site in story.topology.sites],
        "return": story.return_timers,
        "checks": "fast" if settings.fast else "calm",
        "notes": {**notes, **story.notes},
    }


def _version(program: str, option: str) -> str:
    done = subprocess.run([program, option], capture_output=True, encoding="utf-8", check=False)
    lines = (done.stdout or done.stderr).splitlines()
    return " ".join(lines[0].split()[:3]) if lines else program


def _keep_up(lab: Lab, text_report: TextReport) -> None:
    enter = lab.nodes.directory / "in"
    text_report.write_heading("The network stays up until Ctrl-C")
    topology = lab.topology
    observed = lab.routers[topology.observed]
    fetch = "curl" if shutil.which("curl") or not shutil.which("wget") else "wget -qO-"
    text_report.write_line(f"  nodes            {' '.join(lab.nodes.names)}")
    commands = {
        "enter one": f"{enter} NODE [COMMAND...]",
        **{nva.site.title: f"{nva.write_script()} status" for nva in lab.appliances.values()},
        f"routes of {observed.node}": f"{enter} {observed.node} {observed.describe_command()}",
        "ask the VIP": f"{enter} {lab.client.node} {fetch} http://{topology.vip}/",
        "logs": f"{lab.nodes.directory}/log",
        "take it down": f"Ctrl-C here, or: kill {os.getpid()}",
    }
    width = shutil.get_terminal_size().columns
    for name, command in commands.items():
        line = f"  {name:<15}  {command}"
        # A command to copy is not folded; one that is too long has a line of its own.
        text_report.write_line(
            line if len(line) < width else f"  {name}\n    {command}", fold=False
        )
    try:
        while True:
            signal.pause()
    except KeyboardInterrupt:
        text_report.write_line()
        text_report.write_line("removed")
