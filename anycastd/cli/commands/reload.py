"""`anycastd reload`: the agent takes over the code and the profile on disk."""

from __future__ import annotations

import argparse
import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from anycastd.agent.control_client import ControlError, ask_agent
from anycastd.agent.reload import VALIDATE_TIMEOUT
from anycastd.bgp.route import Route
from anycastd.bgp.session import Session
from anycastd.cli.arguments import add_directory
from anycastd.cli.output import print_error
from anycastd.cli.profile_file import load_profile
from anycastd.profile.validate import validate
from anycastd.system.exit_codes import EX_CONFIG, EX_UNAVAILABLE
from anycastd.views.reload_plan import ReloadPlan, SessionChange, plan_reload

UP_TIMEOUT = 30.0
"""Seconds for the successor to answer; it takes half a second."""
SETTLED_TIMEOUT = 5.0
"""Seconds for the speaker to have compared its sessions; one that resets them takes longer."""
POLL_INTERVAL = 0.05


def configure(parser: argparse.ArgumentParser) -> None:
    """Say the arguments."""
    parser.add_argument(
        "--plan",
        action="store_true",
        help="say which routes and sessions a reload would change, and do nothing",
    )
    add_directory(parser, "/run/anycastd", "where the agent's control socket is")


def main(args: argparse.Namespace) -> int:
    """Reload the agent, or say what that would do."""
    try:
        running = ask_agent(args.directory, "running")
        return _plan(running) if args.plan else _reload(args.directory, running)
    except ControlError as error:
        print_error(f"anycastd: {error}")
        return EX_UNAVAILABLE


def _reload(directory: str, running: Mapping[str, Any]) -> int:
    began, before = time.monotonic(), running["instance"]
    answer = ask_agent(directory, "reload", VALIDATE_TIMEOUT + 5)
    for line in (*answer.get("said", ()), *answer.get("refused", ())):
        print_error(str(line))
    if "refused" in answer:
        print_error("anycastd: refused; the agent goes on with what it has")
        return EX_CONFIG
    new = _wait(directory, UP_TIMEOUT, lambda it: it["ready"] and it["instance"] != before)
    if new is None:
        print_error(
            f"anycastd: the new agent does not answer after {UP_TIMEOUT:g} s: see its log; what it "
            "does not renew is withdrawn at the end of the lease"
        )
        return EX_UNAVAILABLE
    took = time.monotonic() - began
    new = _wait(directory, SETTLED_TIMEOUT, lambda it: it["speaker"] != "busy") or new
    print(f"reloaded {new['profile']}: pid {new['pid']}, version {new['version']}, {took:.1f} s")
    if new["speaker"] == "busy":
        print("sessions are being changed: see `anycastd status`")
    for problem in new["problems"]:
        print_error(f"anycastd: {problem}")
    return 0


def _wait(
    directory: str, within: float, condition: Callable[[dict[str, Any]], bool]
) -> dict[str, Any] | None:
    """Ask the agent again and again until its answer is as it should be."""
    ends = time.monotonic() + within
    while time.monotonic() < ends:
        with contextlib.suppress(ControlError):
            running = ask_agent(directory, "running")
            if condition(running):
                return running
        time.sleep(POLL_INTERVAL)
    return None


def _plan(running: Mapping[str, Any]) -> int:
    new = load_profile(running["profile"])
    if new is None:
        print_error("anycastd: a reload would be refused")
        return EX_CONFIG
    old = validate(running["text"], running["profile"]).profile
    if old is None:
        print_error(
            "anycastd: the code on disk cannot read the profile that runs, so the two cannot be "
            "compared; a reload would be accepted"
        )
        return 0
    up = [address for address, state in running["sessions"].items() if state == Session.UP.value]
    held = [_route(item) for item in running["held"]]
    found = plan_reload(old, new, held, up, running.get("draining", ()))
    print("\n".join(_render(found, running)))
    return 0


def _route(item: Mapping[str, Any]) -> Route:
    return Route(
        neighbor=item["neighbor"],
        prefix=item["prefix"],
        next_hop=item["next_hop"],
        as_path=tuple(item["as_path"]),
        med=item["med"],
        communities=tuple(item["communities"]),
    )


def _render(found: ReloadPlan, running: Mapping[str, Any]) -> Iterator[str]:
    yield f"{running['profile']}, as a reload of pid {running['pid']} would take it over:"
    yield "sessions"
    for session in found.sessions:
        why = f" ({session.detail})" if session.detail else ""
        yield f"  {session.neighbor}: {session.change.value}{why}"
    needs = any(session.change is not SessionChange.STAYS for session in found.sessions)
    if needs and not running["speaker"]:
        yield "  this speaker cannot take over other sessions while it runs: restart it for them"
    yield "routes"
    if not found.routes:
        yield "  no change"
    for route in found.routes:
        yield f"  {route.service} {route.vip}: {route.change}"
    for note in found.notes:
        yield f"note: {note}"
