"""What a look finds besides rows: weights as configured, queues, entries of maps."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from anycastd.decision.verdict import Verdict, judge_service
from anycastd.evidence.finding import Finding, Truth
from anycastd.evidence.haproxy.answer import MalformedAnswerError
from anycastd.evidence.haproxy.look import look_once
from anycastd.evidence.haproxy.query import Query, build_request
from anycastd.evidence.haproxy.snapshot import Backend, Observation, Snapshot
from anycastd.evidence.haproxy.stats import parse_answer
from anycastd.evidence.sources import Evidence
from anycastd.profile.model import Profile
from anycastd.reasons import Reason
from anycastd.system.clock import OwnTime
from support.haproxy import HAProxy, Web, free_port, read_version, run_haproxy, until
from support.profiles import profile
from support.snapshots import NO, UNPROVED, YES, query, server, snapshot

TRUE, UNKNOWN, FALSE = Truth.TRUE, Truth.UNKNOWN, Truth.FALSE
HEALTHY = "healthy: {backend: web, usable: 50%}"


def watched(*changes: tuple[str, str]) -> Profile:
    """Give the test profile, without its condition on the frontend."""
    whole = "{all: [{backend: web, usable: 1}, {frontend: web}]}"
    return profile((whole, "{backend: web}"), *changes)


@dataclass(frozen=True)
class OtherRule:
    """A rule of another source, which has no instances."""

    description: str = "a command succeeds"


def test_a_rule_of_another_source_asks_haproxy_for_nothing() -> None:
    """It needs no field ``instance``, and adds nothing to the query."""
    service = replace(watched().services["web"], healthy=None)
    other = replace(service, healthy=OtherRule())  # type: ignore[arg-type]
    assert Query.from_services([other], "main") == Query.from_services([service], "main")


def seen(haproxy: HAProxy, its: Profile) -> Observation:
    """Take the look that `run` would take."""
    asked = Query.from_services(its.services.values(), "main")
    return asyncio.run(look_once(str(haproxy.socket), asked, OwnTime(), 5.0))


def verdict(haproxy: HAProxy, its: Profile) -> Verdict:
    """Judge the service by a look that is taken now."""
    found = seen(haproxy, its)
    return judge_service(its, its.services["web"], Evidence({"main": found}), found.asked_at)


@pytest.fixture
def haproxy(tmp_path: Path) -> Iterator[HAProxy]:
    """Two servers, of weight 10 and 90, and a map that the frontend uses twice."""
    webs = Web(), Web()
    path = tmp_path / "maintenance.map"
    path.write_text("other on\nlater off\n", encoding="utf-8")
    body = f"""
frontend web
    bind 127.0.0.1:{free_port()}
    http-request deny if {{ str(web),map_str({path},off) on }}
    http-request deny if {{ str(web),map_beg({path},off) never }}
    default_backend web
backend web
    server small 127.0.0.1:{webs[0].port} check inter 100ms weight 10
    server large 127.0.0.1:{webs[1].port} check inter 100ms weight 90
"""
    with run_haproxy(tmp_path, body) as found:
        until(lambda: found.status("web/large") == "UP L4OK")
        until(lambda: found.status("web/small") == "UP L4OK")
        yield found
    for web in webs:
        web.stop()


def test_a_share_by_weight_is_of_the_weights_in_haproxys_configuration(haproxy: HAProxy) -> None:
    """The large server alone is enough; with its weight taken away, what is left is not."""
    its = watched((HEALTHY, "healthy: {backend: web, usable: 50%, by: weight}"))
    found = verdict(haproxy, its)
    assert (found.healthy.truth, found.healthy.value) == (TRUE, "100 of weight 100 usable")
    assert found.healthy.needed == "50 % (50 of 100 weight)"
    haproxy.ask("disable server web/small")
    assert verdict(haproxy, its).healthy.value == "90 of weight 100 usable"
    haproxy.ask("enable server web/small;set weight web/large 30%")
    until(lambda: haproxy.status("web/small") == "UP L4OK")
    found = verdict(haproxy, its)
    # Since 3.1 a server may come back as UP before any check (`init-state fully-up`).
    is_new = read_version() >= (3, 1)
    expected = "27 of weight 100 usable, 10 not proved" if is_new else "37 of weight 100 usable"
    assert (found.healthy.truth, found.healthy.value) == (FALSE, expected)


def test_what_is_not_proved_is_an_interval_of_weights_too() -> None:
    """Proved weight, and weight that may be: in between a threshold is unknown."""
    its = watched((HEALTHY, "healthy: {backend: web, usable: 50%, by: weight}"))
    service = its.services["web"]
    for states, truth in (
        ((YES, NO), FALSE),
        ((YES, UNPROVED), UNKNOWN),
        ((NO, YES), TRUE),
        ((NO, NO), FALSE),
    ):
        a, b = (server(name, each) for name, each in zip("ab", states, strict=True))
        rows = replace(a, weight=10), replace(b, weight=90)
        weights = {"a": (10, 10), "b": (90, 90)}
        backend = Backend("web", "UP", rows, weights=weights)
        snap = Snapshot(0.0, snapshot(asked_at=0.0).worker, {"web": backend}, {})
        assert judge_service(its, service, Evidence({"main": snap}), 0.0).healthy.truth is truth, (
            states
        )


def test_an_entry_in_the_map_is_maintenance(haproxy: HAProxy) -> None:
    """Entries come and go on HAProxy's socket; `off` is as good as none."""
    path = haproxy.directory / "maintenance.map"
    changes = {
        key: verdict(
            haproxy, watched((HEALTHY, f"maintenance: {{map: {path}, key: {key}}}"))
        ).maintenance
        for key in ("web", "other", "later")
    }
    assert {key: found.truth for key, found in changes.items() if found} == {
        "web": TRUE,
        "other": FALSE,
        "later": TRUE,
    }
    its = watched((HEALTHY, f"maintenance: {{map: {path}, key: web}}"))
    haproxy.ask(f"add map {path} web since-noon")
    found = verdict(haproxy, its)
    assert found.maintenance is not None
    assert found.maintenance.reason is Reason.MAINTENANCE
    assert found.maintenance.value == "web since-noon"
    assert found.serve.truth is TRUE  # it is no failure
    haproxy.ask(f"del map {path} web")
    found = verdict(haproxy, its)
    assert found.maintenance is not None
    assert found.maintenance.truth is TRUE


def test_a_map_that_haproxy_lacks_is_unknown_and_named(haproxy: HAProxy) -> None:
    """A wrong name takes nothing out of service, and is said."""
    found = verdict(haproxy, watched((HEALTHY, "maintenance: {map: /none.map, key: web}")))
    assert found.maintenance is not None
    assert (found.maintenance.truth, found.maintenance.reason) == (UNKNOWN, Reason.MAP_MISSING)
    assert found.serve.truth is TRUE


@pytest.mark.parametrize("limit", ["sessions_below", "queue_below"])
def test_limits_see_what_haproxy_counts(tmp_path: Path, limit: str) -> None:
    """One server that takes one request at a time, and four clients: three wait, four are there."""
    web = Web(answer=None)
    body = f"""
frontend web
    bind 127.0.0.1:{free_port()}
    default_backend web
backend web
    server s1 127.0.0.1:{web.port} maxconn 1
"""
    below = {"sessions_below": 4, "queue_below": 3}[limit]
    tight = watched((HEALTHY, f"healthy: {{backend: web, {limit}: {below}}}"))
    loose = watched((HEALTHY, f"healthy: {{backend: web, {limit}: {below + 1}}}"))
    with run_haproxy(tmp_path, body) as haproxy:
        assert verdict(haproxy, tight).healthy.truth is TRUE
        clients = [socket.create_connection(("127.0.0.1", haproxy.port)) for _ in range(4)]
        for client in clients:
            client.sendall(b"GET / HTTP/1.0\r\n\r\n")
        try:
            until(lambda: verdict(haproxy, tight).healthy.truth is FALSE)
            found = verdict(haproxy, tight)
            assert found.healthy.reason is Reason.OVERLOADED
            assert verdict(haproxy, loose).healthy.truth is TRUE
            assert found.serve.truth is UNKNOWN  # its server has no check; load is no part of it
        finally:
            for client in clients:
                client.close()
    web.stop()


def test_the_question_asks_for_what_rules_need_and_no_more() -> None:
    """Without such rules a look is what it always was."""
    its = watched()
    assert Query.from_services(its.services.values(), "main") == query({"web"})
    assert build_request(query({"web"}, {"web"})).line == "show stat;show info\n"
    entries = frozenset({("/a.map", "k2"), ("/a.map", "k1")})
    also = replace(query({"web"}), weights=frozenset({"web"}), entries=entries)
    assert build_request(also).line == (
        "show stat;show servers state web;get map /a.map k1;get map /a.map k2;show info\n"
    )


def test_weights_of_many_backends_are_one_command() -> None:
    """Everything is asked for instead; HAProxy reads a line of any length (tried: 119 kB)."""
    names = frozenset(f"a-backend-of-some-length-{n}" for n in range(499))
    entries = frozenset(("/etc/haproxy/a.map", f"k{n}") for n in range(300))
    also = Query(names, weights=names, entries=entries)
    asked = build_request(also, snapshot(asked_at=0.0)).line
    assert asked.startswith("show servers state;get map /etc/haproxy/a.map k0;")
    assert len(asked) < 16_000


INFO = "Name: HAProxy\nPid: 1\nUptime_sec: 1\nVersion: 2\n\n"
ROWS = (
    "# pxname,svname,scur,qcur,econ,wretr,wredis,status,weight,bck,iid,tracked,type,"
    "check_status,last_chk,last_agt,agent_status,"
    "lastchg,chkfail,chkdown,check_duration,check_fall,addr,act,sid\n"
    "web,s1,0,0,0,0,0,UP,10,0,3,,2,L4OK,,,,,,,,,,,\nweb,BACKEND,0,0,0,0,0,UP,10,,3,,1,,,,,,,,,,,,\n\n"
)
STATE = "1\n# be_name srv_name srv_uweight srv_iweight\nweb s1 5 10\n\n"
ENTRY = 'type=str, case=sensitive, found=yes, idx=tree, key="k", value="on", type="str"\n\n'
ALSO = Query(frozenset({"web"}), weights=frozenset({"web"}), entries=frozenset({("/a.map", "k")}))


@pytest.mark.parametrize("mark", ["", "[3]: ", "[err]: "])
@pytest.mark.parametrize(
    ("weights", "entry", "refused"),
    [
        (STATE, ENTRY, ("", None)),
        ("Can't find backend.\n\n", ENTRY, ("Can't find backend.", None)),
        (STATE, "Permission denied\n\n", ("", "Permission denied")),
        ("Permission\ndenied\n\n", "No.\n\n", ("Permission denied", "No.")),
        ("2\n# be_name srv_name\nweb s1\n\n", ENTRY, ("needed field: 'srv_uweight'", None)),
        (STATE.replace("5 10", "5 x"), ENTRY, ("expected a number, got 'x'", None)),
        (STATE.replace("5 10", "5 " + "1" * 4301), ENTRY, ("expected a number", None)),
        (STATE, "a\n\nmessage with an empty line\n\n", ("", "cannot be assigned")),
        ("a\n\nmessage\n\n", ENTRY, ("cannot be assigned", "cannot be assigned")),
        ("", ENTRY, ("cannot be assigned", "cannot be assigned")),
    ],
)
def test_what_is_refused_costs_itself_only(
    mark: str, weights: str, entry: str, refused: tuple[str, str | None]
) -> None:
    """The rows are read whatever stands in the place of weights and entries."""
    weights, entry = (
        text if not text or text.startswith(("1\n", "2\n", "type=")) else mark + text
        for text in (weights, entry)
    )
    found = parse_answer(ROWS + weights + entry + INFO, 0.0, ALSO)
    web = found.backends["web"]
    assert web.counts.proved == 1
    assert web.weights == ({} if refused[0] else {"s1": (5, 10)})
    assert refused[0] in web.weights_refused
    if refused[1] is None:
        assert (found.entries, found.refused) == ({("/a.map", "k"): "on"}, {})
    else:
        assert not found.entries
        assert refused[1] in found.refused["/a.map", "k"]


@pytest.mark.parametrize("mark", ["", "[3]: ", "[err]: "])
def test_an_unknown_map_is_absent(mark: str) -> None:
    """HAProxy's own message for it is no refusal: the map does not exist."""
    text = f"{mark}Unknown map identifier. Please use #<id> or <file>.\n\n"
    found = parse_answer(ROWS + STATE + text + INFO, 0.0, ALSO)
    assert (found.entries, found.refused) == ({}, {})


@pytest.mark.parametrize("text", ["", "No such proxy.\n\n", "[3]: Permission denied\n\n", INFO])
def test_rows_that_are_refused_are_no_answer(text: str) -> None:
    """Without the rows nothing is known of any rule."""
    with pytest.raises(MalformedAnswerError, match="expected the answer to `show stat`"):
        parse_answer(text + STATE + ENTRY + INFO, 0.0, ALSO)


def test_a_line_of_a_map_is_read_in_no_time() -> None:
    """A line that HAProxy would never write costs no more than its length."""
    line = "type=str, found=yes" * 50_000 + ', value="' * 50_000 + "\n\n"
    began_at = time.thread_time()
    assert parse_answer(ROWS + STATE + line + INFO, 0.0, ALSO).entries == {("/a.map", "k"): None}
    assert time.thread_time() - began_at < 0.5


def refused(change: Callable[[Snapshot], Snapshot], healthy: str) -> list[Finding]:
    """Evaluate the service by a look that is changed so; returns its findings."""
    its = watched((HEALTHY, healthy))
    seen = change(parse_answer(ROWS + STATE + ENTRY + INFO, 0.0, ALSO))
    return list(judge_service(its, its.services["web"], Evidence({"main": seen}), 0.0).findings)


def test_rules_that_need_what_is_refused_are_unknown() -> None:
    """They name the refusal; a rule beside them, on the same backend, is true."""

    def without_weights(seen: Snapshot) -> Snapshot:
        web = replace(seen.backends["web"], weights={}, weights_refused="Permission denied")
        return replace(seen, backends={"web": web})

    serve, healthy = refused(without_weights, "healthy: {backend: web, usable: 50%, by: weight}")
    assert (serve.truth, healthy.truth) == (TRUE, UNKNOWN)
    assert healthy.reason is Reason.ANSWER_REFUSED
    assert healthy.value == "HAProxy answers: Permission denied"

    def without_entry(seen: Snapshot) -> Snapshot:
        return replace(seen, entries={}, refused={("/a.map", "k"): "Permission denied"})

    findings = refused(without_entry, f"{HEALTHY}\n    maintenance: {{map: /a.map, key: k}}")
    assert [each.truth for each in findings] == [TRUE, TRUE, UNKNOWN]
    assert findings[-1].reason is Reason.ANSWER_REFUSED
