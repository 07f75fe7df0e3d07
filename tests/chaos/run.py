"""Cause random faults in an appliance, and judge everything that its peers saw.

``python tests/chaos/run.py --seed N --faults 300 --json FILE`` as root; `make chaos` does it.
``--only WORDS`` uses the faults whose name has one of these comma-separated words alone.
Real HAProxy, agent, lease process and ExaBGP run in a network namespace and are restarted as by
systemd.  Two more services are decided by checks, whose servers and command fail as well.  Two
passive BGP peers watch, and clients send 50 requests a second to the VIP of the first one.  At the
first violation the run prints the seed, the episode's faults, the journal and all logs, and ends
with exit code 1.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from chaos.judge import Bounds
from chaos.judge_checks import judge_checked
from chaos.plan import CALM, Episode, Step, plan
from chaos.violations import Judgement, judge
from support.fault import Fault
from support.fault_shortages import around
from support.machine import Machine, pass_time
from support.processes import read_memory
from support.route_log import RouteLog
from support.surroundings import list_other_prefixes, run_surrounded

BOUNDS = Bounds()
NOISE = 10
"""Unexplained failed requests that an episode may have: the servers are threads of a test."""
SLOW_HELP = "a factor for all bounds, but those of the lease and of BGP, if much else runs here"
RECOVERY_TIMEOUT = 45.0
"""Seconds after the last fault until which everything must be preferred again."""


@dataclass(slots=True)
class Outcome:
    """The result of a run; times in seconds, memory in MB."""

    seed: int
    faults: dict[str, int] = field(default_factory=dict)
    episodes: int = 0
    seconds: float = 0.0
    changes: int = 0
    changes_in_harmless: int = 0
    stale: dict[str, float] = field(default_factory=dict)
    recovered: list[float] = field(default_factory=list)
    requests: int = 0
    failed: int = 0
    unexplained: int = 0
    restarts: dict[str, int] = field(default_factory=dict)
    watchdog: dict[str, int] = field(default_factory=dict)
    memory: dict[str, list[float]] = field(default_factory=dict)
    exabgp: str = ""
    violation: str = ""


def play(machine: Machine, episode: Episode) -> None:
    """Begin and end the episode's faults at their times; those that are late at once, in order."""
    actions: list[tuple[float, int, Step]] = []
    for step in episode.steps:
        actions += [(step.at, 0, step), (step.at + step.lasts, 1, step)]
    actions.sort(key=lambda action: action[:2])
    begun: dict[int, Any] = {}
    began_at = time.monotonic()
    for at, ends, step in actions:
        pass_time(began_at, at)
        if ends:
            step.fault.end(machine, begun.pop(id(step)))
        else:
            begun[id(step)] = step.fault.begin(machine, step.lasts)


def watch(
    machine: Machine, episode: Episode, bounds: Bounds = BOUNDS
) -> tuple[float, Judgement, str]:
    """Play an episode and judge it.

    Returns how long recovery took (s), the judgement, and what did not recover as text.
    """
    began_at = time.monotonic()
    trouble = ""
    try:
        play(machine, episode)
    except (AssertionError, OSError) as error:
        trouble = f"a fault could not be begun or ended: {error}"
    played_at = time.monotonic()
    try:
        slow = bounds.late / BOUNDS.late
        if machine.surroundings is not None:
            machine.surroundings.checked.wait_settled(RECOVERY_TIMEOUT * slow)
        machine.wait_settled(RECOVERY_TIMEOUT * slow, CALM)
        machine.wait_in_order(15 * slow)
    except AssertionError as error:
        trouble += f"\nnot recovered: {error}\n{describe_state(machine)}"
    ended_at = time.monotonic()
    machine.wire.refresh()
    if others := list_other_prefixes(machine):
        trouble += f"\nstale: a peer was told to reach {', '.join(sorted(others))}"
    found = judge(
        machine.journal,
        [log.changes for log in machine.wire.logs],
        machine.traffic.requests,
        began_at=began_at,
        ended_at=ended_at,
        bounds=bounds,
    )
    also = judge_services(machine, began_at, ended_at, bounds)
    found.violations += also.violations
    found.changes += also.changes
    found.stale |= also.stale
    logs = list_wires(machine).values()
    later = [change.at for wire in logs for change in wire.changes(played_at)]
    last = max(later, default=played_at)
    return last - played_at, found, trouble


def list_wires(machine: Machine) -> dict[str, RouteLog]:
    """List what the peers have of each service that serves, by its name."""
    around = machine.surroundings
    return {"web": machine.wire, **(around.checked.wires if around is not None else {})}


def judge_services(machine: Machine, began_at: float, ended_at: float, bounds: Bounds) -> Judgement:
    """Judge the services that checks decide, where the machine has them."""
    if machine.surroundings is None:
        return Judgement()
    services = machine.surroundings.checked
    changes = (services.changes("checked"), services.changes("chosen"))
    return judge_checked(
        machine.journal, *changes, began_at=began_at, ended_at=ended_at, bounds=bounds
    )


def describe_state(machine: Machine) -> str:
    """Return what the agent and HAProxy say of the services now, as text."""
    try:
        service = machine.appliance.status()["services"]
        rows = machine.appliance.haproxy.ask("show stat")
    except (AssertionError, OSError) as error:
        return f"no answer: {error}"
    return f"{json.dumps(service, indent=1)}\n{rows}"


def describe_episode(machine: Machine, episode: Episode, since: float) -> str:
    """Return the faults of an episode, and everything that happened since a time, as text."""
    lines = [f"faults of episode {episode.number}:", *map(str, episode.steps), "what happened:"]
    events = [
        (entry.at, f"{entry.part}: {entry.what}") for entry in machine.journal if entry.at > since
    ]
    for service, wire in list_wires(machine).items():
        for change in wire.changes(since):
            closed = f", closed: {change.closed.detail or change.closed}" if change.closed else ""
            via = f" via {change.route.next_hop}" if change.route else ""
            what = f"    peer {change.peer} has {service} '{change}'{via}{closed}"
            events.append((change.at, what))
    lines += [f"{at - since:8.3f} s  {text}" for at, text in sorted(events)]
    return "\n".join(lines)


def run(
    machine: Machine,
    seed: int,
    faults: int,
    report_line: Callable[[str], None] = lambda _: None,
    *,
    allowed: Callable[[Fault], bool] | None = None,
    is_over: Callable[[], bool] = lambda: False,
    slow: float = 1.0,
) -> Outcome:
    """Run a plan on a machine without faults; stop at the first violation.

    ``allowed`` says which faults may be used.  ``is_over`` is asked after each episode whether to
    stop before the plan's end.  ``slow`` is the factor of ``Bounds.scale``.
    """
    outcome = Outcome(seed)
    random.seed(seed)  # the order in which a paused machine's processes go on
    machine.traffic.timeout *= slow
    machine.wait_settled(30 * slow)
    around(machine).checked.wait_settled(30 * slow)
    machine.wait_in_order(10 * slow)
    outcome.exabgp = str(machine.appliance.status()["lease"]["exabgp"])
    _measure_memory(machine, outcome)
    began_at = time.monotonic()
    for episode in plan(seed, faults, allowed):
        since = time.monotonic()
        # Hours of requests are counted, not kept.
        outcome.requests += (old := len(machine.traffic.requests))
        del machine.traffic.requests[:old]
        recovered, found, trouble = watch(machine, episode, BOUNDS.scale(slow))
        outcome.episodes += 1
        for step in episode.steps:
            outcome.faults[step.fault.name] = outcome.faults.get(step.fault.name, 0) + 1
        outcome.recovered.append(round(recovered, 3))
        outcome.changes += found.changes
        outcome.failed += found.failed
        outcome.unexplained += len(found.unexplained)
        for cause, seconds in found.stale.items():
            outcome.stale[cause] = round(max(outcome.stale.get(cause, 0.0), seconds), 3)
        if episode.harmless:
            own = [step.fault.name for step in episode.steps if step.fault.name.startswith("peer")]
            outcome.changes_in_harmless += 0 if own else found.changes
        violations = [*found.violations, *([trouble] if trouble else [])]
        if len(found.unexplained) > NOISE * slow:
            violations += [
                f"unexplained failure of a request at {each.sent_at - since:.3f} s: {each.error}"
                for each in found.unexplained
            ]
        if violations:
            text = "\n".join(violations)
            outcome.violation = f"{text}\n{describe_episode(machine, episode, since)}"
            break
        report_line(
            f"episode {episode.number}: {len(episode.steps)} faults"
            f"{', all harmless' if episode.harmless else ''}, {found.changes} route changes, "
            f"recovered {recovered:.1f} s after the last; "
            f"{sum(outcome.faults.values())} of {faults} faults "
            f"in {time.monotonic() - began_at:.0f} s"
        )
        if is_over():
            break
    outcome.seconds = round(time.monotonic() - began_at, 1)
    outcome.requests += len(machine.traffic.requests)
    for unit in (machine.agent, machine.speaker):
        outcome.restarts[unit.name] = len(unit.starts) - 1
        outcome.watchdog[unit.name] = len(unit.watchdog_kills)
    _measure_memory(machine, outcome)
    return outcome


def _measure_memory(machine: Machine, outcome: Outcome) -> None:
    for part in ("agent", "lease", "exabgp"):
        pid = machine.pid(part)
        outcome.memory.setdefault(part, []).append(
            0.0 if pid is None else round(read_memory(pid), 1)
        )


def end_in_order() -> None:
    """Let SIGTERM end this process as an exit does: its disk is unmounted, nothing is left."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))


def print_line(text: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main() -> int:
    """Run the plan of a seed and print the result; return 1 after a violation."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--faults", type=int, default=300)
    parser.add_argument("--python", default=sys.executable, help="whose ExaBGP")
    parser.add_argument("--json", type=Path, help="a file for the figures")
    parser.add_argument("--only", default="", help="words of the names of the faults to use")
    parser.add_argument("--slow", type=float, default=1.0, help=SLOW_HELP)
    parser.add_argument("--plan", action="store_true", help="print what would be done, and end")
    args = parser.parse_args()
    words = args.only.split(",")

    def allowed(fault: Fault) -> bool:
        return any(word in fault.name for word in words)

    if args.plan:
        for episode in plan(args.seed, args.faults, allowed):
            print_line(f"episode {episode.number}{' (harmless)' if episode.harmless else ''}")
            print_line("\n".join(map(str, episode.steps)))
        return 0
    print_line(f"seed {args.seed}, {args.faults} faults")
    end_in_order()
    with (
        tempfile.TemporaryDirectory() as name,
        run_surrounded(Path(name), args.python) as machine,
    ):
        outcome = run(machine, args.seed, args.faults, print_line, allowed=allowed, slow=args.slow)
        logs = machine.appliance.log()
    if args.json:
        args.json.write_text(json.dumps(asdict(outcome), indent=1) + "\n", encoding="utf-8")
    report(outcome)
    if outcome.violation:
        print_line(f"\n{logs[-20000:]}\nVIOLATION, seed {outcome.seed}:\n{outcome.violation}")
        return 1
    return 0


def report(outcome: Outcome) -> None:
    """Print the result of a run."""
    print_line(f"\nseed {outcome.seed}, ExaBGP {outcome.exabgp}, {outcome.seconds:.0f} s")
    for name, count in sorted(outcome.faults.items()):
        print_line(f"{count:5}  {name}")
    print_line(f"{sum(outcome.faults.values()):5}  faults in {outcome.episodes} episodes")
    print_line(
        f"route changes: {outcome.changes}; in episodes of harmless faults, where no peer was "
        f"away: {outcome.changes_in_harmless}"
    )
    for cause, seconds in sorted(outcome.stale.items()):
        print_line(f"longest route after '{cause}': {seconds:.2f} s")
    recovered = sorted(outcome.recovered)
    print_line(
        f"everything preferred again after an episode: median {recovered[len(recovered) // 2]:.1f} "
        f"s, at most {recovered[-1]:.1f} s"
    )
    print_line(
        f"requests: {outcome.requests}, failed {outcome.failed}, unexplained {outcome.unexplained}"
    )
    print_line(f"restarts: {outcome.restarts}; by the watchdog: {outcome.watchdog}")
    print_line(f"resident memory at the start and at the end, MB: {outcome.memory}")


if __name__ == "__main__":
    sys.exit(main())
