"""The seed's story: baseline, failure of what serves, recovery; told step by step."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator

from anycastd.lab.lab import EXPECTED, Lab, TimedOutError, expected, paths
from anycastd.lab.record import Answer, settled, who
from anycastd.lab.report import Step, span
from anycastd.lab.routers import Row
from anycastd.lab.topology import PRIMARY, SECONDARY, Region

ENOUGH = 50
"""So many good answers in a row, half a second of them, and the client is content."""
OUTAGE = 3.0
"""The story's own bound for an outage in seconds: this is a rehearsal, tests/bench measures."""
PLANNED = 7
_STAMPS = 0.005  # seconds between what the kernel stamps and what the client does
_SERVERS = (PRIMARY.node("ars0"), PRIMARY.node("ars1"))
_TABLE = "the MSEE's routes to the VIP"


def tell(lab: Lab, begin: Callable[[str], None], done: Callable[[Step], None]) -> list[Step]:
    """Play the story and return its steps.

    ``begin`` is called with the title before each step, ``done`` with each step.  A step in which
    something awaited did not happen fails and ends the story.
    """
    steps: list[Step] = []
    lab.client.start()
    for name, title, act in _steps(lab):
        step = Step(name, title)
        begin(f"{len(steps) + 1}. {title}")
        try:
            act(step)
        except TimedOutError as late:
            step.check("what was awaited happened", passed=False, saw=str(late))
        steps.append(step)
        done(step)
        if not step.passed:
            break
    lab.client.stop()
    return steps


def _steps(lab: Lab) -> Iterator[tuple[str, str, Callable[[Step], None]]]:
    name = PRIMARY.name
    faults = lab.faults
    yield "baseline", "Baseline: both regions announce", lambda step: _baseline(lab, step)
    yield (
        "backends-killed",
        f"Both web servers of {PRIMARY.title} are killed",
        lambda step: _failure(lab, step, lambda: faults.kill_backends(name)),
    )
    yield (
        "backends-back",
        "They are started again",
        lambda step: _recovery(lab, step, lambda: faults.start_backends(name)),
    )
    yield (
        "haproxy-killed",
        f"HAProxy of {PRIMARY.title} is killed, master and worker",
        lambda step: _failure(lab, step, lambda: faults.kill_haproxy(name)),
    )
    yield (
        "haproxy-back",
        "It is started again",
        lambda step: _recovery(lab, step, lambda: faults.start_haproxy(name)),
    )

    yield (
        "drained",
        f"{PRIMARY.title} is drained: `anycastd drain --reason ...`",
        lambda step: _drain(lab, step),
    )
    yield "undrained", "`anycastd undrain`", lambda step: _undrain(lab, step)


def _baseline(lab: Lab, step: Step) -> None:
    rows = lab.wait_preferred()
    lab.wait_answers(PRIMARY, ENOUGH, 20)
    lab.client.start()
    lab.wait_answers(PRIMARY, 2 * ENOUGH, 20)
    step.table("baseline", _TABLE, rows)
    _count(lab, step, 0.0)
    step.check(
        "the MSEE has both regions from both their gateways, at the profiles' paths",
        paths(rows) == EXPECTED,
        f"{len(rows)} routes",
    )
    _check_best(step, rows, PRIMARY)
    _check_agents(lab, step, "preferred")
    ups = {
        f"{region} {server}": status
        for region, nva in lab.regions.items()
        for servers in nva.inventory().values()
        for server, status in servers.items()
    }
    step.check(
        "HAProxy says in both regions that its web servers are up",
        len(ups) == sum(len(nva.backends) for nva in lab.regions.values())
        and all(status == "UP" for status in ups.values()),
        ", ".join(f"{name} {status}" for name, status in ups.items()),
    )
    servers = {words.split()[-1] for words in step.answers}
    step.check(
        f"every answer comes from {PRIMARY.title}, from both its web servers",
        not step.failed and servers == set(lab.primary.backends),
        _summary(step),
    )


def _failure(lab: Lab, step: Step, fault: Callable[[], float]) -> None:
    at = fault()
    only = expected({SECONDARY.name: 2})
    what = f"{PRIMARY.title}'s routes to go from the MSEE"
    rows = lab.wait_table(what, lambda rows: paths(rows) == only, 20)
    lab.wait_answers(SECONDARY, ENOUGH, 20, at)
    _wait_over(lab, at)
    servers = {node: lab.watches[node].first(at) for node in _SERVERS}
    switched = lab.watches["msee"].first(at, *SECONDARY.gateways)
    outage = lab.client.outage(at)
    if outage:
        step.outage = outage.seconds
        step.time("first-failure", "first failed request sent", outage.began - at)
    for node, moment in servers.items():
        step.time(f"withdrawn-{node}", f"route withdrawn at {node}", _after(at, moment))
    step.time("switched", f"the MSEE sends to {SECONDARY.title}", _after(at, switched))
    if outage:
        step.time("good-again", "first good answer after the last failure", outage.over - at)
    step.times.sort(key=lambda one: one.seconds)
    if outage:
        step.time("outage", "outage, as the client sees it", outage.seconds)
    step.table("after", _TABLE, rows)
    _count(lab, step, at)
    step.check(
        f"{PRIMARY.title}'s routes are gone from its route servers and from the MSEE",
        None not in servers.values() and switched is not None,
        f"{len(rows)} routes left, all of {SECONDARY.title}",
    )
    _check_best(step, rows, SECONDARY)
    _check_agents(lab, step, "withdrawn")
    step.check(
        f"answers come from {SECONDARY.title} after an outage of less than {OUTAGE:g} s",
        settled(lab.client.answers(at), SECONDARY.name, ENOUGH) and (step.outage or 0) < OUTAGE,
        f"{span(step.outage) if step.outage else 'none seen'}, {_summary(step)}",
    )


def _open_at(answer: Answer, moment: float | None) -> bool:
    """Whether a request was on its way at ``moment``, give or take the stamps' precision."""
    return moment is not None and answer.start - _STAMPS <= moment <= answer.end + _STAMPS


def _recovery(lab: Lab, step: Step, mend: Callable[[], float]) -> None:
    at = mend()
    what = f"{PRIMARY.title} at standby"
    standby = lab.wait_table(what, lambda rows: set(PRIMARY.gateways) <= set(paths(rows)), 30)
    rows = lab.wait_preferred(60)
    lab.wait_answers(PRIMARY, 2 * ENOUGH, 20)
    _wait_over(lab, at)
    servers = {node: lab.watches[node].first(at, PRIMARY.nva) for node in _SERVERS}
    switched = lab.watches["msee"].first(at, *PRIMARY.gateways)
    for node, moment in servers.items():
        step.time(f"standby-{node}", f"announced at {node}, at standby", _after(at, moment))
    step.time("switched", f"the MSEE sends to {PRIMARY.title}", _after(at, switched))
    outage = lab.client.outage(at)
    step.outage = outage.seconds if outage else None
    step.table("standby", f"{_TABLE}, standby first", standby)
    step.table("preferred", "and when the return timers were over", rows)
    _count(lab, step, at)
    announced = [moment for moment in servers.values() if moment is not None]
    prepended = [len(paths(standby)[gateway]) for gateway in PRIMARY.gateways]
    others = [len(paths(standby).get(gateway, ())) for gateway in SECONDARY.gateways]
    step.check(
        f"{PRIMARY.title} comes back at standby: a path longer than {SECONDARY.title}'s, "
        "which wins nothing",
        min(prepended) > max(others) > 0 and _best(standby) in SECONDARY.gateways,
        f"{min(prepended)} ASNs against {max(others)}, best is {_best(standby)}",
    )
    step.check(
        "it is preferred only later, at its own path",
        paths(rows) == EXPECTED
        and switched is not None
        and len(announced) == len(servers)
        and switched > max(announced),
        f"{span(switched - max(announced))} later" if switched and announced else "not seen",
    )
    _check_best(step, rows, PRIMARY)
    _check_agents(lab, step, "preferred")
    _check_lost(lab, step, at, switched)


def _drain(lab: Lab, step: Step) -> None:
    at = time.monotonic()
    done = lab.primary.command("drain", "--reason", "the story's maintenance")
    longest = expected({PRIMARY.name: 6, SECONDARY.name: 2})
    what = f"{PRIMARY.title} at the longest path"
    standby = lab.wait_table(what, lambda rows: paths(rows) == longest, 20)
    lab.wait_answers(SECONDARY, ENOUGH, 20, at)
    moved = time.monotonic()
    only = expected({SECONDARY.name: 2})
    what = f"{PRIMARY.title}'s routes to go from the MSEE"
    rows = lab.wait_table(what, lambda rows: paths(rows) == only, 30)
    lab.wait(f"{PRIMARY.title} to say that it may be rebooted", lambda: _safe(lab), 20)
    _wait_over(lab, at)
    switched = lab.watches["msee"].first(at, *SECONDARY.gateways)
    gone = {node: lab.watches[node].first(moved) for node in _SERVERS}
    step.time("switched", f"the MSEE sends to {SECONDARY.title}", _after(at, switched))
    for node, moment in gone.items():
        step.time(f"withdrawn-{node}", f"route withdrawn at {node}", _after(at, moment))
    step.table("longest", f"{_TABLE}, the longest path first", standby)
    step.table("after", "and when the wait was over", rows)
    _count(lab, step, at)
    step.check("the command is accepted", done.returncode == 0, done.stderr.strip() or "it is")
    step.check(
        f"the client is at {SECONDARY.title} before the route is withdrawn",
        switched is not None and None not in gone.values(),
        f"{span(moved - at)} after the command",
    )
    _check_best(step, rows, SECONDARY)
    _check_agents(lab, step, "withdrawn")
    _check_lost(lab, step, at, switched)


def _safe(lab: Lab) -> bool:
    services = (lab.status(PRIMARY.name) or {}).get("services", {})
    return bool(services) and all(service["safe"] for service in services.values())


def _undrain(lab: Lab, step: Step) -> None:
    at = time.monotonic()
    done = lab.primary.command("undrain")
    rows = lab.wait_preferred(60)
    lab.wait_answers(PRIMARY, 2 * ENOUGH, 20)
    _wait_over(lab, at)
    switched = lab.watches["msee"].first(at, *PRIMARY.gateways)
    step.time("switched", f"the MSEE sends to {PRIMARY.title}", _after(at, switched))
    step.table("preferred", _TABLE, rows)
    _count(lab, step, at)
    step.check("the command is accepted", done.returncode == 0, done.stderr.strip() or "it is")
    _check_best(step, rows, PRIMARY)
    _check_agents(lab, step, "preferred")
    _check_lost(lab, step, at, switched)


def _check_lost(lab: Lab, step: Step, at: float, switched: float | None) -> None:
    """Note what failed but for what anycast itself costs.

    It moves packets, not connections: one that is open in that moment is reset (RFC 4786).
    """
    answers = lab.client.answers(at)
    lost = [answer for answer in answers if not answer.ok and not _open_at(answer, switched)]
    step.check(
        "no request fails, but for one that was open as the route moved", not lost, _summary(step)
    )


def _wait_over(lab: Lab, at: float) -> None:
    """Wait until every request that a fault at this moment may have met is over."""
    late = max(at, time.monotonic() - lab.client.give_up) + lab.client.give_up

    def over() -> bool:
        return any(answer.start > late for answer in lab.client.answers(at))

    lab.wait("the last requests to be over", over, 5)


def _after(at: float, moment: float | None) -> float | None:
    return None if moment is None else moment - at


def _best(rows: tuple[Row, ...]) -> str:
    return next((row.next_hop for row in rows if row.best), "none")


def _check_best(step: Step, rows: tuple[Row, ...], region: Region) -> None:
    best = _best(rows)
    step.check(
        f"the MSEE's best route is {region.title}'s", best in region.gateways, f"best is {best}"
    )


def _check_agents(lab: Lab, step: Step, level: str) -> None:
    """Note what the agents say; the primary's has to name the level that is to be seen."""
    levels = {}
    for region in (PRIMARY, SECONDARY):
        status = lab.status(region.name) or {}
        for service in status.get("services", {}).values():
            levels[region.name] = service["level"]
            step.agents[region.title] = f"{service['level']}: {service['reason']['sentence']}"
    step.check(
        f"the agents say so too: {PRIMARY.title} {level}, {SECONDARY.title} preferred",
        levels == {PRIMARY.name: level, SECONDARY.name: "preferred"},
        ", ".join(levels.get(region.name, "no answer") for region in (PRIMARY, SECONDARY)),
    )


def _count(lab: Lab, step: Step, since: float) -> None:
    answers = lab.client.answers(since)
    step.answers = who(answers)
    step.failed = dict(Counter(answer.why for answer in answers if not answer.ok))


def _summary(step: Step) -> str:
    good, bad = sum(step.answers.values()), sum(step.failed.values())
    return f"{good} good, {bad} failed"
