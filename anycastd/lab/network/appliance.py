"""One appliance (NVA) as installed: HAProxy, speaker and agent; and the web servers behind it.

Speaker and agent are restarted whenever they end, as by their systemd units.  HAProxy and the web
servers are not restarted.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from haproxyadmin.haproxy import HAProxy

from anycastd.lab.network import adapt, shipped_files
from anycastd.lab.network.namespaces import LabError, Nodes, Process
from anycastd.lab.network.topology import Site, Topology
from anycastd.lab.programs.web_server import READY

PYTHON = (sys.executable, "-m")
"""Beginning of a command line that runs a module."""


@dataclass(frozen=True, slots=True)
class LabSettings:
    """The settings of a lab: where it differs from what is shipped.

    ``program`` and ``speaker`` are the commands to which `run` and `speaker` are appended.
    ``profiles`` (site name -> file) and ``haproxy_file`` replace the shipped files.
    ``return_timers`` and ``drain_times`` (s) replace those of the profile; None keeps them.
    ``fast`` selects the fast block of the HAProxy file.
    """

    program: tuple[str, ...] = (*PYTHON, "anycastd")
    speaker: tuple[str, ...] = (*PYTHON, "anycastd")
    haproxy: str = "haproxy"
    fast: bool = False
    return_timers: Mapping[str, float] | None = None
    drain_times: Mapping[str, float] | None = None
    profiles: Mapping[str, Path] | None = None
    haproxy_file: Path | None = None


class Appliance:
    """An appliance (NVA) and the web servers behind it.

    ``run_directory`` stands for the NVA's /run and holds all sockets.  ``prepends`` are those of
    its profile: level -> number of prepended ASNs.  Methods that run a command on the NVA raise
    LabError where it takes longer than 30 s.
    """

    def __init__(self, nodes: Nodes, site: Site, settings: LabSettings, topology: Topology) -> None:
        self.site = site
        self.node = site.host
        self.run_directory = nodes.directory / site.name
        self.profile = self.run_directory / "profile.yaml"
        self.haproxy_config = self.run_directory / "haproxy.cfg"
        self.haproxy_socket = self.run_directory / "haproxy" / "anycastd.sock"
        self.agent_directory = self.run_directory / "agent"
        self.speaker_directory = self.run_directory / "speaker"
        self.prepends: dict[str, int] = {}
        self.web_servers: dict[str, Process] = {}
        self.haproxy: Process | None = None
        self.speaker: Process | None = None
        self.agent: Process | None = None
        self.bfd: Process | None = None
        self._nodes = nodes
        self._topology = topology
        self._settings = settings

    @property
    def socket(self) -> str:
        """Return the path of HAProxy's stats socket, as in its configuration and in the profile."""
        return str(self.haproxy_socket)

    def prepare(self) -> None:
        """Write the profile and the HAProxy file, and add the VIP to the loopback.

        On a real NVA anycastd-vip.service adds the VIP before HAProxy starts.

        Raises LabError where a file does not fit the lab or the VIP cannot be added,
        MissingFileError where a shipped file is not found, OSError where one cannot be read or
        written.
        """
        for directory in (self.haproxy_socket.parent, self.agent_directory, self.speaker_directory):
            directory.mkdir(parents=True)
        chosen = (self._settings.profiles or {}).get(self.site.name)
        self.write_profile(chosen or shipped_files.find_shipped(f"profiles/{self.site.profile}"))
        if self.site.haproxy:
            self._write_haproxy_file()
        if self.site.vip_port:
            vip = f"{self._topology.vip}/{128 if ':' in self._topology.vip else 32}"
            self._nodes.run(self.node, "ip", "address", "add", vip, "dev", self.site.vip_port)

    def write_profile(self, file: Path) -> None:
        """Write a shipped profile with this site's addresses; a running agent has to be told.

        Raises LabError where the profile does not fit the lab, OSError where it cannot be read.
        """
        settings = self._settings
        filled = adapt.adapt_profile(
            file.read_text(encoding="utf-8"),
            self.site,
            self.socket,
            settings.return_timers,
            settings.drain_times,
            sites=self._topology.sites,
            vip=self._topology.vip,
        )
        self.profile.write_text(filled, encoding="utf-8")
        (service,) = yaml.safe_load(filled)["services"].values()
        self.prepends = {  # defaults as in docs/profile.md
            "preferred": service.get("prepend", 0),
            "degraded": service.get("degraded", {}).get("prepend", 3),
            "standby": service.get("standby", {}).get("prepend", 6),
        }

    def _write_haproxy_file(self) -> None:
        settings = self._settings
        text = (
            settings.haproxy_file or shipped_files.find_shipped("haproxy/haproxy.cfg")
        ).read_text(encoding="utf-8")
        adapted = adapt.adapt_haproxy_file(text, self.site, self.socket, fast=settings.fast)
        self.haproxy_config.write_text(adapted, encoding="utf-8")
        Path(adapt.maintenance_map(self.socket)).touch()

    def start_web_servers(self) -> None:
        """Start the web servers that are not running."""
        for number, address in enumerate(self.site.web, 1):
            name = f"{self.site.short}-web{number}"
            running = self.web_servers.get(name)
            if running is None or running.pid is None:
                argv = (*PYTHON, "anycastd.lab.programs.web_server", address, self.site.name)
                self.web_servers[name] = self._nodes.start(
                    self.site.web_host,
                    name,
                    *argv,
                    self.site.title,
                    name,
                )

    def web_servers_ready(self) -> bool:
        """Return whether every web server that was started accepts connections."""
        return all(
            READY in process.log.read_text(encoding="utf-8")
            for process in self.web_servers.values()
        )

    def start_haproxy(self) -> None:
        """Start HAProxy, master and worker, if the site has one.

        Raises LabError if it rejects its configuration.
        """
        if not self.site.haproxy:
            return
        argv = (self._settings.haproxy, "-W", "-f", str(self.haproxy_config))
        self._nodes.run(self.node, self._settings.haproxy, "-c", "-f", str(self.haproxy_config))
        self.haproxy = self._nodes.start(self.node, "haproxy", *argv)

    def start_speaker(self) -> None:
        """Start the speaker (ExaBGP and the lease process)."""
        self.speaker = self._nodes.start(
            self.node,
            "speaker",
            *self._settings.speaker,
            *("speaker", "--profile", str(self.profile)),
            *("--directory", str(self.speaker_directory)),
            restart=True,
        )

    def start_bfd(self) -> None:
        """Start the BFD sidecar, if the site has one; before the speaker, as its unit does."""
        if self.site.bfd:
            directory = self.run_directory / "bfd"
            argv = ("bfd", "--profile", str(self.profile), "--directory", str(directory))
            self.bfd = self._nodes.start(
                self.node, "bfd", *self._settings.program, *argv, restart=True
            )

    def start_agent(self) -> None:
        """Start the agent, connected to the speaker's lease socket."""
        self.agent = self._nodes.start(
            self.node,
            "agent",
            *self._settings.program,
            *("run", "--profile", str(self.profile)),
            *("--lease", str(self.speaker_directory / "lease.sock")),
            *("--directory", str(self.agent_directory)),
            *("--state", str(self.run_directory / "state")),
            restart=True,
        )

    def status_command(self) -> tuple[str, ...]:
        """Return the command `anycastd status` for this agent."""
        return (*self._settings.program, "status", "--directory", str(self.agent_directory))

    def status(self) -> dict[str, Any] | None:
        """Return the JSON of `anycastd status` (docs/status.md); None while no agent answers."""
        argv = (*self.status_command(), "--json")
        done = self._nodes.try_run(self.node, *argv)
        try:
            answer = json.loads(done.stdout)
        except ValueError:
            return None
        return answer if isinstance(answer, dict) else None

    def build_command(self, name: str, *options: str) -> tuple[str, ...]:
        """Return an `anycastd` command for this agent, or for its profile (`check`)."""
        program = self._settings.program
        if name == "check":
            return (*program, name, *options, str(self.profile))
        return (*program, name, *options, "--directory", str(self.agent_directory))

    def write_script(self) -> Path:
        """Write a short script, like `ne`, that runs an `anycastd` command for this agent."""
        script = self._nodes.directory / self.site.short
        program = shlex.join(self._settings.program)
        script.write_text(
            f"#!/bin/sh\n# usage: {script} COMMAND [OPTION...]\n"
            f'exec "{self._nodes.directory}/in" {self.node} {program} "$@" '
            f'--directory "{self.agent_directory}"\n',
            encoding="utf-8",
        )
        script.chmod(0o755)
        return script

    def run_command(self, name: str, *options: str) -> subprocess.CompletedProcess[str]:
        """Run an `anycastd` command on the NVA, as an operator would, and wait for its end."""
        return self._nodes.try_run(self.node, *self.build_command(name, *options))

    def read_explain(self) -> dict[str, Any]:
        """Return the service's part of `anycastd explain --json`; empty if no agent answers."""
        try:
            answer = json.loads(self.run_command("explain", "--json").stdout)
        except ValueError:
            return {}
        return dict(next(iter(answer["services"].values())))

    def read_history(self) -> list[dict[str, Any]]:
        """Return the events of `anycastd history --json`, one a line; empty if it gives none."""
        try:
            lines = self.run_command("history", "--json").stdout.splitlines()
            return [event for event in map(json.loads, lines) if isinstance(event, dict)]
        except ValueError:
            return []

    def send_to_haproxy(self, command: str) -> None:
        """Send a command to HAProxy's admin socket (HAProxy's management guide, section 9.3).

        Raises LabError if the answer is not empty, ValueError or haproxyadmin's HAProxySocketError
        if HAProxy does not answer.
        """
        admin = HAProxy(socket_file=adapt.admin_socket(self.socket))
        answer = "\n".join(line for _, lines in admin.command(command) for line in lines).strip()
        if answer:
            raise LabError(f"{self.node}: HAProxy answers '{command}' with: {answer}")

    def server_states(self) -> dict[str, dict[str, str]]:
        """Return the server states that HAProxy reports: backend -> server -> status.

        Empty without HAProxy.
        Raises ValueError or haproxyadmin's HAProxySocketError if HAProxy does not answer.
        """
        if not self.site.haproxy:
            return {}
        admin = HAProxy(socket_file=self.socket)
        return {
            backend.name: {server.name: server.status for server in backend.servers()}
            for backend in admin.backends()
        }

    def log_tails(self) -> str:
        """Return the last lines of the logs of agent, speaker and HAProxy, as one text."""
        processes = [one for one in (self.agent, self.speaker, self.haproxy) if one]
        return "\n".join(f"--- {one.name}\n{one.log_tail()}" for one in processes)
