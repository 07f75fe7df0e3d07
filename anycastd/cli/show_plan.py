"""`anycastd reload --plan`: print what a reload would change, and change nothing.

Apart from commands/reload.py because this half loads the profile's schema, and a reload does not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from anycastd.bgp.session import Session
from anycastd.cli.folding import find_width, fold_line
from anycastd.cli.output import print_error, print_lines
from anycastd.cli.profile_file import read_profile
from anycastd.cli.reload_guard import Lowered, compare_live, parse_route
from anycastd.profile.validate import validate_profile
from anycastd.system.exit_codes import DONE, EX_CONFIG
from anycastd.views.reload_plan import ReloadPlan, SessionChange, plan_reload


def show_plan(running: Mapping[str, Any]) -> int:
    """Compare the profile on disk with what runs, print the difference, return the exit code.

    ``running`` is the agent's answer to the question ``running``.  The code is 0, or 78 where the
    profile on disk cannot be used.
    """
    path = running["profile"]
    found = read_profile(path)
    for problem in found.problems:
        print_error(f"warning: {problem}" if problem.warning else str(problem))
    new = found.profile
    if new is None:
        print_error("anycastd: a reload would be refused")
        return EX_CONFIG
    old = validate_profile(running["text"], path).profile
    if old is None:
        print_error(
            "anycastd: the code on disk cannot read the profile that is running, so the two cannot "
            "be compared; a reload would be accepted"
        )
        return DONE
    up = [address for address, state in running["sessions"].items() if state == Session.UP.value]
    leased = [parse_route(item) for item in running["held"]]
    levels = running.get("leased_levels")  # an agent of 0.1.0 does not say them
    plan = plan_reload(old, new, leased, up, running.get("draining", ()), levels)
    lowered = None if old == new else compare_live(old, found, leased, path, levels)
    width = find_width()
    print_lines(
        each for line in format_plan(plan, running, lowered) for each in fold_line(line, width)
    )
    if lowered is None or not lowered.lines:
        return DONE
    for line in lowered.summary:
        for each in fold_line(f"anycastd: a reload would be refused: {line}", width):
            print_error(each)
    return EX_CONFIG


def format_plan(
    plan: ReloadPlan, running: Mapping[str, Any], lowered: Lowered | None = None
) -> Iterator[str]:
    """Format the plan as lines for a person; ``running`` as in ``show_plan``.

    ``lowered``: what a look at HAProxy says of the new profile (None: it is the same profile).
    """
    yield f"{running['profile']}: what a reload of pid {running['pid']} would change"
    yield "sessions"
    for session in plan.sessions:
        why = f" ({session.detail})" if session.detail else ""
        yield f"  {session.neighbor}: {session.change.value}{why}"
    changes = any(session.change is not SessionChange.STAYS for session in plan.sessions)
    if changes and not running["speaker"]:
        yield "  this speaker cannot change its sessions while it runs: restart it to change them"
    yield "routes"
    lines = () if lowered is None else lowered.lines
    if not plan.routes and not lines:
        yield "  no change"
    for line in lines:
        yield f"  {line}"
    for route in plan.routes:
        yield f"  {route.service} {route.vip}: {route.change}"
    for note in plan.notes:
        yield f"note: {note}"
    for name in () if lowered is None else lowered.unseen:
        yield f"note: HAProxy {name} gave no answer now, so what its rules decide is not known"
