"""Statuses and events for the page: one at three in the morning, a large one, a hostile one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from anycastd.decision.region_report import RegionReport, VipReport
from anycastd.reasons import Reason
from anycastd.views.events import Event, EventKind
from anycastd.views.reason_view import TimedReasonView
from anycastd.views.status_values import (
    Announcement,
    HaproxyStatus,
    LeaseStatus,
    NeighborStatus,
    RuleStatus,
    ServerStatus,
    ServiceStatus,
    Status,
)

NOW = 1796007680.0
"""2026-11-30 03:01:20 UTC."""
NEIGHBORS = ("10.0.1.4", "10.0.1.5")


def reason(name: Reason, detail: str = "", until: float | None = None) -> TimedReasonView:
    """Build the view of a reason."""
    return TimedReasonView(name.name.lower(), name.sentence, name.remedy, detail, until)


def rule(text: str, *, truth: str, value: str, needed: str, servers: int = 2) -> RuleStatus:
    """Build a rule with servers that are as it is."""
    usable = "yes" if truth == "true" else "no"
    status, check = ("UP", "L7OK") if truth == "true" else ("DOWN", "L4CON")
    why = "" if truth == "true" else "it is down"
    rows = (ServerStatus(f"web{n}", usable, why, status, check) for n in range(1, servers + 1))
    return RuleStatus(text, truth, value, tuple(rows), needed)


def service(
    level: str, why: TimedReasonView, *rules: RuleStatus, vip: str, since: float, **more: Any
) -> ServiceStatus:
    """Build a service that both neighbors have, or none."""
    path = {"preferred": (65010,), "standby": (65010,) * 7, "degraded": (65010,) * 4}.get(level)
    one = Announcement(path, path, "agrees", "up", in_sync=True)
    values: dict[str, Any] = {
        "vip": vip,
        "level": level,
        "reason": why,
        "since": since,
        "as_path": path,
        "prepend": None if path is None else len(path) - 1,
        "in_sync": True,
        "waits": (),
        "rules": rules,
        "neighbors": dict.fromkeys(NEIGHBORS, one),
        "serves": path is not None,
        "sessions": 12,
        "drains": (),
        "safe": False,
        **more,
    }
    return ServiceStatus(**values)


GOOD = rule("backend web has at least 1 usable server", truth="true", value="2 of 2", needed="1")
BAD = rule("backend web has at least 1 usable server", truth="false", value="0 of 2", needed="1")


def build(services: dict[str, ServiceStatus], *problems: str, **neighbors: Any) -> dict[str, Any]:
    """Build a status of services, as JSON."""
    up = NeighborStatus(65515, "up", 3.5e6, "", tuple(each.vip for each in services.values()))
    return Status(
        v=1,
        version="0.1.0",
        region="northeurope",
        pid=234,
        services=services,
        neighbors={**dict.fromkeys(NEIGHBORS, up), **neighbors},
        haproxy={
            "main": HaproxyStatus(
                "/run/haproxy/anycastd.sock",
                "answers",
                "",
                0.2,
                "2.6.12-1+deb12u2",
                99,
                1.1e6,
                events=True,
            )
        },
        lease=LeaseStatus(True, 4.2, serial=7, acked=7, repairs=0, exabgp="5.0.15"),
        problems=problems,
    ).to_json()


def all_well() -> dict[str, Any]:
    """Two services, both preferred."""
    good = reason(Reason.SERVING)
    return build(
        {
            "web": service("preferred", good, GOOD, vip="203.0.113.10/32", since=86400 * 41),
            "api": service("preferred", good, GOOD, vip="203.0.113.11/32", since=3600 * 5),
        }
    )


def at_three() -> dict[str, Any]:
    """One service has no server, one waits, one is well; one neighbor is down."""
    down = "closed from here: hold timer expired (4/0)"
    waits = (reason(Reason.HOLD_DOWN, "it failed once", 52.0), reason(Reason.SPACING, "", 27.0))
    web = service(
        "withdrawn",
        reason(Reason.TOO_FEW_SERVERS, "backend web has 0 of 2 usable"),
        BAD,
        vip="203.0.113.10/32",
        since=186.0,
    )
    api = service("standby", waits[0], GOOD, vip="203.0.113.11/32", since=8.0, waits=waits)
    mail = service("preferred", reason(Reason.SERVING), GOOD, vip="203.0.113.12/32", since=3.5e6)
    old = service("preferred", reason(Reason.SERVING), GOOD, vip="2001:db8::10/128", since=7.2e6)
    lost = Announcement((65010,), None, "unread", "down", in_sync=False)
    mail = replace(mail, neighbors={**mail.neighbors, "10.0.1.5": lost}, in_sync=False)
    api = replace(api, neighbors={**api.neighbors, "10.0.1.5": lost}, in_sync=False)
    return build(
        {"mail": mail, "web": web, "api": api, "old": old},
        f"neighbor 10.0.1.5: the session is down ({down})",
        "haproxy main: polled, not event-driven: its ring `anycastd` is missing",
        **{"10.0.1.5": NeighborStatus(65515, "down", 41.0, down, ())},
    )  # fmt: skip


def history(now: float = NOW) -> list[Event]:
    """What led to ``at_three``."""

    def moved(ago: float, name: str, old: str, new: str, why: Reason, text: str) -> Event:
        fields = {"from": old, "to": new}
        told = f"{name}: {old} -> {new}: {text}"
        kind = EventKind.TRANSITION
        return Event(now - ago, kind, told, name, reason=why.name.lower(), fields=fields)

    return [
        moved(3300, "web", "standby", "preferred", Reason.SERVING, "every rule is true"),
        Event(now - 2400, EventKind.DRAIN_BEGAN, "api: drained by alice: CHG-1234, kernel", "api"),
        moved(2400, "api", "preferred", "standby", Reason.DRAINING, "it is drained"),
        moved(2360, "api", "standby", "withdrawn", Reason.DRAINED, "it is drained"),
        Event(now - 1500, EventKind.DRAIN_ENDED, "api: alice ended the drain", "api"),
        moved(1499, "api", "withdrawn", "preferred", Reason.SERVING, "every rule is true"),
        moved(190, "api", "preferred", "withdrawn", Reason.TOO_FEW_SERVERS, "0 of 2 usable"),
        moved(186, "web", "preferred", "withdrawn", Reason.TOO_FEW_SERVERS, "0 of 2 usable"),
        Event(
            now - 41,
            EventKind.SESSION_LOST,
            "neighbor 10.0.1.5 AS 65515: down after 40 d: hold timer expired (4/0)",
            neighbor="10.0.1.5",
        ),
        moved(8, "api", "withdrawn", "standby", Reason.HOLD_DOWN, "it failed once"),
    ]


def region_reports(now: float = NOW) -> dict[str, RegionReport]:
    """One region that serves, and one that does not answer."""
    vips = {f"203.0.113.{n}/32": VipReport(serves=n != 12, draining=False) for n in (10, 11, 12)}
    return {
        "westeurope": RegionReport(now - 1.2, vips),
        "uksouth": RegionReport(now - 1.2, detail="does not answer at 10.2.2.10:9480"),
    }


HOSTILE = (
    '<script>document.title="broken"</script>',
    '"><img src=x onerror=alert(1)>',
    "'></details></main><h1 id=broken>",
    "\x1b[2J\u202ereversed & <!-- ]]> &amp;",
    "x" * 5000,
)
"""Names that somebody chose to break a page."""


def hostile() -> tuple[dict[str, Any], list[Event], dict[str, RegionReport]]:
    """Hostile texts in every place where a foreign text may stand."""
    services, problems, events = {}, [], []
    for number, text in enumerate(HOSTILE):
        bad = RuleStatus(text, "false", text, (ServerStatus(text, "no", text, text, text),), text)
        why = TimedReasonView("hold_down", text, text, text, 5.0)
        services[text] = service("withdrawn", why, bad, vip=text, since=1.0, waits=(why,))
        problems.append(text)
        fields: dict[str, Any] = {"from": text, "to": text}
        for kind in EventKind:
            at = NOW - number
            events.append(Event(at, kind, text, text, text, text, text, fields))
    neighbors = {text: NeighborStatus(1, "down", 1.0, text, (text,)) for text in HOSTILE}
    status = build(services, *problems, **neighbors)
    status["region"] = status["version"] = status["lease"]["exabgp"] = HOSTILE[0]
    status["haproxy"] = {
        text: {**status["haproxy"]["main"], "state": text, "why": text} for text in HOSTILE
    }
    reports = {text: RegionReport(NOW, detail=text) for text in HOSTILE}
    return status, sorted(events, key=lambda event: event.at), reports


def large(number: int = 1000) -> tuple[dict[str, Any], list[Event]]:
    """Many services with many servers each, all of them not as wanted, and many events."""
    bad = rule("backend " + "b" * 60, truth="false", value="0 of 90", needed="45", servers=90)
    why = reason(Reason.TOO_FEW_SERVERS, "d" * 200)
    one = service("withdrawn", why, *(bad,) * 20, vip="10.0.0.1/32", since=5.0)
    problems = [f"problem {n} {'p' * 300}" for n in range(number)]
    fields = {"from": "preferred", "to": "withdrawn"}
    events = [
        Event(NOW - n, EventKind.TRANSITION, "t" * 900, name, fields=fields)
        for n in range(1000, 0, -1)
        for name in (f"service-{n % number}-{'n' * 40}",)
    ]
    neighbors = {f"10.9.0.{n}": NeighborStatus(1, "down", 1.0, "w" * 300, ()) for n in range(200)}
    status = build({"one": one}, *problems, **neighbors)
    same = status["services"].pop("one")
    for n in range(number):
        vip = f"10.0.{n // 250}.{n % 250}/32"
        status["services"][f"service-{n}-{'n' * 40}"] = {**same, "vip": vip, "since": n}
    return status, events
