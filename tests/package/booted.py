"""Two booted regions in the rehearsal network, and what an operator does there."""

from __future__ import annotations

import datetime as dt
import json
import re
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anycastd.lab.network import adapt, bird, routers
from anycastd.lab.network.appliance import Appliance, LabSettings
from anycastd.lab.network.azure import AZURE, PRIMARY, REGIONS, SECONDARY, Region
from anycastd.lab.network.load import LoadClient
from anycastd.lab.network.namespaces import Nodes
from anycastd.lab.network.outage import last_answered_by
from anycastd.lab.network.route_monitor import RouteMonitor
from anycastd.lab.network.table import paths_by_next_hop
from anycastd.lab.network.topology import VIP, wire_nodes
from support.peer import wait_for
from systems import ROOT, System

BASELINE = AZURE.expected_paths({PRIMARY.name: 0, SECONDARY.name: 2})
"""The MSEE's AS paths when both regions are preferred."""

# Files that the kernel and Debian's own tools keep of every package.
KEPT_BY_DEBIAN = re.compile(
    r"^/(proc|sys|dev|run|tmp|packages|root)[/ ]"
    r"|^/var/(cache|log|tmp)/|^/var/lib/(apt|dpkg|systemd)/"
    r"|^/etc/(passwd|group|shadow|gshadow)-? |/__pycache__[/ ]"
)


@dataclass(frozen=True, slots=True)
class Received:
    """UPDATEs that a route server received from a region so far, and the start of the session.

    ``up_since`` is a time of the wall clock (s), 0 while the session is down.
    """

    updates: int
    withdraws: int
    up_since: float


class Site:
    """The network, the two booted systems, and a client that sends requests all the time."""

    def __init__(self, nodes: Nodes, suites: tuple[str, str], made: dict[str, Path]) -> None:
        self.nodes = nodes
        wire_nodes(nodes, AZURE)
        self.birds = routers.start_routers(nodes, AZURE)
        self.client = LoadClient(nodes, 0.01, 0.5, resend=False)
        watched = [region.node(role) for region in REGIONS for role in ("ars0", "ars1")]
        self.monitors = {node: RouteMonitor(nodes, node, VIP) for node in ("msee", *watched)}
        self.webs = [Appliance(nodes, region, LabSettings(), AZURE) for region in REGIONS]
        for web in self.webs:
            web.start_web_servers()
        self.systems = {
            region.name: System(nodes, region.node("nva"), suite, made[suite])
            for region, suite in zip(REGIONS, suites, strict=True)
        }
        self.primary = self.systems[PRIMARY.name]
        self.secondary = self.systems[SECONDARY.name]
        for system in self.systems.values():
            system.boot()
        for system in self.systems.values():
            system.up()

    def table(self) -> dict[str, tuple[int, ...]]:
        """Return the MSEE's table: next hop -> AS path."""
        return paths_by_next_hop(bird.read_table(self.nodes, "msee", f"{VIP}/32"))

    def wait_table(self, wanted: dict[str, tuple[int, ...]], timeout: float = 60) -> None:
        """Wait until the MSEE has these routes: next hop -> AS path."""
        try:
            wait_for(lambda: self.table() == wanted, timeout, f"the MSEE to have {wanted}")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.table()}\n{self.primary.journal()}") from None

    def wait_well(self, timeout: float = 60) -> None:
        """Wait until both regions are preferred: agents, route servers and MSEE say so.

        The MSEE's table alone may still be that of before a failure that its route servers know.
        """

        def is_well() -> bool:
            agents = [self.status(system) for system in self.systems.values()]
            webs = [status.get("services", {}).get("web", {}) for status in agents]
            return (
                all(web.get("level") == "preferred" and web.get("in_sync") for web in webs)
                and all(
                    bird.read_table(self.nodes, region.node(role), f"{VIP}/32")
                    for region in REGIONS
                    for role in ("ars0", "ars1")
                )
                and self.table() == BASELINE
            )

        try:
            wait_for(is_well, timeout, "both regions to be preferred")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.table()}\n{self.primary.journal()}") from None

    def received(self, region: Region = PRIMARY) -> list[Received]:
        """Return what each route server of a region received from its appliance."""
        found = []
        for role in ("ars0", "ars1"):
            control = bird.control_socket(self.nodes, region.node(role))
            lines = bird.query_bird(control, "show protocols all nva")
            head = next(line.split() for line in lines if line.startswith("nva "))
            updates, withdraws = (
                next(int(line.split()[2]) for line in lines if line.strip().startswith(name))
                for name in ("Import updates:", "Import withdraws:")
            )
            # BIRD computes the time anew each time; it differs by some microseconds.
            since = dt.datetime.fromisoformat(" ".join(head[4:6])).timestamp()
            up = head[-1] == "Established"
            found.append(Received(updates, withdraws, since if up else 0.0))
        return found

    def status(self, system: System) -> dict[str, Any]:
        """Return the answer of `anycastd status --json`; empty while no agent answers."""
        try:
            return dict(json.loads(system.try_run("anycastd", "status", "--json").stdout))
        except ValueError:
            return {}

    def wait_withdrawn(self, since: float) -> float:
        """Wait until both route servers have lost the primary's route; return the later time."""

        def moments() -> list[float]:
            found = [self.monitors[node].lost_at(since) for node in ("ne-ars0", "ne-ars1")]
            return [] if None in found else [moment for moment in found if moment]

        return max(wait_for(moments, 40, "the route to go from the route servers"))

    def wait_served_by(self, region: Region, since: float, timeout: float = 60) -> None:
        """Wait until the client's last answers, since a time, all came from a region."""
        wait_for(
            lambda: last_answered_by(self.client.results(since), region.name, 30, since),
            timeout,
            f"answers from {region.title}",
        )


def documented_commands(heading: str, page: str = "install.md") -> list[str]:
    """Return the commands of a page of docs/, or only those below a heading if one is given."""
    section = (ROOT / "docs" / page).read_text(encoding="utf-8")
    if heading:
        section = section.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]
    return re.findall(r"^    (\w.*)$", section, re.MULTILINE)


def version_of(package: Path) -> str:
    """Return a package's version."""
    return package.name.split("_")[1]


def list_files(system: System) -> list[str]:
    """Return all files that a package could leave behind, with mode, owner and link target."""
    listed = system.run("find / -xdev -printf '%p %y %m %u:%g %l\\n' | sort").splitlines()
    return [line for line in listed if not KEPT_BY_DEBIAN.search(line)]


def install(system: System, package: Path) -> str:
    """Install a package with the documented command; return the output."""
    system.run(f"rm -rf /root/new; mkdir /root/new; cp /packages/{package.name} /root/new")
    (command,) = documented_commands("Install")
    return system.run(f"cd /root/new; {command}")


def assert_unnoticed(site: Site, what: Callable[[], object], region: Region = PRIMARY) -> None:
    """Do something to a region, and check that route servers and clients notice nothing."""
    system = site.systems[region.name]
    before, began_at = site.received(region), time.monotonic()
    what()
    wait_for(
        lambda: site.status(system).get("services", {}).get("web", {}).get("in_sync"),
        60,
        "the agent to be in sync again",
    )
    # Longer than the lease: without renewals the routes would be withdrawn by now.
    wait_for(lambda: time.monotonic() > began_at + 7, 10, "the lease to be over")
    for then, now in zip(before, site.received(region), strict=True):
        same = (now.updates, now.withdraws) == (then.updates, then.withdraws)
        assert same, f"{then} {now}\n{system.journal()}"
        assert abs(now.up_since - then.up_since) < 1, "the session was closed"
    assert site.table() == BASELINE
    assert [answer for answer in site.client.results(began_at) if not answer.ok] == []


def user_of(system: System, unit: str) -> str:
    """Return the user of a unit's main process."""
    return system.run(f"stat -c %U /proc/{system.main_pid(unit)}")


def allows(system: System, user: str, script: str, *groups: str) -> bool:
    """Return whether a shell script succeeds as a user, with its own groups or those named."""
    who = [f"--groups={','.join(groups)}"] if groups else ["--init-groups"]
    group = groups[0] if groups else user
    run_as = ["setpriv", f"--reuid={user}", f"--regid={group}", *who]
    return system.try_run(*run_as, "sh", "-c", script).returncode == 0


def assert_apart(system: System) -> None:
    """Check what the agent's user can do to the speaker: use its socket, and nothing else."""
    speaker = system.main_pid("anycastd-speaker")
    lease = system.run(f"pgrep -P {speaker}")
    agent = system.main_pid("anycastd")
    assert user_of(system, "anycastd") == "anycastd"
    assert user_of(system, "anycastd-speaker") == "anycastd-speaker"
    system.run(
        "echo pass | install -m 640 -g anycastd-speaker /dev/stdin /etc/anycastd/secrets/try"
    )
    where = "/run/anycastd-speaker"
    secrets = (
        "ls /etc/anycastd/secrets",
        "cat /etc/anycastd/secrets/try",
        f"cat {where}/exabgp.conf",
        f"kill -0 {speaker}",
        f"kill -0 {lease}",
    )
    for script in secrets:
        assert allows(system, "anycastd-speaker", script), script
        assert not allows(system, "anycastd", script), script
    assert not allows(system, "anycastd", f"cat /proc/{speaker}/environ")
    assert not allows(system, "anycastd", f"touch {where}/new || rm -f {where}/lease.sock")
    connect = f"test -w {where}/lease.sock"
    assert allows(system, "anycastd", f"{connect} && cat {where}/lease.json")
    # Somebody who may read the status is no agent.
    assert allows(system, "nobody", "anycastd status --json", "anycastd")
    assert not allows(system, "nobody", connect, "anycastd")
    for script in (f"kill -0 {agent}", "touch /run/anycastd/new", "cat /var/lib/anycastd/*"):
        assert not allows(system, "anycastd-speaker", script), script
    system.run("rm /etc/anycastd/secrets/try")


CHECKS = """
checks:
  command: {command: [/bin/sh, -c, "test -r /proc/self/stat && echo well"]}
  file: {file: /etc/hostname}
  load: {load: {load_average: [900], memory_available: [0.1]}}
  tcp: {tcp: "203.0.113.10:80"}
  http: {http: "http://203.0.113.10/"}

services:
"""


def assert_checks_work(site: Site) -> None:
    """Assert that a reload brings a check of each kind, and that all pass and change no route."""
    system = site.primary
    before = system.run("cat /etc/anycastd/profile.yaml") + "\n"
    names = ("command", "file", "load", "tcp", "http")
    more = "".join(f", {{check: {name}}}" for name in names)
    old = "healthy: {backend: web, usable: 50%}"
    assert old in before
    text = before.replace("\nservices:\n", CHECKS)
    text = text.replace(old, f"healthy: {{all: [{{backend: web, usable: 50%}}{more}]}}")
    system.write("/etc/anycastd/profile.yaml", text)

    def all_pass() -> bool:
        checks = site.status(system).get("checks", {})
        return set(checks) == set(names) and all(
            each["state"] == "passes" for each in checks.values()
        )

    def reload() -> None:
        system.run("anycastd check --offline /etc/anycastd/profile.yaml; anycastd reload")
        wait_for(all_pass, 60, "all checks to pass")

    assert_unnoticed(site, reload)
    assert "well" in system.run("anycastd explain")
    system.write("/etc/anycastd/profile.yaml", before)
    assert_unnoticed(site, lambda: system.run("anycastd reload"))
    site.wait_well()


def kill(system: System, pid: int, number: int = signal.SIGKILL) -> None:
    """Send a signal to a process of a system."""
    system.run(f"kill -{number:d} {pid}")


def reconfigure(site: Site, region: Region, *changes: tuple[str, str]) -> None:
    """Reconfigure both route servers of a region: the lab's configuration with texts replaced."""
    for role in ("ars0", "ars1"):
        node = region.node(role)
        text = site.birds[node].config
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        file = site.nodes.directory / f"{node}.bird.conf"
        file.write_text(text, encoding="utf-8")
        bird.query_bird(bird.control_socket(site.nodes, node), "configure")


def has_bfd(site: Site) -> bool:
    """Return whether both route servers of the primary have a BFD session that is up."""
    control = [bird.control_socket(site.nodes, PRIMARY.node(role)) for role in ("ars0", "ars1")]
    return all(
        any(" Up " in line for line in bird.query_bird(it, "show bfd sessions")) for it in control
    )


def start_first_package(system: System, region: Region, package: str) -> None:
    """Put a region back to the first package: its example, one password, one user for all."""
    system.run(
        f"systemctl stop anycastd; cp /packages/{package} /root;"
        f"apt-get install -y --allow-downgrades /root/{package};"
        "userdel anycastd-speaker; groupdel anycastd-lease;"
        "echo s3cret | install -m 0640 -g anycastd /dev/stdin /etc/anycastd/secrets/ars0"
    )
    text = system.run(f"cat /etc/anycastd/examples/{region.profile}") + "\n"
    text = adapt.adapt_profile(text, region, "/run/haproxy/anycastd.sock")
    text = text.replace("peer_as: 65515}", "peer_as: 65515, md5_file: /etc/anycastd/secrets/ars0}")
    text = text.replace("\nplatform: azure", "\nplatform: plain")
    system.write("/etc/anycastd/profile.yaml", text)
    system.run("systemctl start anycastd")
