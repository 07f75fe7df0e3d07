"""What is compared: how each system is set up from its files, started and ended."""

from __future__ import annotations

import re
import shutil
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from anycastd.lab.network.process_tree import signal_all
from compare.network import ENVIRONMENT, REGIONS, VIP, Network, Program, Region, wait_for
from support.processes import read_command_line

SETTINGS = Path(__file__).resolve().parent / "settings"
ROOT = SETTINGS.parents[2]
CHECKER_VENV = ROOT / ".venv-compare"
SHIPPED_RETURN = "{rise: 10, hold_down: 60, hold_down_max: 900, spacing: 35}"
RESTART, OWN_RESTART = 0.1, 0.05
"""Seconds from an end to the next start: systemd's default, and what anycastd's units take.

Their RestartSec is 0; `make bench BENCH='--only restart'` measures the rest on a booted system.
"""
SHORT_RETURN = "{rise: 1, hold_down: 2, hold_down_max: 2, spacing: 1}"
"""Return timers for the trials of outages, which they do not change."""


class Site:
    """A region's appliance: its files, HAProxy, and the system that announces its VIP.

    ``programs`` are what the system consists of.
    """

    def __init__(self, network: Network, region: Region, *, shipped_return: bool) -> None:
        self.network, self.region = network, region
        self.node = region.node("nva")
        self.directory = network.nodes.directory / region.name
        shutil.rmtree(self.directory, ignore_errors=True)
        self.directory.mkdir()
        self.programs: list[Program] = []
        self.haproxy: Program | None = None
        self._haproxy_file = self.directory
        prepends = region.prepends
        self.values = {
            "ADDRESS": region.appliance,
            "AS_PATH": " ".join(["65010"] * (prepends + 1)),
            "DEGRADED": "4" if prepends else "3",
            "DIRECTORY": str(self.directory),
            "FAILED": "standby" if prepends else "withdraw",
            "NETWORK": f"{region.network}.0/24",
            "PREPEND": str(prepends),
            "PREPENDS": "bgp_path.prepend(65010);" * prepends,
            "PRIORITY": str(150 - 10 * prepends),
            "REGION": region.name,
            "RETURN": SHIPPED_RETURN if shipped_return else SHORT_RETURN,
            "ROUTER": region.address(1),
            "STANDBY": "7" if prepends else "6",
            "VIP": VIP,
            "WEB1": region.web[0],
            "WEB2": region.web[1],
        }

    def write(self, name: str, as_name: str = "") -> Path:
        """Write a file of the settings with its values filled in."""
        text = (SETTINGS / name).read_text(encoding="utf-8")
        for key, value in self.values.items():
            text = text.replace(f"@{key}@", value)
        path = self.directory / (as_name or name)
        path.write_text(text, encoding="utf-8")
        return path

    def start(self, name: str, *argv: object, restart: float = 0.0) -> Program:
        """Start a program of the system."""
        program = Program(self.network.nodes, self.node, name, *map(str, argv), restart=restart)
        self.programs.append(program)
        return program

    def prepare_haproxy(self, file: str) -> None:
        """Write HAProxy's configuration and start it."""
        self._haproxy_file = self.write(file, "haproxy.cfg")
        self.start_haproxy()

    def start_haproxy(self) -> None:
        """Start HAProxy, and wait until it listens."""
        command = ("haproxy", "-W", "-f", str(self._haproxy_file))
        self.haproxy = Program(self.network.nodes, self.node, "haproxy", *command)
        ask = ("sh", "-c", "ss -Hltn 'sport = 80' | grep -q .")
        wait_for(
            lambda: self.network.nodes.try_run(self.node, *ask).returncode == 0, 20, "HAProxy", 0.05
        )

    def find_pids(self, word: str) -> list[int]:
        """Return the pids of the system's processes with a word in their command line."""
        pids = [pid for program in self.programs for pid in program.pids]
        return [pid for pid in pids if word in read_command_line(pid)]

    def end(self) -> None:
        """End all that runs here."""
        pids = [pid for each in self.programs for pid in each.pids]
        signal_all(pids, signal.SIGCONT)
        for program in (*self.programs, self.haproxy):
            if program is not None:
                program.end()


def _exabgp(site: Site, conf: str, checker: str) -> None:
    """Start ExaBGP with a checker as its process."""
    site.values["CHECKER"] = checker
    site.start(
        "exabgp", sys.executable, "-m", "exabgp", "server", site.write(conf), restart=RESTART
    )


def _healthcheck(conf: str, check: str) -> Callable[[Site], None]:
    def start(site: Site) -> None:
        file = site.write(check, "healthcheck.conf")
        module = f"{sys.executable} -m exabgp.application.healthcheck"
        _exabgp(site, conf, f"{module} --config {file}")

    return start


def _poll(site: Site) -> None:
    values = site.values
    script = site.write("poll.py")
    path = values["AS_PATH"]
    _exabgp(
        site,
        "exabgp-careful.conf",
        f'{sys.executable} {script} {site.directory}/haproxy.sock {VIP} "{path}"',
    )


def _anycast_healthchecker(bird: str, check: str) -> Callable[[Site], None]:
    def start(site: Site) -> None:
        prefixes = site.directory / "anycast-prefixes.conf"
        prefixes.write_text(
            "define ACAST_PS_ADVERTISE =\n    [\n        10.189.200.255/32\n    ];\n"
        )
        control = site.directory / "bird.ctl"
        files = ("-c", site.write(bird, "bird.conf"), "-s", control)
        site.start("bird", "bird", "-f", *files, "-P", site.directory / "bird.pid", restart=RESTART)
        wait_for(control.exists, 20, "BIRD's control socket")
        site.write(check, "check.conf")
        site.start(
            "checker",
            CHECKER_VENV / "bin" / "anycast-healthchecker",
            *("-f", site.write("anycast-healthchecker.conf")),
            *("-F", site.directory / "check.conf"),
            restart=RESTART,
        )

    return start


def _keepalived(site: Site) -> None:
    nodes = site.network.nodes
    nodes.run(site.node, "ip", "address", "del", f"{VIP}/32", "dev", "lo")
    conf = site.write("keepalived.conf")
    pids = (f"--pid={site.directory}/k.pid", f"--vrrp_pid={site.directory}/v.pid")
    quiet = ("--dont-fork", "--log-console", "--vrrp")
    site.start("keepalived", "keepalived", *quiet, *pids, "-f", conf, restart=RESTART)


def _anycastd(profile: str, *, bfd: bool = False) -> Callable[[Site], None]:
    def start(site: Site) -> None:
        file = site.write(profile, "profile.yaml")
        program = (sys.executable, "-m", "anycastd")
        speaker = site.directory / "speaker"
        if bfd:
            bfd_directory = ("--directory", site.directory / "bfd")
            site.start("bfd", *program, "bfd", "--profile", file, *bfd_directory, restart=RESTART)
        where = ("--profile", file, "--directory")
        site.start("speaker", *program, "speaker", *where, speaker, restart=OWN_RESTART)
        more = ("--lease", speaker / "lease.sock", "--state", site.directory / "state")
        site.start(
            "agent", *program, "run", *where, site.directory / "agent", *more, restart=OWN_RESTART
        )

    return start


@dataclass(frozen=True, slots=True)
class System:
    """A system: its name for ``--systems``, its row's title, and how it is started.

    ``checker`` is a word in the command line of the process that checks, each ``period`` seconds.
    ``vrrp``: the VIP moves by VRRP, so the edge has it on a network of its own.  ``needs`` are
    programs; ``host`` says how a dead host is noticed.
    """

    name: str
    title: str
    start: Callable[[Site], None]
    checker: str
    haproxy: str = "haproxy.cfg"
    vrrp: bool = False
    needs: tuple[str, ...] = ()
    host: str = "hold 9 s"
    period: float = 1.0

    def find_missing(self) -> list[str]:
        """Return the programs that it needs and that are not here."""
        return [each for each in self.needs if shutil.which(each, path=ENVIRONMENT["PATH"]) is None]


HEALTHCHECK, CHECKER = "exabgp.application.healthcheck", "anycast-healthchecker"
FAST = "haproxy-fast.cfg"
SYSTEMS = (
    System(
        "healthcheck",
        "healthcheck",
        _healthcheck("exabgp.conf", "healthcheck.conf"),
        HEALTHCHECK,
        needs=("curl",),
        host="hold 180 s",
        period=5.0,
    ),
    System(
        "healthcheck-careful",
        "healthcheck careful",
        _healthcheck("exabgp-careful.conf", "healthcheck-careful.conf"),
        HEALTHCHECK,
        needs=("curl",),
    ),
    System(
        "healthcheck-fast",
        "healthcheck 10/s",
        _healthcheck("exabgp-careful.conf", "healthcheck-fast.conf"),
        HEALTHCHECK,
        haproxy=FAST,
        needs=("curl",),
    ),
    System(
        "anycast-healthchecker",
        "anycast-healthch.",
        _anycast_healthchecker("bird.conf", "check.conf"),
        CHECKER,
        needs=("curl", str(CHECKER_VENV / "bin" / "anycast-healthchecker")),
        host="hold 240 s",
        period=10.0,
    ),
    System(
        "anycast-healthchecker-careful",
        "anycast-h. careful",
        _anycast_healthchecker("bird-careful.conf", "check-careful.conf"),
        CHECKER,
        needs=("curl", str(CHECKER_VENV / "bin" / "anycast-healthchecker")),
        host="BFD 0.3 s",
    ),
    System("poll", "script each 5 s", _poll, "poll.py", period=5.0),
    System(
        "keepalived",
        "keepalived",
        _keepalived,
        "keepalived",
        vrrp=True,
        needs=("curl", "keepalived"),
        host="VRRP 1 s",
    ),
    System("anycastd", "anycastd", _anycastd("anycastd.yaml"), "anycastd run"),
    System(
        "anycastd-self-test",
        "anycastd self-test",
        _anycastd("anycastd-self-test.yaml"),
        "anycastd run",
    ),
    System(
        "anycastd-fast",
        "anycastd fast",
        _anycastd("anycastd-fast.yaml", bfd=True),
        "anycastd run",
        haproxy=FAST,
        host="BFD 0.3 s",
    ),
)


class Running:
    """A system that runs in both regions; a context manager, which waits until it is steady."""

    def __init__(self, network: Network, system: System, *, shipped_return: bool = False) -> None:
        self.network, self.system = network, system
        self.sites = [Site(network, each, shipped_return=shipped_return) for each in REGIONS]
        self.a, self.b = self.sites

    def __enter__(self) -> Self:
        nodes = self.network.nodes
        for site in self.sites:
            nodes.run(site.node, "ip", "address", "replace", f"{VIP}/32", "dev", "lo")
            site.prepare_haproxy(self.system.haproxy)
        if self.system.vrrp:
            nodes.run("edge", "ip", "route", "replace", f"{VIP}/32", "dev", "vrrp")
        for site in self.sites:
            self.system.start(site)
        return self

    def __exit__(self, *_: object) -> None:
        for site in self.sites:
            site.end()
            # A session that a cut has held up may outlive its speaker, and so may its route.
            self.network.ask_bird(site.region.node("rs"), "restart", "nva")
        wait_for(lambda: not self._list_hops(), 60, "the routes of what was ended to go", 0.05)
        if self.system.vrrp:
            self.network.nodes.run("edge", "ip", "route", "del", f"{VIP}/32", "dev", "vrrp")

    def is_steady(self) -> bool:
        """Return whether both regions announce the VIP as long as all is well."""
        network = self.network
        if self.system.vrrp:
            ask = ("ip", "-o", "address", "show", "dev", "vrrp")
            return VIP in network.nodes.run(self.a.node, *ask)
        text = network.ask_bird("edge", "show", "route", f"{VIP}/32", "all")
        paths = re.findall(r"BGP.as_path: 65515 (.*)", text)
        return sorted(paths) == sorted(site.values["AS_PATH"] for site in self.sites)

    def _list_hops(self) -> list[str]:
        rows = self.network.ask_bird("edge", "show", "route", f"{VIP}/32").splitlines()
        return [line for line in rows if "via 192.0.2." in line]

    def find_checker(self) -> list[int]:
        """Return the pids of the first region's checker (of keepalived: its VRRP process)."""
        found = self.a.find_pids(self.system.checker)
        return found[1:] if self.system.vrrp else found[:1]

    def describe(self) -> str:
        """Return what is known of a system that is not steady."""
        rows = self.network.ask_bird("edge", "show", "route", "all")
        logs = [
            f"--- {each.log.name}\n"
            + "\n".join(each.log.read_text(errors="replace").splitlines()[-12:])
            for site in self.sites
            for each in site.programs
        ]
        return "\n".join([rows, *logs])
