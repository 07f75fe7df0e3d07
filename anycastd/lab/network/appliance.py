"""One region's NVA as it is installed: HAProxy, speaker and agent, and the web servers behind it.

Speaker and agent are started again whenever they end, as their systemd units have it; HAProxy and
the web servers stay dead until somebody starts them.
"""

from __future__ import annotations

import json
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
from anycastd.lab.network.topology import VIP, Region
from anycastd.lab.programs.web_server import READY

PYTHON = (sys.executable, "-m")


@dataclass(frozen=True, slots=True)
class Settings:
    """What may differ from the shipped form.

    ``program`` and ``speaker`` are the commands before `run` and `speaker`; ``profiles`` (region
    name -> file) and ``haproxy_file`` replace the shipped files; ``back`` are the return timers
    (None: the profile's own), ``drain`` the times of a drain, likewise; ``fast`` selects the fast
    block of the HAProxy file; with ``weights`` the MSEE prefers the first region's circuit by a
    weight, whatever the paths are.
    """

    program: tuple[str, ...] = (*PYTHON, "anycastd")
    speaker: tuple[str, ...] = (*PYTHON, "anycastd")
    haproxy: str = "haproxy"
    fast: bool = False
    back: Mapping[str, float] | None = None
    drain: Mapping[str, float] | None = None
    profiles: Mapping[str, Path] | None = None
    haproxy_file: Path | None = None
    weights: bool = False


class Appliance:
    """An NVA and its region's web servers; ``run`` is its /run, with everything's sockets.

    ``prepends`` are its profile's, by level.
    """

    def __init__(self, nodes: Nodes, region: Region, settings: Settings) -> None:
        self.region = region
        self.node = region.node("nva")
        self.run = nodes.directory / region.name
        self.profile = self.run / "profile.yaml"
        self.haproxy_config = self.run / "haproxy.cfg"
        self.haproxy_socket = self.run / "haproxy" / "anycastd.sock"
        self.agent_directory = self.run / "agent"
        self.speaker_directory = self.run / "speaker"
        self.prepends: dict[str, int] = {}
        self.backends: dict[str, Process] = {}
        self.haproxy: Process | None = None
        self.speaker: Process | None = None
        self.agent: Process | None = None
        self._nodes = nodes
        self._settings = settings

    @property
    def socket(self) -> str:
        """HAProxy's stats socket, as its configuration and the profile have it."""
        return str(self.haproxy_socket)

    def prepare(self) -> None:
        """Write the profile and the HAProxy file, and put the VIP on the loopback.

        On a real NVA a unit of its own does the last before HAProxy starts.
        """
        for directory in (self.haproxy_socket.parent, self.agent_directory, self.speaker_directory):
            directory.mkdir(parents=True)
        settings = self._settings
        chosen = (settings.profiles or {}).get(self.region.name)
        text = (chosen or shipped_files.shipped(f"profiles/{self.region.profile}")).read_text(
            encoding="utf-8"
        )
        socket = self.socket
        filled = adapt.profile(text, self.region, socket, settings.back, settings.drain)
        self.profile.write_text(filled, encoding="utf-8")
        (service,) = yaml.safe_load(filled)["services"].values()
        self.prepends = {  # what is not written is as docs/profile.md says
            "preferred": service.get("prepend", 0),
            "degraded": service.get("degraded", {}).get("prepend", 3),
            "standby": service.get("standby", {}).get("prepend", 6),
        }
        text = (settings.haproxy_file or shipped_files.shipped("haproxy/haproxy.cfg")).read_text(
            encoding="utf-8"
        )
        self.haproxy_config.write_text(
            adapt.haproxy(text, self.region, socket, fast=settings.fast), encoding="utf-8"
        )
        Path(adapt.maintenance_map(socket)).touch()
        self._nodes.run(self.node, "ip", "address", "add", f"{VIP}/32", "dev", "lo")

    def start_backends(self) -> None:
        """Start those of the two web servers that are not running."""
        for number, address in enumerate(self.region.web, 1):
            name = f"{self.region.short}-web{number}"
            running = self.backends.get(name)
            if running is None or running.pid is None:
                argv = (*PYTHON, "anycastd.lab.programs.web_server", address, self.region.name)
                self.backends[name] = self._nodes.start(
                    self.region.node("web"),
                    name,
                    *argv,
                    self.region.title,
                    name,
                )

    def backends_ready(self) -> bool:
        """Return whether every web server listens."""
        return all(
            READY in process.log.read_text(encoding="utf-8") for process in self.backends.values()
        )

    def start_haproxy(self) -> None:
        """Start HAProxy, master and worker; raises LabError when it refuses its configuration."""
        argv = (self._settings.haproxy, "-W", "-f", str(self.haproxy_config))
        self._nodes.run(self.node, self._settings.haproxy, "-c", "-f", str(self.haproxy_config))
        self.haproxy = self._nodes.start(self.node, "haproxy", *argv)

    def start_speaker(self) -> None:
        """Start the speaker, which becomes ExaBGP."""
        self.speaker = self._nodes.start(
            self.node,
            "speaker",
            *self._settings.speaker,
            *("speaker", "--profile", str(self.profile)),
            *("--directory", str(self.speaker_directory)),
            again=True,
        )

    def start_agent(self) -> None:
        """Start the agent, with the speaker's lease."""
        self.agent = self._nodes.start(
            self.node,
            "agent",
            *self._settings.program,
            *("run", "--profile", str(self.profile)),
            *("--lease", str(self.speaker_directory / "lease.sock")),
            *("--directory", str(self.agent_directory)),
            *("--state", str(self.run / "state")),
            again=True,
        )

    def status_command(self) -> tuple[str, ...]:
        """Return the command that asks the agent how it is."""
        return (*self._settings.program, "status", "--directory", str(self.agent_directory))

    def status(self) -> dict[str, Any] | None:
        """Return what `anycastd status --json` says; None while no agent answers."""
        argv = (*self.status_command(), "--json")
        done = self._nodes.ask(self.node, *argv)
        try:
            said = json.loads(done.stdout)
        except ValueError:
            return None
        return said if isinstance(said, dict) else None

    def command(self, name: str, *options: str) -> subprocess.CompletedProcess[str]:
        """Give the agent a command, as an operator on the NVA would, and wait for its end."""
        where = ("--directory", str(self.agent_directory))
        return self._nodes.ask(self.node, *self._settings.program, name, *options, *where)

    def explanation(self) -> dict[str, Any]:
        """Return what `anycastd explain --json` says of the service; empty if no agent answers."""
        try:
            said = json.loads(self.command("explain", "--json").stdout)
        except ValueError:
            return {}
        return dict(next(iter(said["services"].values())))

    def tell_haproxy(self, command: str) -> None:
        """Say something on HAProxy's socket for administrators; raises LabError if it objects."""
        admin = HAProxy(socket_file=adapt.admin_socket(self.socket))
        words = "\n".join(line for _, lines in admin.command(command) for line in lines).strip()
        if words:
            raise LabError(f"{self.node}: HAProxy answers '{command}' with: {words}")

    def inventory(self) -> dict[str, dict[str, str]]:
        """Return HAProxy's backends by its own word: name -> server -> status."""
        admin = HAProxy(socket_file=self.socket)
        return {
            backend.name: {server.name: server.status for server in backend.servers()}
            for backend in admin.backends()
        }

    def last_words(self) -> str:
        """Return the last lines of the logs of agent, speaker and HAProxy."""
        processes = [one for one in (self.agent, self.speaker, self.haproxy) if one]
        return "\n".join(f"--- {one.name}\n{one.last_words()}" for one in processes)
