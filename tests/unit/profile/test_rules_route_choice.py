"""Rules for next hops, a VIP that is elsewhere, and a MED by a check: each broken once."""

from __future__ import annotations

import pytest

from anycastd.decision.levels import Level
from anycastd.profile.validate import validate_profile
from anycastd.speaker.permitted_routes import build_permitted_routes
from support.watcher_world import FIRST, SECOND, TEXT, THIRD, watcher_profile

HOP = f"      - {{address: {FIRST}, serve: {{check: c1}}}}\n"


def list_problems(*changes: tuple[str, str]) -> list[str]:
    """List the problems of the watcher's profile after replacing texts."""
    text = TEXT
    for old, new in changes:
        assert old in text, f"the watcher's profile has no {old!r}"
        text = text.replace(old, new)
    return [str(each) for each in validate_profile(text, "p.yaml").problems]


BROKEN = [  # change, and the problem after the service's key
    (
        ("    med:", "    next_hop: 192.0.2.99\n    med:"),
        "next_hop: next_hop and next_hops are both there; keep one of them",
    ),
    (
        (f"address: {SECOND},", f"address: {FIRST},"),
        (f"next_hops[1].address: {FIRST} is already in line 21; write each next hop once"),
    ),
    (
        (f"address: {SECOND},", "address: 203.0.113.10,"),
        ("next_hops[1].address: 203.0.113.10 is the VIP itself; write the machine's own address"),
    ),
    (
        (f"address: {SECOND},", 'address: "2001:db8::5",'),
        (
            "next_hops[1].address: 203.0.113.10 is IPv4, and its next hop 2001:db8::5 "
            "is not; write the machine's IPv4 address"
        ),
    ),
    (
        ("interface: none", "interface: lo"),
        (
            "interface: this machine would have the VIP on lo, though no next hop is an "
            "address of it; write interface: none"
        ),
    ),
    (
        ("    standby:", "    self_test: {tcp: 80}\n    standby:"),
        (
            "self_test: would ask the VIP from a machine that does not have it: its "
            "answer says nothing of one next hop; remove it, and write checks of kind http or tcp "
            "of each next hop's address"
        ),
    ),
    (
        ("check: load,", "check: loud,"),
        "med.check: there is no loud under checks; write load",
    ),
    (
        ("check: load,", "check: c1,"),
        ("med.check: c1 has no steps, so the MED would never change; write a check of kind load"),
    ),
    (
        ("[50, 100, 200]", "[50, 100]"),
        (
            "med.steps: 2 MEDs, and the check load has 3 steps; write 3: the first is "
            "for a load below all limits"
        ),
    ),
    (
        ("[50, 100, 200]", "[200, 100, 50]"),
        (
            "med.steps: a higher load has a lower MED, which attracts more traffic; "
            "write [50, 100, 200]"
        ),
    ),
    (
        ("peer_as: 65515}", "peer_as: 65515, med: 7}"),
        ("med: has no effect, since each neighbor has a med of its own; remove one of the two"),
    ),
    (
        ("serve: {check: c2}", "serve: {check: c9}"),
        ("next_hops[1].serve.check: there is no c9 under checks; write c1 or c2 or c3 or load"),
    ),
]


@pytest.mark.parametrize(("change", "expected"), BROKEN, ids=[line for _, line in BROKEN])
def test_each_rule(change: tuple[str, str], expected: str) -> None:
    """What is wrong, where, and what to write."""
    found = list_problems(change)
    assert any(each.endswith(f": services.voip.{expected}") for each in found), found


def test_a_service_needs_serve_or_next_hops() -> None:
    """Without either nothing says when it serves."""
    rest = "\n".join(line for line in TEXT.splitlines() if "address: 192.0.2.2" not in line)
    found = validate_profile(rest.replace("    next_hops:\n", ""), "p.yaml").problems
    assert any("services.voip.serve: is missing; add serve:" in str(each) for each in found)


def test_a_vip_that_is_elsewhere_with_this_machine_as_next_hop() -> None:
    """It is a warning: packets may be translated on the way."""
    text = TEXT[: TEXT.index("    next_hops:")] + "    serve: {check: c1}\n    failed: withdraw\n"
    (one, *_) = [
        str(each) for each in validate_profile(text, "p.yaml").problems if "inter" in each.key
    ]
    assert "packets for the VIP come to this machine, which does not have it" in one


def test_the_speaker_permits_every_choice_and_no_other() -> None:
    """Each next hop at each neighbor with each MED, at each level."""
    permitted = build_permitted_routes(watcher_profile())
    assert {(each.neighbor, each.next_hop) for each in permitted} == {
        (neighbor, hop) for neighbor in ("192.0.2.4", "192.0.2.5") for hop in (FIRST, SECOND, THIRD)
    }
    for each in permitted:
        assert {attributes[2] for attributes in each.attributes} == {50, 100, 200}
    assert Level.WITHDRAWN < Level.STANDBY


def test_the_vip_of_a_watcher_is_on_no_interface_here() -> None:
    """Nothing puts it on this machine, and nothing looks for it."""
    assert watcher_profile().local_vips == ()
    assert [path for path, _ in watcher_profile().services["voip"].conditions] == [
        ("next_hops", number, "serve") for number in range(3)
    ]
