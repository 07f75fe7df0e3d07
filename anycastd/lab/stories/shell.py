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
from anycastd.lab.network.topology import PICTURE, PRIMARY, REGIONS
from anycastd.lab.stories.live import KEY, SLOT, LiveView, draw_strip
from anycastd.lab.stories.report import TextReport

HELP = """\
  ne COMMAND ...     an `anycastd` command in North Europe: ne status,
                     ne explain web, ne drain --reason test, ne undrain
  we COMMAND ...     one in West Europe
  table              the routes of the far router; * is the one that is used
  client             who answered the client in the last seconds
  watch              both of them as they change, until Ctrl-C
  kill WHAT          web (both), web1, haproxy, agent or speaker; `kill we web`
                     kills in West Europe
  start WHAT         web or haproxy; agent and speaker come back by themselves
  in NODE [COMMAND]  a command or a shell in a node: in msee ip route
  nodes              the picture of the nodes
  quit               take everything down (or Ctrl-D)

Try: watch, Ctrl-C, kill web, watch, Ctrl-C, ne status, start web, watch
"""
"""The commands of the prompt."""
_REGIONS = {region.short: region for region in REGIONS}
_CLIENT_SECONDS = 6.0


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
        self._report = report
        self._view = view

    def run(self) -> None:
        """Read commands and carry them out until the end; Ctrl-C ends a command only."""
        self._report.write_line(HELP)
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
        """Tell what there is, for a command that there is not."""
        name = line.split(maxsplit=1)[0]
        self._report.write_line(f"there is no command {name}; `help` lists all")

    def do_help(self, _: str) -> None:
        """List the commands."""
        self._report.write_line(HELP)

    def do_nodes(self, _: str) -> None:
        """Show the picture of the nodes."""
        self._report.write_line(PICTURE)

    def do_ne(self, line: str) -> None:
        """Run an `anycastd` command in North Europe."""
        self._run_command("ne", line)

    def do_we(self, line: str) -> None:
        """Run an `anycastd` command in West Europe."""
        self._run_command("we", line)

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
        for row in self._lab.msee_table():
            self._report.write_line(f"  {row.describe()}")
        if not self._lab.msee_table():
            self._report.write_line("  no route to the VIP")

    def do_client(self, _: str) -> None:
        """Show who answered the client in the last seconds."""
        began_at = time.monotonic() - _CLIENT_SECONDS
        results = self._lab.client.results(began_at)
        strip = draw_strip(results, began_at, round(_CLIENT_SECONDS / SLOT))
        self._report.write_line(f"  {strip}  {KEY}")
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
        self._report.write_line(f"  killed: {what} of {appliance.region.title}")

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
        self._report.write_line(f"  started: {what} of {appliance.region.title}")

    def do_quit(self, _: str) -> bool:
        """End the prompt; the network is removed."""
        return True

    do_exit = do_EOF = do_quit  # noqa: N815 - the name is that of the module cmd

    def _appliance(self, short: str) -> Appliance:
        return self._lab.regions[_REGIONS[short].name]

    def _parse(self, line: str) -> tuple[Appliance, str]:
        """Parse `[ne|we] WHAT`; raises LabError for anything else."""
        words = line.split()
        short = words.pop(0) if words and words[0] in _REGIONS else PRIMARY.short
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
