"""Rules for limits, weights, maintenance and steering: each broken once, with its whole line."""

from __future__ import annotations

import pytest

from anycastd.profile.conditions import AllOf, FailedAction, LimitRule, LoadMetric, Maintenance
from anycastd.profile.validate import validate_profile
from support.broken_profiles import Changes, list_azure_problems
from support.profiles import TEXT, profile

HEALTHY = "healthy: {backend: web, usable: 50%}"
MAP = "maintenance: {map: /etc/haproxy/maintenance.map, key: web"
OTHER = "  other: {socket: /run/haproxy/b.sock}\n"

ERRORS: list[tuple[Changes, str]] = [
    *(
        (
            [("{frontend: web}", f"{{{kind}: web, {key}: 50}}")],
            (
                f"19: services.web.serve.all[1].{key}: would withdraw the VIP under load, in one "
                "region after the other; move it to healthy, where overload only degrades the route"
            ),
        )
        for kind, key in (
            ("frontend", "sessions_below"),
            ("backend", "sessions_below"),
            ("backend", "queue_below"),
        )
    ),
    (
        [("{backend: web, usable: 50%}", "{backend: web, usable: 50%, queue_below: 50}")],
        (
            "20: services.web.healthy.queue_below: usable and queue_below are in one "
            "condition; write all: [{backend: ..., usable: ...}, {backend: ..., queue_below: "
            "...}]"
        ),
    ),
    (
        [("{backend: web, usable: 50%}", "{frontend: web, queue_below: 50}")],
        (
            "20: services.web.healthy.queue_below: applies to a backend, not to frontend; "
            "move it to a condition on a backend, or remove it"
        ),
    ),
    (
        [("{backend: web, usable: 50%}", "{backend: web, by: weight, queue_below: 50}")],
        ("20: services.web.healthy.by: applies to usable servers, not to a limit; remove it"),
    ),
    (
        [("{backend: web, usable: 50%}", "{backend: web, queue_below: 0}")],
        (
            "20: services.web.healthy.queue_below: 0 is less than 1; "
            "write a number from 1 to 4294967295"
        ),
    ),
    (
        [("return: {hold_down: 60, spacing: 35}", "return: slowly")],
        (
            "24: services.web.return: slowly cannot be used here; "
            "write manual, or a block such as {rise: 10, hold_down: 60}"
        ),
    ),
    (
        [("degraded: {prepend: 3}", "maintenance: {map: a b, key: web}")],
        (
            "21: services.web.maintenance.map: 'a b' cannot be used here; "
            "write letters, digits and _ . / @ : + - only, as haproxy.cfg names the map"
        ),
    ),
    (
        [("hold_time: 9", "prepends_steer: false"), ("failed: withdraw", "failed: standby")],
        (
            "23: services.web.failed: standby would keep users on the 503 page, as longer "
            "paths do not move traffic (prepends_steer: false); write withdraw"
        ),
    ),
    (
        [
            ("hold_time: 9", "prepends_steer: false"),
            (HEALTHY, "healthy: {all: [{backend: web}, {backend: web, queue_below: 50}]}"),
        ],
        (
            "20: services.web.healthy.all[1].queue_below: would withdraw the VIP under load, "
            "in one region after the other, because longer paths do not move traffic "
            "(prepends_steer: false); remove it"
        ),
    ),
]


@pytest.mark.parametrize(("changes", "expected"), ERRORS, ids=[line for _, line in ERRORS])
def test_each_rule(changes: Changes, expected: str) -> None:
    """Breaking one rule gives one line: place, message, remedy."""
    assert list_azure_problems(changes) == [f"p.yaml:{expected}"]


def test_a_map_names_its_haproxy_where_there_are_several() -> None:
    """A map must name its HAProxy if there are several, as every rule must."""
    main = "  main: {socket: /run/haproxy/a.sock, ring: anycastd}\n"
    named = [
        (main, main + OTHER),
        ("usable: 1}", "usable: 1, haproxy: main}"),
        ("{frontend: web}", "{frontend: web, haproxy: other}"),
        ("usable: 50%}", "usable: 50%, haproxy: other}"),
    ]
    degraded = "degraded:"
    assert list_azure_problems([*named, (degraded, f"{MAP}}}\n    {degraded}")]) == [
        (
            "p.yaml:22: services.web.maintenance.haproxy: is missing, but there are 2 "
            "HAProxy processes; add haproxy: main or other"
        )
    ]
    assert (
        list_azure_problems([*named, (degraded, f"{MAP}, haproxy: main}}\n    {degraded}")]) == []
    )


def test_written_values_are_read() -> None:
    """Limits, weights, maintenance and both ways to write a manual return become values."""
    healthy = (
        "healthy: {all: [{backend: web, usable: 50%, by: weight}, {backend: web, queue_below: 50}, "
        "{frontend: web, sessions_below: 1800}]}"
    )
    its = profile((HEALTHY, f"{healthy}\n    {MAP}, then: withdraw}}"))
    service = its.services["web"]
    assert isinstance(service.healthy, AllOf)
    weight, queue, sessions = service.healthy.rules
    assert weight.by_weight  # type: ignore[union-attr]
    assert queue == LimitRule("main", "web", frontend=False, load=LoadMetric.QUEUE, below=50)
    assert sessions == LimitRule("main", "web", frontend=True, load=LoadMetric.SESSIONS, below=1800)
    where = "/etc/haproxy/maintenance.map"
    assert service.maintenance == Maintenance("main", where, "web", FailedAction.WITHDRAW)

    times = "{rise: 10, hold_down: 60, hold_down_max: 900, spacing: 35}"
    short = profile((f"return: {times}", "return: manual")).services["web"].return_timers
    long = profile((f"return: {times}", "return: {manual: true}")).services["web"].return_timers
    assert short == long
    assert (short.manual, short.rise, short.hold_down, short.spacing) == (True, 10, 60, 35)


def test_there_is_no_limit_by_default() -> None:
    """Load has no effect unless the operator sets a limit."""
    service = profile().services["web"]
    assert "LimitRule" not in repr(service)
    assert service.maintenance is None
    assert service.prepends_steer
    assert not service.return_timers.manual


def test_all_entries_fit_into_one_request() -> None:
    """HAProxy does not read longer requests and would then seem to hang."""
    service = (
        "  w{n}: {{vip: 198.51.100.{n}/32, serve: {{backend: web}}, failed: withdraw, "
        "maintenance: {{map: /etc/haproxy/maintenance.map, key: a-key-of-some-length-{n}}}}}\n"
    )
    text = TEXT + "".join(service.format(n=n) for n in range(1, 250))
    problems = [each for each in validate_profile(text, "p.yaml").problems if not each.warning]
    assert [each.key for each in problems] == ["services.w164.maintenance"]
    assert "need a request of over 10000 bytes to HAProxy" in problems[0].message
