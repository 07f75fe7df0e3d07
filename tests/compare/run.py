"""Compare anycastd with others on one network: `make compare`, as root (about an hour).

The systems take turns: each round starts every one of them in both regions, causes each fault once,
and ends it.  What a client with 100 requests a second sees decides.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import platform
import re
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "bench"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from noise import Noise, print_line, show_progress, summarize

from anycastd.lab.network.namespaces import EX_UNAVAILABLE, LabError
from compare.cost import measure_cost
from compare.drawing import draw_picture
from compare.faults import FAULTS, Fault, Trial, run_restless, run_return, run_trial, wait_steady
from compare.holds import measure_holds
from compare.network import Network
from compare.report import Figures, build_holds_text, build_page_part, build_text, insert_part
from compare.systems import CHECKER_VENV, SYSTEMS, Running, System

ROOT = Path(__file__).resolve().parents[2]
PAGE, PICTURE = ROOT / "docs" / "comparison.md", ROOT / "docs" / "images" / "comparison.svg"
JSON = ROOT / "build" / "compare.json"
RETURN_ROUNDS = 2
"""Rounds in which the return is measured; with anycastd's own waits it takes more than a minute."""
COST_SECONDS = 15.0
EX_CANTCREAT = 73
"""As in sysexits.h."""
QUICK = ("healthcheck-fast", "anycastd-fast")
PARTS = ("faults", "return", "holds")


def read_versions() -> dict[str, str]:
    """Return the versions of what is compared, of those programs that are here."""
    commands = {
        "HAProxy": ["haproxy", "-v"],
        "BIRD": ["bird", "--version"],
        "ExaBGP": [sys.executable, "-c", "from exabgp.version import release; print(release)"],
        "anycast-healthchecker": [
            str(CHECKER_VENV / "bin" / "python"),
            *("-c", "import anycast_healthchecker; print(anycast_healthchecker.__version__)"),
        ],
        "keepalived": ["keepalived", "--version"],
        "anycastd": [sys.executable, "-c", "import anycastd; print(anycastd.__version__)"],
    }
    found = {
        "Python": platform.python_version(),
        "Linux": ".".join(platform.release().split(".")[:2]),
    }
    environment = os.environ | {
        "PATH": f"{os.environ.get('PATH', '')}:/usr/sbin",
        "PYTHONPATH": str(ROOT),
    }
    for name, command in commands.items():
        try:
            done = subprocess.run(
                command,
                capture_output=True,
                encoding="utf-8",
                check=False,
                env=environment,
                cwd="/",
            )
        except OSError:
            continue
        version = re.search(r"\d+(\.\d+)+", done.stdout + done.stderr)
        if version and not done.returncode:
            found[name] = version[0]
    return found


def choose_systems(names: list[str] | None, left_out: list[str]) -> list[System]:
    """Return the systems that were asked for and that can run here; say which cannot."""
    chosen = []
    for system in SYSTEMS:
        if names and system.name not in names:
            continue
        missing = [Path(each).name for each in system.find_missing()]
        if missing:
            left_out.append(f"{system.name}, without {' and '.join(missing)}")
        else:
            chosen.append(system)
    return chosen


@dataclass(frozen=True, slots=True)
class Plan:
    """What to measure: the faults, and whether also the cost, the return and the hold times."""

    faults: list[Fault]
    cost: bool
    returns: bool
    holds: bool


def make_plan(args: argparse.Namespace) -> Plan:
    """Make the plan of a command line."""
    wanted = ["servers"] if args.quick else args.faults
    if wanted:
        return Plan([each for each in FAULTS if each.name in wanted], False, False, False)
    parts = [args.only] if args.only else PARTS
    with_faults = "faults" in parts
    return Plan(
        list(FAULTS) if with_faults else [], with_faults, "return" in parts, "holds" in parts
    )


class Comparison:
    """A run: it collects the figures and writes them to a file after each trial.

    So ``--from`` can show what an interrupted run has measured.
    """

    def __init__(self, figures: Figures, file: Path, noise: Noise) -> None:
        self.figures, self.file, self.noise = figures, file, noise

    def add(self, system: System, fault: str, trial: Trial) -> None:
        """Keep a trial."""
        trials = self.figures["trials"].setdefault(system.name, {})
        trials.setdefault(fault, []).append(asdict(trial))
        self.save()

    def save(self) -> None:
        """Write what there is so far."""
        self.figures["noise"] = asdict(summarize(self.noise.late or [0.0]))
        self.figures["load"] = os.getloadavg()[0]
        self.file.parent.mkdir(parents=True, exist_ok=True)
        self.file.write_text(json.dumps(self.figures, indent=1) + "\n", encoding="utf-8")

    def run_round(self, network: Network, system: System, plan: Plan, number: int) -> None:
        """Run one round of a system; what fails is told and counted, and the run goes on."""
        first = number == 0
        try:
            if plan.faults:
                self._run_faults(network, system, plan, first=first)
            if plan.returns and number < RETURN_ROUNDS:
                self._run_returns(network, system, first=first)
        except (AssertionError, LabError, OSError, subprocess.SubprocessError) as error:
            self.figures["failures"].append(f"{system.name}: {error}")
            print_line(f"FAILED: {system.name}, round {number + 1}: {error}")
            self.save()
            network.restore()

    def _run_faults(self, network: Network, system: System, plan: Plan, *, first: bool) -> None:
        with Running(network, system) as running:
            wait_steady(running)
            if plan.cost and first:
                show_progress(f"{system.name}: cost")
                self.figures["costs"][system.name] = asdict(measure_cost(running, COST_SECONDS))
            for fault in plan.faults:
                show_progress(f"{system.name}: {fault.describes}")
                self.add(system, fault.name, run_trial(running, fault))

    def _run_returns(self, network: Network, system: System, *, first: bool) -> None:
        show_progress(f"{system.name}: the return")
        with Running(network, system, shipped_return=True) as running:
            self.add(system, "return", run_return(running))
            if first:
                show_progress(f"{system.name}: servers that come and go")
                self.add(system, "restless", run_restless(running))


def write_docs(figures: Figures) -> None:
    """Write the measured part of the page, and its picture."""
    part = build_page_part(figures)
    PAGE.write_text(insert_part(PAGE.read_text(encoding="utf-8"), part), encoding="utf-8")
    PICTURE.write_text(draw_picture(figures), encoding="utf-8")
    print_line(f"written: {PAGE.relative_to(ROOT)}, {PICTURE.relative_to(ROOT)}")


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="tests/compare/run.py", description=(__doc__ or "").splitlines()[0]
    )
    names = [system.name for system in SYSTEMS]
    parser.add_argument(
        "--systems", action="append", choices=names, help="only this; may be repeated"
    )
    parser.add_argument(
        "--faults",
        action="append",
        choices=[fault.name for fault in FAULTS],
        help="only this fault; may be repeated",
    )
    parser.add_argument(
        "--only", choices=PARTS, help="only the faults, the return, or the hold times"
    )
    parser.add_argument("--times", type=int, default=3, help="rounds (default 3)")
    parser.add_argument("--quick", action="store_true", help="one fault, one round, two systems")
    parser.add_argument("--json", type=Path, default=JSON, help="a file for the figures")
    parser.add_argument(
        "--add", action="store_true", help="add to the figures that the file has, of an earlier run"
    )
    parser.add_argument(
        "--from",
        dest="before",
        type=Path,
        help="measure nothing: take the figures of an earlier run",
    )
    parser.add_argument(
        "--write", action="store_true", help="write docs/comparison.md and its picture"
    )
    args = parser.parse_args()
    if args.times < 1:
        parser.error("--times: must be 1 or more")
    return args


def measure(args: argparse.Namespace) -> Figures:
    """Run the rounds, and the hold times; return the figures."""
    figures: Figures = {
        "date": dt.datetime.now(dt.UTC).date().isoformat(),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}",
        "versions": read_versions(),
        **{name: [] for name in ("left_out", "failures")},
        **{name: {} for name in ("trials", "costs")},
    }
    if args.add:
        before = read_figures(args.json)
        figures |= {name: before[name] for name in ("trials", "costs", "failures")}
        figures |= {name: before[name] for name in ("holds",) if name in before}
    systems = choose_systems(list(QUICK) if args.quick else args.systems, figures["left_out"])
    plan = make_plan(args)
    if not systems:
        raise LabError(f"nothing to compare: {'; '.join(figures['left_out'])}", EX_UNAVAILABLE)
    try:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.open("a", encoding="utf-8").close()
    except OSError as error:
        raise LabError(f"{args.json}: cannot be written: {error.strerror}", EX_CANTCREAT) from None
    with Network() as network, Noise() as noise:
        comparison = Comparison(figures, args.json, noise)
        if plan.faults or plan.returns:
            for number in range(1 if args.quick else args.times):
                for system in systems:
                    comparison.run_round(network, system, plan, number)
        if plan.holds:
            show_progress("hold times")
            figures["holds"] = measure_holds(network, args.times)
        comparison.save()
    show_progress("")
    return figures


def read_figures(file: Path) -> Figures:
    """Read the figures of an earlier run; raises SystemExit where they cannot be read."""
    try:
        figures = json.loads(file.read_text(encoding="utf-8"))
        figures["noise"]["median"], figures["trials"], figures["costs"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        sys.stderr.write(f"{file}: no figures of a run ({error}); run without --from and --add\n")
        raise SystemExit(2) from None
    return dict(figures)


def main() -> int:
    """Compare, print the tables; 0, or 1 where a trial failed."""
    args = parse_arguments()
    began_at = time.monotonic()
    try:
        figures = measure(args) if args.before is None else read_figures(args.before)
    except LabError as error:
        sys.stderr.write(f"{error}\n")
        return error.code
    except KeyboardInterrupt:
        print_line(f"interrupted; `--from {args.json}` shows what was measured until then")
        return 130
    for line in build_text(figures):
        print_line(line)
    if figures.get("holds"):
        print_line("")
        for line in build_holds_text(figures["holds"]):
            print_line(line)
    if args.write:
        write_docs(figures)
    if not args.before:
        print_line(f"compared for {time.monotonic() - began_at:.0f} s; figures in {args.json}")
    return 1 if figures["failures"] else 0


if __name__ == "__main__":
    sys.exit(main())
