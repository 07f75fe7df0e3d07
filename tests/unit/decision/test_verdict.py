"""Evidence and the rules of a service -> Verdict."""

from __future__ import annotations

from dataclasses import replace

import pytest

from anycastd.decision.verdict import Verdict, judge_service
from anycastd.evidence.finding import RuleRef, Truth
from anycastd.evidence.haproxy.conditions import (
    count_needed_servers,
    describe_condition,
    evaluate_rule,
)
from anycastd.evidence.haproxy.query import Query
from anycastd.evidence.haproxy.servers import Usable
from anycastd.evidence.haproxy.snapshot import Backend, Gone, Observation, Unreadable
from anycastd.evidence.sources import Evidence
from anycastd.profile.conditions import BackendRule, Threshold
from anycastd.reasons import Reason
from support.profiles import profile
from support.snapshots import NO, UNPROVED, YES, query, server, snapshot

TRUE, UNKNOWN, FALSE = Truth.TRUE, Truth.UNKNOWN, Truth.FALSE


def verdict(look: Observation | None, now: float = 0.0) -> Verdict:
    """Judge the test profile's service by one look."""
    its = profile()
    looks = {} if look is None else {"main": look}
    return judge_service(its, its.services["web"], Evidence(looks), now)


@pytest.mark.parametrize(
    ("servers", "serve", "healthy"),
    [
        ((YES, YES), TRUE, TRUE),
        ((YES, NO), TRUE, TRUE),
        ((NO, NO), FALSE, FALSE),
        ((YES, NO, NO), TRUE, FALSE),
        ((UNPROVED, UNPROVED), UNKNOWN, UNKNOWN),
        ((UNPROVED, NO), UNKNOWN, UNKNOWN),
        ((YES, UNPROVED, NO), TRUE, UNKNOWN),
        ((YES, UNPROVED, NO, NO, NO), TRUE, FALSE),
        ((), FALSE, FALSE),
    ],
)
def test_usable_servers_are_an_interval(
    servers: tuple[Usable, ...], serve: Truth, healthy: Truth
) -> None:
    """A threshold above the interval is false, below it true, inside it unknown."""
    found = verdict(snapshot(*servers, asked_at=0.0))
    assert (found.serve.truth, found.healthy.truth) == (serve, healthy)


def test_unproved_believes_haproxy_after_a_bounded_time() -> None:
    """Servers whose checks have not run hold the last verdict 60 s; then HAProxy's word counts."""
    found = verdict(snapshot(UNPROVED, UNPROVED, asked_at=0.0))
    assert found.serve.reason is Reason.UNPROVED
    assert (found.believe_for, found.serve.believe_then) == ((60.0, 600.0, 0.0), TRUE)


def test_a_closed_frontend_does_not_serve() -> None:
    """All of the rules have to hold, and the one that does not is named."""
    found = verdict(snapshot(YES, YES, asked_at=0.0, frontend="STOP"))
    assert found.serve.truth is FALSE
    assert found.serve.reason is Reason.FRONTEND_CLOSED
    assert found.alive


def test_a_backend_that_haproxy_lacks_is_named() -> None:
    """A wrong name has a reason of its own, since its remedy is another one."""
    found = verdict(snapshot(YES, asked_at=0.0, backend="other"))
    assert found.serve.truth is FALSE
    assert found.serve.reason is Reason.BACKEND_MISSING


def test_gone_is_false_at_once_and_not_alive() -> None:
    """Without a process behind the socket one look is enough."""
    found = verdict(Gone(asked_at=0.0, detail="refused"))
    assert found.serve.truth is FALSE
    assert found.serve.reason is Reason.HAPROXY_GONE
    assert not found.alive


@pytest.mark.parametrize(
    ("missed", "now", "truth"),
    [(1, 1.0, UNKNOWN), (2, 2.9, UNKNOWN), (1, 10.0, UNKNOWN), (2, 3.0, FALSE)],
)
def test_silence_is_false_after_two_looks_and_the_deadline(
    missed: int, now: float, truth: Truth
) -> None:
    """Silent is 'cannot see'; hung needs the deadline (3 s) and a second look without an answer."""
    look = Unreadable(asked_at=now, began_at=0.0, missed=missed, detail="no answer")
    assert verdict(look, now).serve.truth is truth


def test_old_evidence_proves_nothing() -> None:
    """A look as old as the deadline is no proof, however good it was."""
    look = snapshot(YES, YES, asked_at=0.0)
    assert verdict(look, 2.9).serve.truth is TRUE
    stale = verdict(look, 3.0)  # a pass at `changes_at` must see it
    assert stale.serve.truth is FALSE
    assert stale.serve.reason is Reason.EVIDENCE_STALE
    assert verdict(look, 1.0).changes_at == 3.0


def test_no_look_yet_is_unknown() -> None:
    """Before the first look nothing is known, and nothing is claimed."""
    assert verdict(None).serve.truth is UNKNOWN


@pytest.mark.parametrize(
    ("threshold", "total", "needed"),
    [
        (Threshold(number=2), 5, 2),
        (Threshold(share=50), 4, 2),
        (Threshold(share=50), 5, 3),
        (Threshold(share=1), 4, 1),
        (Threshold(share=100), 3, 3),
        (Threshold(share=50), 0, 1),
    ],
)
def test_a_share_is_rounded_up(threshold: Threshold, total: int, needed: int) -> None:
    """Half of five servers are three; a share of nothing is never reached."""
    assert count_needed_servers(threshold, total) == needed


def test_unchecked_servers_count_only_where_the_profile_says_so() -> None:
    """A server without `check` is never proved; `count_unchecked` takes HAProxy's word for it."""
    row = server("s1", UNPROVED, checked=False)
    backend = Backend(name="web", status="UP", servers=(row,))
    look = replace(snapshot(asked_at=1.0), backends={"web": backend})
    found = []
    for count in (False, True):
        rule = BackendRule("main", "web", Threshold(number=1), count_unchecked=count)
        found.append(
            evaluate_rule(
                RuleRef("web", ("serve",), "main", ""), rule, profile().haproxy["main"], look, 1.0
            ).truth
        )
    assert found == [UNKNOWN, TRUE]


def test_any_is_true_by_its_best_rule() -> None:
    """`any` is the maximum: one rule that holds is enough, an unknown one beats a false one."""
    its = profile(
        (
            "serve: {all: [{backend: web, usable: 1}, {frontend: web}]}",
            "serve: {any: [{backend: web, usable: 2}, {backend: spare, usable: 1}]}",
        )
    )
    service = its.services["web"]
    look = snapshot(YES, YES, asked_at=0.0)
    assert judge_service(its, service, Evidence({"main": look}), 0.0).serve.truth is TRUE
    look = snapshot(YES, NO, asked_at=0.0)
    assert judge_service(its, service, Evidence({"main": look}), 0.0).serve.truth is FALSE
    look = snapshot(YES, UNPROVED, asked_at=0.0)
    assert judge_service(its, service, Evidence({"main": look}), 0.0).serve.truth is UNKNOWN
    assert Query.from_services([service], "main") == query({"web", "spare"})
    assert service.serve is not None
    assert describe_condition(service.serve) == (
        "any of (backend web has at least 2 usable; backend spare has at least 1 usable)"
    )


@pytest.mark.parametrize(("kind", "then"), [("all", FALSE), ("any", TRUE)])
def test_unknown_in_two_ways_ends_as_the_worse_or_the_better(kind: str, then: Truth) -> None:
    """In the end a silent HAProxy counts as false, and servers without a check result as true."""
    servers, silent = "{haproxy: main, backend: web, usable: 1}", "{haproxy: two, frontend: web}"
    its = profile(
        ("haproxy:\n", "haproxy:\n  two: {socket: /run/haproxy/two.sock}\n"),
        (
            "{all: [{backend: web, usable: 1}, {frontend: web}]}",
            f"{{{kind}: [{servers}, {silent}]}}",
        ),
        ("healthy: {", "healthy: {haproxy: main, "),
    )
    looks: dict[str, Observation] = {
        "main": snapshot(UNPROVED, asked_at=0.0),
        "two": Unreadable(0.0, 0.0, 1, "no answer"),
    }
    found = judge_service(its, its.services["web"], Evidence(looks), 0.0).serve
    assert (found.truth, found.believe_then, found.reason) == (UNKNOWN, then, Reason.UNPROVED)


def test_a_finding_names_its_rule_by_its_place_in_the_profile() -> None:
    """A rule that stands in both conditions is evaluated once, and its finding has both places."""
    both = "{all: [{backend: web, usable: 1}, {frontend: web}]}"
    its = profile(
        ("healthy: {backend: web, usable: 50%}", f"healthy: {{any: [{both}, {{backend: spare}}]}}"),
        ("    serve:", "    self_test: {tcp: 80}\n    serve:"),
    )
    look = Evidence({"main": snapshot(YES, YES, asked_at=0.0)})
    found = judge_service(its, its.services["web"], look, 0.0)
    assert [finding.rule.paths for finding in found.findings] == [
        ("serve.all[0]", "healthy.any[0].all[0]"),
        ("serve.all[1]", "healthy.any[0].all[1]"),
        ("self_test.listens",),
        ("healthy.any[1]",),
        ("self_test.answers",),
    ]
    assert {finding.rule.service for finding in found.findings} == {"web"}
    assert found.findings[0].rule.conditions == ("serve", "healthy")


def test_backends_of_one_name_in_two_haproxies_are_two_rules() -> None:
    """The instance tells their findings apart."""
    rules = ", ".join(f"{{haproxy: {name}, backend: web, usable: 1}}" for name in ("main", "two"))
    its = profile(
        ("haproxy:\n", "haproxy:\n  two: {socket: /run/haproxy/two.sock}\n"),
        ("{all: [{backend: web, usable: 1}, {frontend: web}]}", f"{{all: [{rules}]}}"),
        ("healthy: {", "healthy: {haproxy: main, "),
    )
    looks = {"main": snapshot(YES, asked_at=0.0), "two": snapshot(NO, asked_at=0.0)}
    found = judge_service(its, its.services["web"], Evidence(looks), 0.0)
    assert [(each.rule.instance, each.truth) for each in found.findings[:2]] == [
        ("main", TRUE),
        ("two", FALSE),
    ]
