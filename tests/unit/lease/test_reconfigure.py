"""Reconfiguration of a running speaker: steps, answer, and text of the files."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from anycastd.bgp.session import Session
from anycastd.lease.commands import (
    Announce,
    ConfigLoaded,
    QueryAdjRibOut,
    QuerySessions,
    SessionChanged,
)
from anycastd.lease.effects import Effect, ReloadConfig, SendReport, WriteConfig
from anycastd.lease.messages import Reload
from anycastd.lease.reconfigure import (
    READ_TIMEOUT,
    UP_TIMEOUT,
    RewriteError,
    WriteResult,
    dump_problem,
)
from anycastd.profile.model import Profile
from anycastd.speaker.directory import lease_command
from anycastd.speaker.exabgp import config as config_module
from support.lease_rig import PEERS, VIPS, LeaseRig, reports_in, route, want
from support.profiles import profile

THIRD = "192.0.2.6"
BOTH = ("192.0.2.4", "192.0.2.5")


class ReloadableRig(LeaseRig):
    """A rig whose speaker can take over other sessions; it runs the configuration ``old``."""

    def __init__(self) -> None:
        super().__init__()
        self.lease = type(self.lease)(
            replace(self.lease.settings, can_reload=True, config="old", ttl_max=300.0), self.now
        )
        self.lease.on_connected(1, self.now)
        self.carry_out(self.lease.start(self.now))
        self.send(1, want(1, route(), route(neighbor=PEERS[1]), ttl=300.0))
        self.effects.clear()

    def ask(self) -> list[Effect]:
        """Have an agent ask for the sessions of the profile."""
        return self.send(1, Reload().dump())

    def written(
        self,
        config: str = "new",
        *,
        file_changed: bool = True,
        changed: tuple[str, ...] = (),
        deferred: tuple[str, ...] = (),
        neighbors: tuple[str, ...] = PEERS,
    ) -> list[Effect]:
        """Have the files written."""
        settings = replace(self.lease.settings, neighbors=neighbors, prefixes=frozenset(VIPS))
        step = WriteResult(config, file_changed, changed, deferred)
        return self.carry_out(self.lease.on_written(step, settings, self.now))

    def loaded(self, config: str = "new", error: str | None = None) -> list[Effect]:
        """Have ExaBGP say what it runs."""
        return self.carry_out(self.lease.on_fact(ConfigLoaded(config, error), self.now))

    def session(self, neighbor: str, session: Session) -> list[Effect]:
        """Have a session change."""
        if session is Session.UP:
            self.exabgp.up.add(neighbor)
        else:
            self.exabgp.up.discard(neighbor)
        return self.carry_out(self.lease.on_fact(SessionChanged(neighbor, session), self.now))


def steps(effects: list[Effect]) -> list[Effect]:
    """Pick what the files and ExaBGP's configuration are told."""
    return [effect for effect in effects if isinstance(effect, WriteConfig | ReloadConfig)]


def word(rig: LeaseRig) -> str:
    """What the newest report says of the change."""
    return reports_in(rig.effects)[-1].reload


def test_a_speaker_that_cannot_says_so() -> None:
    """One whose shim or files are older: nothing happens, and the words say what to do."""
    rig = LeaseRig()
    done = rig.send(1, Reload().dump())
    assert not steps(done)
    assert reports_in(done)[-1].reload == ""
    assert "restart it" in reports_in(done)[-1].problems[0]


def test_what_disturbs_nobody_is_done_in_one_step() -> None:
    """Written, read, said to whom is new; then the lease runs the new configuration."""
    rig = ReloadableRig()
    assert steps(rig.ask()) == [WriteConfig()]
    assert word(rig) == "busy"
    assert steps(rig.written(changed=(THIRD,), neighbors=(*PEERS, THIRD))) == [ReloadConfig()]
    rig.exabgp.received.clear()
    rig.loaded()
    assert rig.exabgp.received == [QuerySessions()], "nobody wants a route for it yet"
    third = route(neighbor=THIRD)
    rig.send(1, want(2, route(), route(neighbor=PEERS[1]), third, ttl=300.0))
    assert rig.exabgp.received[1:] == [Announce(third)]
    rig.advance(0.1)
    assert word(rig) == "ready"
    assert reports_in(rig.effects)[-1].config == "new"


def test_what_waited_for_a_neighbor_is_said_as_soon_as_exabgp_knows_it() -> None:
    """The agent wants it before; it is left out and named until then."""
    rig = ReloadableRig()
    third = route(neighbor=THIRD)
    done = rig.send(1, want(2, route(), third, ttl=300.0))
    assert reports_in(done)[-1].problems == (f"{THIRD} is not a neighbor of the speaker",)
    rig.ask()
    rig.written(changed=(THIRD,), neighbors=(*PEERS, THIRD))
    assert third.key not in rig.exabgp.rib
    done = rig.loaded()
    assert rig.exabgp.rib[third.key] == third
    assert reports_in(done)[-1].problems == ()


def test_other_vips_need_no_reading() -> None:
    """ExaBGP's own file is the same: nothing is asked of it."""
    rig = ReloadableRig()
    rig.ask()
    settings = replace(rig.lease.settings, prefixes=frozenset({VIPS[0], "203.0.113.99/32"}))
    done = rig.carry_out(
        rig.lease.on_written(WriteResult("old", file_changed=False), settings, rig.now)
    )
    assert not steps(done)
    assert word(rig) == "ready"
    rig.send(1, want(2, route("203.0.113.99/32"), ttl=300.0))
    assert set(rig.exabgp.rib) == {(PEERS[0], "203.0.113.99/32")}


def test_what_was_written_and_never_read_is_read() -> None:
    """The lease process before us ended in between: the file is right, ExaBGP runs another."""
    rig = ReloadableRig()
    rig.ask()
    assert steps(rig.written(file_changed=False)) == [ReloadConfig()]


def test_sessions_close_one_at_a_time() -> None:
    """The second one when the first is up again, not when it is merely not down yet."""
    rig = ReloadableRig()
    rig.ask()
    assert steps(rig.written(file_changed=False, config="old", deferred=BOTH)) == [
        WriteConfig(BOTH[:1])
    ]
    assert steps(rig.written("new-1", changed=BOTH[:1], deferred=BOTH[1:])) == [ReloadConfig()]
    assert not steps(rig.loaded("new-1"))
    assert not steps(rig.advance(1.0)), "its old session is still up"
    rig.session(BOTH[0], Session.DOWN)
    assert not steps(rig.advance(5.0))
    rig.exabgp.received.clear()
    rig.session(BOTH[0], Session.UP)
    assert Announce(route()) in rig.exabgp.received, "it is told everything again"
    assert steps(rig.advance(0.1)) == [WriteConfig(BOTH[1:])]
    assert steps(rig.written("new", changed=BOTH[1:])) == [ReloadConfig()]
    rig.loaded("new")
    rig.advance(0.1)
    assert word(rig) == "ready"


def test_who_gets_another_session_is_told_everything_again() -> None:
    """ExaBGP takes a neighbor with another AS number for one that it has never seen."""
    rig = ReloadableRig()
    rig.ask()
    rig.written(changed=BOTH[:1])
    rig.exabgp.received.clear()
    rig.exabgp.rib.clear()
    rig.loaded()
    assert rig.exabgp.received == [Announce(route()), QuerySessions()]


def test_a_session_that_is_down_anyway_goes_first() -> None:
    """And where it does not come up, the one that is up is kept as it is, with words."""
    rig = ReloadableRig()
    rig.session(BOTH[1], Session.DOWN)
    rig.ask()
    assert steps(rig.written(file_changed=False, config="old", deferred=BOTH)) == [
        WriteConfig(BOTH[1:])
    ]
    rig.written("new-1", changed=BOTH[1:], deferred=BOTH[:1])
    rig.loaded("new-1")
    assert not steps(rig.advance(UP_TIMEOUT + 1))
    assert word(rig) == "ready"
    (problem,) = reports_in(rig.effects)[-1].problems
    assert BOTH[0] in problem
    assert "no other one is up" in problem
    rig.session(BOTH[1], Session.UP)
    rig.ask()
    done = rig.written("new-1", file_changed=False, deferred=BOTH[:1])
    assert steps(done) == [WriteConfig(BOTH[:1])], "asked again, it goes on"


def test_the_only_session_of_all_is_closed_without_another() -> None:
    """There is no other to wait for."""
    rig = ReloadableRig()
    rig.ask()
    rig.written("mid", neighbors=BOTH[:1], deferred=BOTH[:1])
    rig.loaded("mid")
    assert steps(rig.advance(0.1)) == [WriteConfig(BOTH[:1])]


@pytest.mark.parametrize("how", ["not written", "not taken", "not heard"])
def test_a_change_that_fails_is_said_and_changes_nothing(how: str) -> None:
    """The files cannot be written, ExaBGP refuses them, or says nothing."""
    rig = ReloadableRig()
    before = dict(rig.exabgp.rib)
    rig.ask()
    if how == "not written":
        done = rig.carry_out(rig.lease.on_write_failed("md5: cannot be read", rig.now))
    else:
        rig.written(changed=(THIRD,), neighbors=(*PEERS, THIRD))
        done = (
            rig.loaded("old", "syntax error")
            if how == "not taken"
            else rig.advance(READ_TIMEOUT + 0.1)
        )
    (problem,) = reports_in(done)[-1].problems
    words = {"not written": "md5: cannot", "not taken": "syntax error", "not heard": "did not read"}
    assert words[how] in problem
    assert (word(rig), reports_in(done)[-1].config) == ("ready", "old")
    assert rig.exabgp.rib == before
    assert set(rig.lease.neighbors) == set(PEERS)
    assert steps(rig.ask()) == [WriteConfig()], "asked again, it tries again"


def test_asked_during_a_change_there_is_another_one_after_it() -> None:
    """The file may have been saved once more."""
    rig = ReloadableRig()
    rig.ask()
    assert not steps(rig.ask())
    rig.written()
    rig.loaded()
    assert steps(rig.advance(0.1)) == [WriteConfig()]


def test_a_neighbor_that_goes_takes_its_routes_along() -> None:
    """Nothing is said to a neighbor that ExaBGP does not know any more."""
    rig = ReloadableRig()
    rig.ask()
    rig.written(neighbors=BOTH[:1])
    rig.exabgp.received.clear()
    rig.exabgp.rib = {key: one for key, one in rig.exabgp.rib.items() if key[0] == BOTH[0]}
    done = rig.loaded()
    assert rig.exabgp.received == [QuerySessions()]
    told = [effect.report for effect in done if isinstance(effect, SendReport)]
    assert told[-1].leased == (route(),)
    assert set(told[-1].neighbors) == {BOTH[0]}


# The answer ---------------------------------------------------------------------------------------


def test_what_was_written_is_read_as_it_was_said() -> None:
    """The keys are those of every release: an older lease process may read a newer answer."""
    result = WriteResult("new", True, ("192.0.2.6",), BOTH)
    assert WriteResult.load(result.dump()) == result
    assert json.loads(result.dump()) == {
        "v": 1,
        "config": "new",
        "changed": True,
        "fresh": ["192.0.2.6"],
        "left": list(BOTH),
    }


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (dump_problem("md5: cannot be read"), "^md5: cannot be read$"),
        ('{"v": 2}', "version 2 of its files' writer is not known here"),
        ('{"v": 1}', "the answer of its files' writer is none"),
        ("Traceback", "the answer of its files' writer is none"),
        ("[]", "the answer of its files' writer is none"),
    ],
)
def test_an_answer_without_a_result_says_why(answer: str, problem: str) -> None:
    """A problem that was said, another version, and what is no answer."""
    with pytest.raises(RewriteError, match=problem):
        WriteResult.load(answer)


# The files ---------------------------------------------------------------------------------------


def conf(its: Profile) -> str:
    """Give ExaBGP's configuration for a profile."""
    return config_module.build_config(its, lease_command("/run/x"), {})


def test_only_what_may_change_changes() -> None:
    """New and gone neighbors at once; others keep their text, whatever the template says now."""
    old, hold = profile(), ("    - {address: 192.0.2.4, peer_as: 65515}\n", "")
    new = profile(
        ("192.0.2.5, peer_as: 65515}", "192.0.2.5, peer_as: 65515, hold_time: 30}"),
        hold,
        ("haproxy:", f"    - {{address: {THIRD}, peer_as: 65515}}\nhaproxy:"),
    )
    before = conf(old).replace("adj-rib-in false;", "adj-rib-in false; # as an older release")
    config = config_module.config_hash(new)
    text, left = config_module.merge_config(before, conf(new), config, ())
    assert left == ["192.0.2.5"]
    found = config_module.parse_neighbor_blocks(text)
    assert set(found) == {"192.0.2.5", THIRD}
    assert found["192.0.2.5"] == config_module.parse_neighbor_blocks(before)["192.0.2.5"]
    assert f"# config {config}-1\n" in text
    text, left = config_module.merge_config(text, conf(new), config, ("192.0.2.5",))
    assert left == []
    assert text == conf(new)


@pytest.mark.parametrize(
    "other",
    [
        ("router_id: 192.0.2.10", "router_id: 192.0.2.11"),
        ("  local_address: 192.0.2.10", "  local_address: 192.0.2.11"),
        ("local_as: 65010", "local_as: 65011"),
        ("192.0.2.4, peer_as: 65515}", "192.0.2.4, peer_as: 65516}"),
        ("192.0.2.4, peer_as: 65515}", "192.0.2.4, peer_as: 65515, hold_time: 30}"),
        ("192.0.2.4, peer_as: 65515}", "192.0.2.4, peer_as: 65515, multihop: 2}"),
    ],
)
def test_what_a_session_is_made_of_makes_it_wait(other: tuple[str, str]) -> None:
    """Each value of a session, and none of another kind."""
    _, left = config_module.merge_config(conf(profile()), conf(profile(other)), "x", ())
    assert "192.0.2.4" in left


def test_a_password_and_a_family_make_it_wait_too() -> None:
    """Neither is in a profile's values for the session itself."""
    its = profile()
    (first, _) = its.bgp.neighbors
    with_one = config_module.build_config(its, lease_command("/run/x"), {first.address: "one"})
    with_two = config_module.build_config(its, lease_command("/run/x"), {first.address: "two"})
    assert config_module.merge_config(with_one, with_two, "x", ())[1] == ["192.0.2.4"]
    assert config_module.merge_config(with_one, with_one, "x", ())[1] == []
    six = profile(
        ("203.0.113.10/32", "2001:db8::10/128"),
        ("prepend: 0", 'prepend: 0\n    next_hop: "2001:db8::1"'),
    )
    assert config_module.merge_config(conf(its), conf(six), "x", ())[1] == list(BOTH)


def test_no_summary_is_asked_for_during_a_reload() -> None:
    """ExaBGP may fail at a neighbor that is gone, and never end its answer; it would be ended."""
    rig = ReloadableRig()
    rig.send(1, want(1, route(), ttl=10.0))
    rig.ask()
    rig.exabgp.received.clear()
    rig.advance(2.0)
    assert QueryAdjRibOut() in rig.exabgp.received
    assert QuerySessions() not in rig.exabgp.received
