"""One whole pass over everything known."""

from __future__ import annotations

from anycastd.bgp.route import Route
from anycastd.decision.drains import Drain
from anycastd.decision.last_known import LastKnown
from anycastd.decision.levels import Level
from anycastd.decision.memory import Memory
from anycastd.decision.pipeline import Inputs, VipState, advance, restart_at_withdrawn
from anycastd.evidence.sources import Evidence
from anycastd.reasons import Reason
from support.policy_driver import view
from support.profiles import profile
from support.snapshots import NO, UNPROVED, YES, snapshot

VIP = "203.0.113.10/32"
PEERS = ("192.0.2.4", "192.0.2.5")


def test_nothing_is_said_before_haproxy_was_looked_at() -> None:
    """What the lease holds is neither renewed nor withdrawn without evidence."""
    its = profile()
    step = advance(its, {}, Inputs(lease=view()), 0.0)
    assert step.wanted is None


def test_nothing_is_said_before_the_lease_was_heard() -> None:
    """There may be routes to adopt."""
    its = profile()
    step = advance(its, {}, Inputs(Evidence({"main": snapshot(YES, asked_at=0.0)})), 0.0)
    assert step.wanted is None
    assert step.decisions["web"].cap.reason is Reason.NO_SPEAKER


def test_what_is_held_is_renewed_unchanged_when_the_evidence_agrees() -> None:
    """An agent that was started again moves nothing."""
    its = profile()
    leased = tuple(Route(peer, VIP, "192.0.2.10", (65010,)) for peer in PEERS)
    inputs = Inputs(
        Evidence({"main": snapshot(YES, YES, asked_at=0.0)}), {VIP: VipState(True)}, view(*leased)
    )
    step = advance(its, {}, inputs, 0.0)
    assert step.wanted == leased
    assert step.transitions == ()


def test_a_lost_connection_to_the_lease_moves_nothing() -> None:
    """The lease process is being started again: sessions are not known, not down."""
    its = profile()
    leased = tuple(Route(peer, VIP, "192.0.2.10", (65010,)) for peer in PEERS)
    looks = {"main": snapshot(YES, YES, asked_at=0.0)}
    step = advance(its, {}, Inputs(Evidence(looks), {}, view(*leased)), 0.0)
    gone = view(*leased, connected=False)
    step = advance(its, step.memory, Inputs(Evidence(looks), {}, gone), 1.0)
    assert step.wanted == leased


def test_a_pass_wakes_itself_for_its_timers() -> None:
    """wake_at is the first moment at which time alone changes something."""
    its = profile()
    step = advance(
        its, {}, Inputs(Evidence({"main": snapshot(YES, asked_at=0.0)}), {}, view()), 0.0
    )
    assert step.wake_at == 1.0
    step = advance(
        its, step.memory, Inputs(Evidence({"main": snapshot(YES, asked_at=1.0)}), {}, view()), 1.0
    )
    assert step.decisions["web"].level is Level.STANDBY
    assert step.wake_at == 4.0  # the look is too old then, sooner than any timer ends


def test_the_same_inputs_give_the_same_step() -> None:
    """A pass has no hidden state: memory in, memory out."""
    its = profile()
    memory = {"web": Memory(adopted=True, level=Level.PREFERRED)}
    inputs = Inputs(Evidence({"main": snapshot(NO, NO, asked_at=5.0)}), {}, view())
    assert advance(its, memory, inputs, 5.0) == advance(its, memory, inputs, 5.0)


def test_each_service_adopts_its_own_routes_once() -> None:
    """The level of what is leased is asked for until it is adopted, and never again."""
    more = "serve: {frontend: web}, standby: {prepend: 6}"
    more = f"  other: {{vip: 203.0.113.11/32, prepend: 0, failed: withdraw, {more}}}"
    its = profile(("services:\n", f"services:\n{more}\n"))
    other = tuple(Route(peer, "203.0.113.11/32", "192.0.2.10", (65010,) * 7) for peer in PEERS)
    leased = (*(Route(peer, VIP, "192.0.2.10", (65010,)) for peer in PEERS), *other)
    looks = {"main": snapshot(YES, YES, asked_at=0.0)}
    step = advance(its, {}, Inputs(Evidence(looks), {}, view(*leased)), 0.0)
    assert step.decisions["web"].level is Level.PREFERRED
    assert step.decisions["other"].level is Level.STANDBY
    step = advance(its, step.memory, Inputs(Evidence(looks), {}, view(*other)), 0.1)
    assert step.decisions["web"].level is Level.PREFERRED, "what it wants, not what it reads"


def test_what_nobody_has_looked_at_is_not_unhealthy() -> None:
    """An agent that comes back right after HAProxy's reload withdraws nothing by what it lacks."""
    its = profile(("  local_as: 65010", "  prepends_steer: false\n  local_as: 65010"))
    leased = tuple(Route(peer, VIP, "192.0.2.10", (65010,) * 7) for peer in PEERS)
    step = advance(its, {}, Inputs(), 0.0)
    for second in range(60):
        looks = {"main": snapshot(UNPROVED, UNPROVED, asked_at=float(second))}
        step = advance(its, step.memory, Inputs(Evidence(looks), {}, view(*leased)), float(second))
        assert step.wanted == leased


def test_a_pass_is_due_when_the_first_of_two_drains_ends_its_wait() -> None:
    """Whatever the order in which they were asked for."""
    its = profile()
    long, short = Drain("x", "me", 1.0, 10.0, stopping=True), Drain("x", "me", 1.0, 6.0)
    leased = tuple(Route(peer, VIP, "192.0.2.10", (65010,)) for peer in PEERS)
    looks = {"main": snapshot(YES, YES, asked_at=6.0)}
    for table in ({"*stop": long, "*": short}, {"*": short, "*stop": long}):
        inputs = Inputs(Evidence(looks), {}, view(*leased), drains=table)
        assert advance(its, {}, inputs, 6.0).wake_at == 7.0


def test_what_ran_out_begins_anew_at_standby() -> None:
    """What is known of health stays; that everything was withdrawn is a change like any other."""
    its = profile()
    memory = {"web": Memory(adopted=True, level=Level.PREFERRED, serve=LastKnown(True, 0.0))}
    assert not restart_at_withdrawn({"web": Memory(adopted=True)}, 100.0)
    anew = restart_at_withdrawn(memory, 100.0)
    looks = {"main": snapshot(YES, YES, asked_at=100.0)}
    step = advance(its, anew, Inputs(Evidence(looks), {}, view()), 100.0)
    assert step.decisions["web"].level is Level.STANDBY
    assert anew["web"].changed_at == 100.0
