"""`anycastd check` on the appliance: what of this machine does not fit its profile."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from anycastd.evidence.haproxy import inventory
from anycastd.evidence.haproxy.advice import (
    find_empty_backends,
    find_high_numbers,
    find_server_loops,
    list_backend_rules,
)
from anycastd.evidence.haproxy.answer import MASTER_SOCKET
from anycastd.evidence.haproxy.check_times import find_slow_checks, parse_check_times
from anycastd.evidence.haproxy.loops import LoopTargets
from anycastd.evidence.haproxy.snapshot import Gone, Observation, Snapshot, Unreadable
from anycastd.evidence.haproxy.stats_socket import TCP
from anycastd.evidence.machine.addresses import is_machine_of, list_local_addresses
from anycastd.evidence.machine.facts import Machine, MachineProblem
from anycastd.evidence.machine.judge import judge_machine, list_unseen
from anycastd.evidence.machine.permissions import AGENT_USER, SPEAKER_USER, explain_denied
from anycastd.evidence.machine.proc import LISTENING
from anycastd.evidence.machine.reader import read_interfaces, read_machine
from anycastd.profile.model import Profile
from anycastd.speaker.directory import read_passwords
from anycastd.system.exit_codes import ExitError

Looks = Mapping[str, Observation]
"""Name of a HAProxy -> the look at it."""


@dataclass(frozen=True, slots=True)
class MachineReport:
    """What was found on this machine for one profile.

    ``summary`` is one line: what was not looked at, or that nothing was.
    """

    problems: tuple[MachineProblem, ...]
    summary: str


def find_profiles_of_machine(
    usable: Sequence[tuple[str, Profile]],
    get_looks: Callable[[str], Looks],
    *,
    here: bool | None,
) -> set[str]:
    """Return the files of the profiles that are for this machine.

    They are those of which a local address is here.  Where there is none, it is the only
    profile, if a HAProxy or a VIP of it is here: then the address is what is wrong.  ``here`` says
    so for all files instead (None: find out).  ``get_looks``: file -> its looks.
    """
    if here is not None:
        return {path for path, _ in usable} if here else set()
    machine = Machine(interfaces=read_interfaces([]))
    found = {path for path, profile in usable if is_machine_of(profile, machine)}
    if found or len(usable) != 1:
        return found
    path, profile = usable[0]
    vips = {vip.network_address for vip, _ in profile.local_vips}
    runs = any(not isinstance(look, Gone) for look in get_looks(path).values())
    return {path} if runs or vips & machine.addresses else set()


def report_skipped(profile: Profile) -> MachineReport:
    """Return the report for a profile that is for another machine."""
    addresses = ", ".join(map(str, list_local_addresses(profile)))
    summary = (
        f"not looked at, because {addresses} (local_address) is not here; --here looks at it all "
        "the same"
    )
    return MachineReport((), summary)


def report_machine(profile: Profile, looks: Looks) -> MachineReport:
    """Look at this machine for its profile; only reads, and sends no packet to a neighbor."""
    machine = read_machine(profile)
    runs = looks and all(isinstance(each, Snapshot) for each in looks.values())
    running = profile.services if runs else ()
    problems = (
        *judge_machine(profile, machine, running),
        *dict.fromkeys(_judge_secrets(profile)),  # a file may have two uses
        *_judge_hooks(profile),
        *_judge_haproxy(profile, looks, machine),
    )
    count = len(problems)
    what = f"{count} warning{'s' if count > 1 else ''} above" if count else "nothing to warn of"
    unseen = list_unseen(profile, machine)
    rest = f"; not looked at: {', '.join(unseen)}" if unseen else ""
    return MachineReport(problems, f"{what}{rest}")


def find_master_sockets(profile: Profile, looks: Looks) -> list[MachineProblem]:
    """Find sockets of the profile that are those of HAProxy's master; they never answer a look."""
    return [
        MachineProblem(
            f"haproxy.{name}.socket: {profile.haproxy[name].socket} is the socket of HAProxy's "
            "master (`haproxy -S`), which knows no servers",
            "write the path of the `stats socket` line in haproxy.cfg",
            hopeless=True,
        )
        for name, look in looks.items()
        if isinstance(look, Unreadable) and MASTER_SOCKET in look.detail
    ]


def _judge_secrets(profile: Profile) -> Iterator[MachineProblem]:
    """Find files of secrets that the service could not use."""
    passwords = {each.md5_file: str(each.address) for each in profile.bgp.neighbors}
    tokens = [profile.web.token_file if profile.web else None]
    tokens += [region.token_file for region in profile.regions]
    readers = [(path, SPEAKER_USER) for path in passwords] + [(path, AGENT_USER) for path in tokens]
    for path, user in dict.fromkeys(readers):
        if path is None:
            continue
        if why := explain_denied(path, os.R_OK, user):
            remedy = f"chown root:{user} and chmod 0640 the file"
            yield MachineProblem(f"secret {path}: {why}", remedy)
        elif not os.path.exists(path):
            yield MachineProblem(f"secret {path}: there is no such file", "write it, or remove it")
    try:
        read_passwords(profile)
    except ExitError as error:
        # Another owner's file may be what the service's user is to read; root cannot tell.
        files = [path for path in passwords if path and os.path.exists(path)]
        if os.geteuid() == 0 and all(os.stat(path).st_uid == 0 for path in files) and files:
            yield MachineProblem(str(error), "the speaker ends with code 78 until that is mended")


def _judge_hooks(profile: Profile) -> Iterator[MachineProblem]:
    """Find commands of hooks that the agent could not run, or that others could replace."""
    for number, hook in enumerate(profile.hooks):
        path = hook.command[0]
        what = f"line {hook.line}: hooks[{number}].command: {path}"
        if not os.path.exists(path):
            yield MachineProblem(
                f"{what}: there is no such file", "install it, or correct the path"
            )
        elif not os.path.isfile(path) or not os.stat(path).st_mode & 0o111:
            yield MachineProblem(f"{what} cannot be executed", "chmod 0755 the file")
        elif why := explain_denied(path, os.X_OK, AGENT_USER):
            yield MachineProblem(f"{what}: {why}", "chmod 0755 the file, and its directories")
        elif os.stat(path).st_mode & 0o002:
            yield MachineProblem(f"{what} can be written by everybody", "chmod 0755 the file")


def _judge_haproxy(profile: Profile, looks: Looks, machine: Machine) -> Iterable[MachineProblem]:
    """Find rules that can never hold with what HAProxy has."""
    vips = {vip.network_address for vip, _ in profile.local_vips}
    targets = LoopTargets(
        frozenset(map(str, vips)),
        frozenset(map(str, machine.addresses - vips)),
        frozenset(
            each.port
            for each in machine.tcp or ()
            if each.state == LISTENING and each.local in vips
        ),
    )
    for name, look in looks.items():
        path = profile.haproxy[name].socket
        remote = path.startswith(TCP)
        if not (remote or isinstance(look, Gone)) and (why := explain_denied(path, os.W_OK)):
            yield MachineProblem(
                f"haproxy.{name}.socket: {why}, so the service cannot look at HAProxy",
                "write `mode 660 group haproxy` in its `stats socket` line, and "
                f"adduser {AGENT_USER} haproxy",
            )
        if not isinstance(look, Snapshot):
            continue
        rules = list_backend_rules(profile, name)
        backends = {each.name: each.servers for each in look.backends.values()}
        servers = inventory.read_servers(path)
        config = "" if remote else inventory.read_config(look.worker.pid)
        for message, remedy in (
            *find_empty_backends(rules, backends),
            *find_high_numbers(rules, backends),
            *find_server_loops(rules, servers, targets),
            *find_slow_checks(rules, parse_check_times(config)),
        ):
            yield MachineProblem(message, remedy)
