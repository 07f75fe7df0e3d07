"""Whole Debian systems, systemd as PID 1, in the nodes of the rehearsal network."""

from __future__ import annotations

import contextlib
import secrets
import subprocess
from pathlib import Path

from anycastd.lab.network.namespaces import Nodes, Process, descendant_pids
from support.peer import wait_for

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


def build(out: Path, *version: str, tree: Path = ROOT) -> list[Path]:
    """Build the packages of a tree and return them; raises AssertionError."""
    argv = [str(tree / "packaging" / "build.sh"), str(out), *version]
    done = subprocess.run(argv, capture_output=True, encoding="utf-8", timeout=300, check=False)
    assert not done.returncode, done.stderr
    return [out / Path(line).name for line in done.stdout.splitlines()]


def bases(suites: set[str], packages: list[Path]) -> dict[str, Path]:
    """Make the systems to boot, those that are not there yet; raises AssertionError."""
    made = {}
    for suite in sorted(suites):
        where = ROOT / "build" / "package-test" / suite
        argv = ["sh", str(HERE / "base.sh"), suite, str(where), *map(str, packages)]
        done = subprocess.run(argv, capture_output=True, encoding="utf-8", timeout=900, check=False)
        assert not done.returncode, f"no {suite} system to boot:\n{done.stderr}"
        made[suite] = where / "root"
    return made


class System:
    """A Debian system in a node; what it writes goes with it."""

    def __init__(self, nodes: Nodes, node: str, suite: str, base: Path) -> None:
        self.node = node
        self.suite = suite
        self._nodes = nodes
        self._base = base
        self._name = f"{node}-{secrets.token_hex(4)}"
        self._process: Process | None = None
        self._first = 0

    def boot(self) -> None:
        """Start it; ``up`` waits for it."""
        argv = ("sh", str(HERE / "boot.sh"), "boot", self._name, str(self._base))
        # Where it keeps what it writes goes with the nodes' directory.
        where = {"TMPDIR": str(self._nodes.directory)}
        self._process = self._nodes.start(self.node, "system", *argv, environment=where)

    def up(self, within: float = 60) -> None:
        """Wait until everything that starts at boot has started."""

        def running() -> bool:
            process = self._process
            assert process is not None
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0)
                raise AssertionError(
                    "this machine does not let us boot a Debian system in namespaces, so the "
                    "packages cannot be tested here; it takes root, cgroup2 and overlayfs:\n"
                    + process.log_tail()
                )
            first = self.first()
            if not first or first == self._gone:
                return False
            # `--wait` would be right, were there not a moment at which nobody answers.
            said = self.ask("systemctl", "is-system-running").stdout.strip()
            return said in {"running", "degraded"}

        wait_for(running, within, f"{self.node} ({self.suite}) to boot")
        self._first = self.first()

    _gone = 0

    def reboot(self) -> None:
        """Shut it down as an operator does, and have it start again; ``up`` waits for that."""
        self._gone = self.first()
        self.ask("systemctl", "reboot")

    def first(self) -> int:
        """Return its first process's id as seen from outside; 0 where there is none."""
        process = self._process
        pid = process.pid if process else None
        for child in descendant_pids(pid) if pid else ():
            try:
                status = Path(f"/proc/{child}/status").read_text(encoding="utf-8")
            except OSError:
                continue
            words = dict(line.split(":", 1) for line in status.splitlines())
            # The shell that makes the namespaces is its first process as well, but not for long.
            if words["NSpid"].split()[-1] == "1" and words["Name"].strip() == "systemd":
                return child
        return 0

    def enter(self, *argv: str) -> list[str]:
        """Return the command that runs ``argv`` in it."""
        into = ("-m", "-u", "-i", "-n", "-p", "-C", "-r", "-w")
        clean = ("env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8", "HOME=/root")
        return ["nsenter", "-t", str(self.first()), *into, *clean, *argv]

    def ask(
        self, *argv: str, text: str = "", within: float = 60
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in it; what it says on either way out is in ``stdout``."""
        return subprocess.run(
            self.enter(*argv),
            input=text,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            timeout=within,
            check=False,
        )

    def run(self, script: str, within: float = 120) -> str:
        """Run a shell's lines in it and return what they say; AssertionError where one fails."""
        done = self.ask("sh", "-eu", "-c", script, within=within)
        assert not done.returncode, f"{self.node}: {script}\n({done.returncode}) {done.stdout}"
        return done.stdout.strip()

    def write(self, path: str, text: str) -> None:
        """Replace a file's content."""
        done = self.ask("sh", "-c", 'cat >"$1"', "sh", path, text=text)
        assert not done.returncode, done.stdout

    def main_pid(self, unit: str) -> int:
        """Return the id of a unit's main process inside, 0 while there is none."""
        return int(self.run(f"systemctl show --property MainPID --value {unit}"))

    def state(self, unit: str) -> str:
        """Return a unit's state: active, inactive, failed, activating..."""
        return self.run(f"systemctl show --property ActiveState --value {unit}")

    def journal(self) -> str:
        """Return what our units wrote, for the message of a test that fails."""
        return self.ask("journalctl", "--no-pager", "-q", "-u", "anycastd*", "-n", "60").stdout

    def sweep(self) -> None:
        """Remove what the kernel keeps of it once it is gone."""
        subprocess.run(["sh", str(HERE / "boot.sh"), "sweep", self._name], check=False)
