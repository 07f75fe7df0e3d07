"""The surfaces of what an agent keeps of its profile, and of the next hops that checks choose."""

from __future__ import annotations

import contextlib
import hashlib
import json
import time

from anycastd.agent.accepted_file import compute_key, open_sealed, seal_accepted
from anycastd.bgp.route import Route
from anycastd.bgp.session import Session
from anycastd.decision.levels import Level
from anycastd.decision.memory import Memory, load_memory
from anycastd.decision.pipeline import Inputs, LeaseView, advance
from anycastd.evidence.checks.command_check import describe_end
from anycastd.evidence.checks.observation import CheckObservation, CheckResult, add_result
from anycastd.evidence.finding import Truth
from anycastd.evidence.sources import Evidence
from anycastd.lease.messages import MessageError, NeighborReport, Report
from anycastd.profile.acceptance import accept_profile, describe_accepted
from anycastd.profile.accepted import load_accepted
from anycastd.profile.validate import validate_profile
from fuzz.engine import Surface
from support.profiles import TEXT
from support.watcher_world import VIP, watcher_profile

# What the check of a profile accepted -------------------------------------------------------------

_KEY = compute_key("/etc/anycastd/profile.yaml", TEXT)
_LATER = time.time_ns() + 3_600_000_000_000


def _accept() -> str:
    """Return what a check accepts of a sound profile."""
    validation = validate_profile(TEXT, "profile.yaml")
    assert validation.profile is not None
    accepted = accept_profile(TEXT, validation.profile, validation)
    return describe_accepted(TEXT, accepted, validation)


_ACCEPTED = _accept()
_SEALED = seal_accepted(_ACCEPTED, _KEY, _LATER)
_HEADER = _SEALED.split("\n")[1]


def _feed_accepted(data: bytes) -> None:
    """Open a file as it is, then as if its writer had made the digest fit; build the profile."""
    text = data.decode(errors="replace")
    opened = open_sealed(text, _KEY, _LATER)
    assert opened in ("", _ACCEPTED), "a damaged file was used"
    rest = text.partition("\n")[2]
    digest = hashlib.sha256(rest.encode(errors="replace")).hexdigest()
    for body in (open_sealed(f"{digest}\n{rest}", _KEY, _LATER), text.rpartition("\n")[2]):
        with contextlib.suppress(ValueError):
            load_accepted(body)


# Next hops that checks choose ---------------------------------------------------------------------

_PROFILE = watcher_profile()
_HOPS = tuple(str(each.address) for each in _PROFILE.services["voip"].next_hops)
_MEDS = (50, 100, 200)
_NAMES = tuple(_PROFILE.checks)
_PEERS = {str(each.address): NeighborReport(Session.UP, 100.0) for each in _PROFILE.bgp.neighbors}
_PASSED = {0: None, 1: False, 2: True, 3: True}
_MAX_EVENTS = 40


def _feed_observations(data: bytes) -> None:
    """Choose next hops by what checks say, from memory and leased routes that are anything.

    The first line is a memory, the second the lease's report; each line after them is an event: the
    check, its result and the time that passes (a byte each), then what the check says.
    """
    kept, report, *events = (data + b"\n").split(b"\n")
    memory, leased = _read_memory(kept), _read_leased(report)
    seen: dict[str, CheckObservation] = {}
    now = 1000.0
    before: tuple[Level, str | None] = (Level.WITHDRAWN, None)
    for event in events[:_MAX_EVENTS]:
        which, what, after, said = *event[:3].ljust(3, b"\0"), event[3:]
        now += after / 16
        name = _NAMES[which % len(_NAMES)]
        step = what % 3 if name == "load" else None
        detail = describe_end(what % 4, said)
        result = CheckResult(now, _PASSED[what % 4], detail, bool(what & 4), step)
        seen[name] = add_result(_PROFILE.checks[name], seen.get(name), result)
        lease = LeaseView(True, Report("i", 1, 1, 5.0, _PEERS), leased)
        frozen = now if what & 8 else None
        inputs = Inputs(Evidence(checks=dict(seen)), lease=lease, frozen_until=frozen)
        passed = advance(_PROFILE, memory, inputs, now)
        memory = dict(passed.memory)
        decision = passed.decisions["voip"]
        choice = decision.hop_choice
        assert choice is not None
        assert decision.cap.detail.isprintable(), f"for operators: {decision.cap.detail!r}"
        for each in passed.wanted or ():
            assert each.next_hop in _HOPS, f"announced: {each}"
            assert each.med in _MEDS, f"announced: {each}"
        truths = [each.verdict.serve.truth for each in choice.candidates]
        chosen = truths[choice.index]
        if chosen is Truth.FALSE:
            assert decision.level is Level.WITHDRAWN, "announced with a next hop that fails"
            assert Truth.TRUE not in truths, "another next hop serves"
        if Level.WITHDRAWN not in (before[0], decision.level) and before[1] != decision.next_hop:
            assert chosen is Truth.TRUE, "moved to a next hop that is not known to serve"
        before = (decision.level, decision.next_hop)


def _read_memory(data: bytes) -> dict[str, Memory]:
    with contextlib.suppress(ValueError, TypeError, AttributeError, KeyError, RecursionError):
        document = json.loads(data)
        if isinstance(document, dict):
            with contextlib.suppress(OverflowError):
                return {"voip": load_memory(document, 990.0)}
    return {}


def _read_leased(data: bytes) -> tuple[Route, ...]:
    with contextlib.suppress(MessageError):
        return Report.load(data).leased or ()
    return ()


_MEMORY = (
    b'{"failures": 2, "failed": 9.5, "changed": 3.0, "returned": null, "announced": true, '
    b'"next_hop": "192.0.2.22", "next_hops": {"192.0.2.21": {"failures": 1, "failed": 4.0, '
    b'"returned": null}}, "med_changed": 2.0}'
)


def _report_leased(next_hop: str) -> bytes:
    routes = tuple(Route(peer, VIP, next_hop, (65010,), 100) for peer in _PEERS)
    levels = {"preferred": (VIP,)}
    report = Report("i", 1, 1, 5.0, _PEERS, routes, levels=levels)
    return report.dump().strip()


_EVENTS = b"\n".join(
    bytes((number % 4, 2 + number // 8 * 5 % 4, 8)) + b"lag 3 s" for number in range(24)
)

KEPT_SURFACES = (
    Surface(
        "kept-profile",
        "a damaged disk, or a program of the agent's user",
        (_SEALED.encode(), f"\n{_HEADER}\n{_ACCEPTED}".encode(), _ACCEPTED.encode()),
        (
            b'{"": ["prefix", "203.0.113.10/32"]}',
            b'{"": [',
            b'"tree": ',
            b'"lines": [[["services"], 1]]',
            b'"warnings": ',
            b'"code": {"/dev/zero": [1, 2, 3, 4]}',
            b"\n",
            *(f'{{"": ["{name}", "x"]}}'.encode() for name in ("address", "duration", "target")),
        ),
        _feed_accepted,
        200e-6,
    ),
    Surface(
        "next-hop-choice",
        "what checks ask; a damaged memory; another agent's routes",
        (
            b"\n".join((_MEMORY, _report_leased("192.0.2.21"), _EVENTS)),
            b"\n".join((b"{}", _report_leased("192.0.2.99"), _EVENTS)),
            b"\n\n" + _EVENTS,
        ),
        (
            b"\n\x00\x02\x10",
            b"\n\x01\x01\xff\x1b]0;",
            b"\n\x03\x01\x40",
            b'"next_hops": {"::1": {"failures": 99}}',
            b'"next_hop": "192.0.2.23"',
            b'"next_hop": "fe80::1%x y"',
        ),
        _feed_observations,
        200e-6,
    ),
)
"""Surfaces of what is kept and chosen, last in the table in docs/security.md."""
