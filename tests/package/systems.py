"""Whole Debian systems with systemd as PID 1, in the nodes of the rehearsal network."""

from __future__ import annotations

import contextlib
import secrets
import subprocess
import tempfile
from pathlib import Path

from anycastd.lab.network.namespaces import Nodes, Process
from anycastd.lab.network.process_tree import descendant_pids
from support.peer import wait_for

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


def build_packages(out: Path, *version: str, tree: Path = ROOT) -> list[Path]:
    """Build the packages of a source tree and return their paths; raises AssertionError."""
    argv = [str(tree / "packaging" / "build.sh"), str(out), *version]
    done = subprocess.run(argv, capture_output=True, encoding="utf-8", timeout=300, check=False)
    assert not done.returncode, done.stderr
    return [out / Path(line).name for line in done.stdout.splitlines()]


FIRST_PACKAGE = "e2d7b46"
"""A commit of 0.1.0, the release whose package has one user for the agent and the speaker."""


def build_first_package(out: Path) -> Path | None:
    """Build the first package, as version 0.0.9; None without the history of this checkout.

    Raises AssertionError.
    """
    git = ["git", "-c", f"safe.directory={ROOT}", "-C", str(ROOT), "archive", FIRST_PACKAGE]
    archive = subprocess.run(git, capture_output=True, check=False)
    if archive.returncode:
        return None
    with tempfile.TemporaryDirectory() as directory:  # outside of this checkout
        tree = Path(directory)
        subprocess.run(["tar", "-x", "-C", str(tree)], input=archive.stdout, check=True)
        (tree / "build").mkdir()
        for name in (".venv", "build/vendor"):
            (tree / name).symlink_to(ROOT / name)
        build_packages(out, "0.0.9", tree=tree)
    return out / "anycastd_0.0.9_all.deb"


def make_base_systems(suites: set[str], packages: list[Path]) -> dict[str, Path]:
    """Make the base systems that do not exist yet; return suite -> root directory.

    Raises AssertionError.
    """
    made = {}
    for suite in sorted(suites):
        where = ROOT / "build" / "package-test" / suite
        argv = ["sh", str(HERE / "base.sh"), suite, str(where), *map(str, packages)]
        done = subprocess.run(argv, capture_output=True, encoding="utf-8", timeout=900, check=False)
        assert not done.returncode, f"no {suite} system to boot:\n{done.stderr}"
        made[suite] = where / "root"
    return made


class System:
    """A Debian system in a node; everything that it writes is removed with it."""

    def __init__(self, nodes: Nodes, node: str, suite: str, base: Path) -> None:
        self.node = node
        self.suite = suite
        self._nodes = nodes
        self._base = base
        self._name = f"{node}-{secrets.token_hex(4)}"
        self._process: Process | None = None
        self._pid_before_reboot = 0

    def boot(self) -> None:
        """Start to boot it; ``up`` waits until it has booted."""
        argv = ("sh", str(HERE / "boot.sh"), "boot", self._name, str(self._base))
        # What it writes is removed with the nodes' directory.
        where = {"TMPDIR": str(self._nodes.directory)}
        self._process = self._nodes.start(self.node, "system", *argv, environment=where)

    def up(self, timeout: float = 60) -> None:
        """Wait until it has booted and started everything that starts at boot."""

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
            first = self.first_pid()
            if not first or first == self._pid_before_reboot:
                return False
            # Not with `--wait`, which fails while systemd does not answer yet.
            state = self.try_run("systemctl", "is-system-running").stdout.strip()
            return state in {"running", "degraded"}

        wait_for(running, timeout, f"{self.node} ({self.suite}) to boot")

    def reboot(self) -> None:
        """Reboot it, as an operator does; ``up`` waits until it has booted again."""
        self._pid_before_reboot = self.first_pid()
        self.try_run("systemctl", "reboot")

    def first_pid(self) -> int:
        """Return the PID of its first process in our own PID namespace; 0 if it does not run."""
        process = self._process
        pid = process.pid if process else None
        for child in descendant_pids(pid) if pid else ():
            try:
                status = Path(f"/proc/{child}/status").read_text(encoding="utf-8")
            except OSError:
                continue
            fields = dict(line.split(":", 1) for line in status.splitlines())
            # At first the shell that makes the namespaces is the first process.
            if fields["NSpid"].split()[-1] == "1" and fields["Name"].strip() == "systemd":
                return child
        return 0

    def enter(self, *argv: str) -> list[str]:
        """Return the command that runs ``argv`` in it."""
        into = ("-m", "-u", "-i", "-n", "-p", "-C", "-r", "-w")
        clean = ("env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8", "HOME=/root")
        return ["nsenter", "-t", str(self.first_pid()), *into, *clean, *argv]

    def try_run(
        self, *argv: str, text: str = "", timeout: float = 60
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in it, whatever its exit status; ``stdout`` has both of its outputs."""
        return subprocess.run(
            self.enter(*argv),
            input=text,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            timeout=timeout,
            check=False,
        )

    def run(self, script: str, timeout: float = 120) -> str:
        """Run a shell script in it and return its output; raises AssertionError if a line fails."""
        done = self.try_run("sh", "-eu", "-c", script, timeout=timeout)
        assert not done.returncode, f"{self.node}: {script}\n({done.returncode}) {done.stdout}"
        return done.stdout.strip()

    def write(self, path: str, text: str) -> None:
        """Replace a file's content."""
        done = self.try_run("sh", "-c", 'cat >"$1"', "sh", path, text=text)
        assert not done.returncode, done.stdout

    def main_pid(self, unit: str) -> int:
        """Return the PID of a unit's main process inside the system; 0 while there is none."""
        return int(self.run(f"systemctl show --property MainPID --value {unit}"))

    def state(self, unit: str) -> str:
        """Return a unit's state: active, inactive, failed, activating..."""
        return self.run(f"systemctl show --property ActiveState --value {unit}")

    def journal(self) -> str:
        """Return the last journal lines of our units, for the message of a failed test."""
        return self.try_run("journalctl", "--no-pager", "-q", "-u", "anycastd*", "-n", "60").stdout

    def sweep(self) -> None:
        """Remove its cgroups after its end."""
        subprocess.run(["sh", str(HERE / "boot.sh"), "sweep", self._name], check=False)
