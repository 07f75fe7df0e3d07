"""A prompt in a lab that stays up: look at it, break it, and see what follows."""

from __future__ import annotations

import cmd
import contextlib
import shlex
import subprocess
import time
from collections.abc import Callable
from typing import TextIO

from anycastd.lab.network.appliance import Appliance
from anycastd.lab.network.faults import kill_processes
from anycastd.lab.network.lab import Lab
from anycastd.lab.network.namespaces import LabError, Process
from anycastd.lab.network.outage import count_by_server
from anycastd.lab.network.topology import Topology
from anycastd.lab.stories.live import SLOT, LiveView, describe_letters, draw_strip
from anycastd.lab.stories.report import TextReport

_HELP = """\
{commands}
  table              the routes of the far router; * is the one that is used
  client             who answered the client in the last seconds
  watch              both of them as they change, until Ctrl-C
  kill WHAT          {programs}; `kill {second} {what}`
                     kills in {title}
  start WHAT         {starts}; agent and speaker come back by themselves
  in NODE [COMMAND]  a command or a shell in a node: in {observed} ip route
  nodes              the picture of the nodes
  quit               take everything down (or Ctrl-D)

Try: watch, Ctrl-C, kill {what}, watch, Ctrl-C, {first} status, start {what}, watch
"""
_CLIENT_SECONDS = 6.0


def build_help(topology: Topology) -> str:
    """Return the commands of the prompt in a network, as text."""
    first, *more = topology.sites
    short = first.short
    commands = [
        f"  {f'{short} COMMAND ...':<19}an `anycastd` command in {first.title}: {short} status,",
        f"{'':21}{short} explain web, {short} drain --reason test, {short} undrain",
        *(f"  {f'{site.short} COMMAND ...':<19}one in {site.title}" for site in more),
    ]
    webs = "web (both), web1, " if len(first.web) > 1 else "web, " if first.web else ""
    second = more[0] if more else first
    return _HELP.format(
        commands="\n".join(commands),
        programs=f"{webs}{'haproxy, ' if first.haproxy else ''}agent or speaker",
        starts=" or ".join([*["web"][: len(first.web)], *["haproxy"][: first.haproxy]])
        or "nothing",
        what="web" if first.web else "speaker",
        first=short,
        second=second.short,
        title=second.title,
        observed=topology.observed,
    )


class LabShell(cmd.Cmd):
    """The prompt of a lab; it ends with `quit` or the end of the input."""

    prompt = "lab> "

    def __init__(self, lab: Lab, report: TextReport, view: LiveView, stdin: TextIO) -> None:
        super().__init__(stdin=stdin)
        # Without a terminal there is nothing to edit, and the input is read as it comes.
        self.use_rawinput = stdin.isatty()
        self._is_terminal = stdin.isatty()
        if not self._is_terminal:
            self.prompt = ""
        self._lab = lab
        self._help = build_help(lab.topology)
        self._sites = {site.short: site.name for site in lab.topology.sites}
        self._report = report
        self._view = view

    def run(self) -> None:
        """Read commands and carry them out until the end; Ctrl-C ends a command only."""
        self._report.write_line(self._help)
        while True:
            try:
                self.cmdloop()
            except KeyboardInterrupt:
                self._view.clear()
                self._report.write_line()
            else:
                return

    def onecmd(self, line: str) -> bool:
        """Carry out one line; what fails is told, and the prompt goes on."""
        try:
            return bool(super().onecmd("EOF" if line == "EOF" else line))
        except TimeoutError:
            self._report.write_line("it does not answer: was it frozen?")
            return False
        except (LabError, OSError, ValueError) as error:
            self._report.write_line(f"{error}")
            return False

    def emptyline(self) -> bool:
        """Do nothing for an empty line."""
        return False

    def default(self, line: str) -> None:
        """Run an `anycastd` command at a site, or tell what there is."""
        name, _, rest = line.partition(" ")
        if name in self._sites:
            self._run_command(name, rest)
        else:
            self._report.write_line(f"there is no command {name}; `help` lists all")

    def do_help(self, _: str) -> None:
        """List the commands."""
        self._report.write_line(self._help)

    def do_nodes(self, _: str) -> None:
        """Show the picture of the nodes."""
        self._report.write_line(self._lab.topology.picture)

    def _run_command(self, short: str, line: str) -> None:
        appliance = self._appliance(short)
        words = shlex.split(line) or ["status"]
        self._run_in(appliance.node, *appliance.build_command(*words))

    def do_in(self, line: str) -> None:
        """Run a command in a node."""
        node, *command = shlex.split(line) or [""]
        if node not in self._lab.nodes.names:
            names = " ".join(self._lab.nodes.names)
            raise LabError(f"there is no node {node or 'without a name'}; there are: {names}")
        self._run_in(node, *(command or ["sh"]))

    def _run_in(self, node: str, *argv: str) -> None:
        """Run a program in a node, on this terminal, until it ends."""
        nodes = self._lab.nodes
        stdin = None if self._is_terminal else subprocess.DEVNULL
        command = nodes.command_in(node, *argv)
        with contextlib.suppress(KeyboardInterrupt):
            subprocess.run(command, stdin=stdin, cwd="/", env=nodes.environment, check=False)

    def do_table(self, _: str) -> None:
        """Show the far router's routes."""
        for row in self._lab.read_table():
            self._report.write_line(f"  {row.describe()}")
        if not self._lab.read_table():
            self._report.write_line("  no route to the VIP")

    def do_client(self, _: str) -> None:
        """Show who answered the client in the last seconds."""
        began_at = time.monotonic() - _CLIENT_SECONDS
        results = self._lab.client.results(began_at)
        sites = self._lab.topology.sites
        strip = draw_strip(results, began_at, round(_CLIENT_SECONDS / SLOT), sites)
        self._report.write_line(f"  {strip}  {describe_letters(sites)}")
        failed = sum(not result.ok for result in results)
        for who, number in (*count_by_server(results).items(), ("failed", failed)):
            self._report.write_line(f"    {number:>5}  {who}")

    def do_watch(self, line: str) -> None:
        """Show the client's answers and the far router's routes as they change."""
        if not self._is_terminal:
            raise LabError("watch needs a terminal; use client and table")
        ends_at = time.monotonic() + float(line or "inf")
        while time.monotonic() < ends_at:
            self._view.draw("Ctrl-C ends this")
            time.sleep(SLOT)
        self._view.clear()

    def do_kill(self, line: str) -> None:
        """Kill a program (SIGKILL)."""
        appliance, what = self._parse(line)
        kill_processes(self._find(appliance, what))
        self._report.write_line(f"  killed: {what} of {appliance.site.title}")

    def do_start(self, line: str) -> None:
        """Start web servers or HAProxy again."""
        appliance, what = self._parse(line)
        starts: dict[str, Callable[[], None]] = {
            "web": appliance.start_web_servers,
            "web1": appliance.start_web_servers,
            "web2": appliance.start_web_servers,
            "haproxy": appliance.start_haproxy,
        }
        if what not in starts:
            raise LabError("start web or haproxy; agent and speaker come back by themselves")
        if what == "haproxy" and appliance.haproxy is not None and appliance.haproxy.pid:
            raise LabError("HAProxy is running")
        starts[what]()
        self._report.write_line(f"  started: {what} of {appliance.site.title}")

    def do_quit(self, _: str) -> bool:
        """End the prompt; the network is removed."""
        return True

    do_exit = do_EOF = do_quit  # noqa: N815 - the name is that of the module cmd

    def _appliance(self, short: str) -> Appliance:
        return self._lab.appliances[self._sites[short]]

    def _parse(self, line: str) -> tuple[Appliance, str]:
        """Parse `[SITE] WHAT`; raises LabError for anything else."""
        words = line.split()
        short = words.pop(0) if words and words[0] in self._sites else self._lab.primary.site.short
        if len(words) != 1:
            raise LabError("say what: web1, web2, web, haproxy, agent or speaker")
        return self._appliance(short), words[0]

    def _find(self, appliance: Appliance, what: str) -> list[Process]:
        """Return the processes of a name; raises LabError where there is none."""
        webs = {name.partition("-")[2]: each for name, each in appliance.web_servers.items()}
        named = {
            "haproxy": appliance.haproxy,
            "agent": appliance.agent,
            "speaker": appliance.speaker,
            **webs,
        }
        found = [*webs.values()] if what == "web" else [named.get(what)]
        running = [each for each in found if each is not None and each.pid is not None]
        if not running:
            raise LabError(f"{what} is not running, or there is no such program to kill")
        return running
