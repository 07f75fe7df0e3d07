"""Nodes: network namespaces and the processes in them; all end with the process that made them.

Three processes make that so:

1. We start a shell (the outer script) that ignores the terminal's signals.
2. It starts `unshare` with a new PID namespace and a new mount namespace.  Each node's network
   namespace is kept by a bind mount on a file, in that mount namespace only.
3. The first process of the PID namespace (the inner script) reads a pipe from us.

When the pipe closes, because ``close`` was called or because our process ended for any reason, the
inner script ends.  The kernel then kills all other processes of the PID namespace, and the mounts
go with the mount namespace.  The outer script removes the directory at last.  Nothing has a global
name, so several labs can run side by side.
"""

from __future__ import annotations

import os
import secrets
import select
import shlex
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self, cast

from anycastd.lab.network import shipped_files
from anycastd.lab.network.process_tree import (
    child_pids,
    descendant_pids,
    end_process,
    has_ended,
    signal_all,
)

# Runs outside of the namespaces: removes the directory when everything inside has ended.
_OUTER_SCRIPT = """
trap '' HUP INT TERM
directory=$1
shift
unshare --mount --pid --fork --kill-child --propagation private \\
    sh -c "$INNER_SCRIPT" lab "$directory" "$@"
rm -rf "$directory"
"""
# First process of the PID namespace.  A shell, because it also has to reap orphans.
_INNER_SCRIPT = """
directory=$1
shift
read -r pid _ </proc/self/stat
mount -t proc proc /proc || exit 1
for node; do
    : >"$directory/net/$node"
    unshare --net="$directory/net/$node" ip link set lo up || exit 1
done
echo "$pid"
cat >/dev/null
"""
# About what systemd does with Restart=always.
_RESTART_LOOP = """
while :; do
    "$@"
    echo "lab: ended with status $?, started again in 10 ms"
    sleep 0.01
done
"""


EX_UNAVAILABLE, EX_SOFTWARE, EX_NOPERM, EX_CONFIG = 69, 70, 77, 78
"""Exit codes that the lab needs, as in ``system/exit_codes``: the lab imports nothing of ours."""


class LabError(Exception):
    """Something that the lab needs is missing or failed; ``code`` is the exit code for it."""

    def __init__(self, message: str, code: int = EX_SOFTWARE) -> None:
        super().__init__(message)
        self.code = code


class Process:
    """A program running in a node; its output goes to ``log``."""

    def __init__(
        self, name: str, popen: subprocess.Popen[bytes], log: Path, *, restarted: bool
    ) -> None:
        self.name = name
        self.log = log
        self._popen = popen
        self._restarted = restarted

    @property
    def pid(self) -> int | None:
        """Return the PID of the program in our own PID namespace; None while it is not running."""
        found = child_pids(self._popen.pid)
        if found and self._restarted:
            found = [pid for pid in child_pids(found[0]) if _command_name(pid) != "sleep"]
        return found[0] if found and not has_ended(found[0]) else None

    @property
    def pids(self) -> list[int]:
        """Return the PIDs of the program and of all that it started; empty if it does not run."""
        pid = self.pid
        return [] if pid is None else [pid, *descendant_pids(pid)]

    def kill(self) -> None:
        """Send SIGKILL to the program and everything it started."""
        signal_all(self.pids, signal.SIGKILL)

    def freeze(self) -> None:
        """Send SIGSTOP to the program and everything it started."""
        signal_all(self.pids, signal.SIGSTOP)

    def thaw(self) -> None:
        """Send SIGCONT to the program and everything it started."""
        # nsenter stops itself together with its child.
        signal_all([self._popen.pid, *self.pids], signal.SIGCONT)

    def terminate(self) -> None:
        """Send SIGTERM to the program alone."""
        pid = self.pid
        if pid is not None:
            signal_all([pid], signal.SIGTERM)

    def stop(self, timeout: float) -> None:
        """Send SIGTERM to the program and wait for its end; it is not started again.

        What has not ended after ``timeout`` seconds is killed.
        """
        pids = self.pids
        if self._restarted:
            signal_all(child_pids(self._popen.pid), signal.SIGKILL)
        signal_all(pids[:1], signal.SIGTERM)
        deadline = time.monotonic() + timeout
        while not all(has_ended(pid) for pid in pids):
            if time.monotonic() > deadline:
                signal_all(pids, signal.SIGKILL)
            time.sleep(0.002)

    def wait(self, timeout: float) -> int:
        """Wait until a program that is not restarted ends; return its exit status.

        Raises subprocess.TimeoutExpired after ``timeout`` seconds.
        """
        return self._popen.wait(timeout)

    def end(self, timeout: float) -> None:
        """Wait ``timeout`` seconds for the end of the program, then continue it, then kill it."""
        try:
            self._popen.wait(timeout)
        except subprocess.TimeoutExpired:
            end_process(self._popen)

    @property
    def restarts(self) -> int:
        """Return the number of restarts so far."""
        try:
            return self.log.read_bytes().count(b"\nlab: ended with status")
        except OSError:
            return 0

    def log_tail(self, lines: int = 15) -> str:
        """Return the last ``lines`` lines of the log; empty where it cannot be read."""
        try:
            text = self.log.read_text(errors="replace", encoding="utf-8")
        except OSError:
            return ""
        return "\n".join(text.splitlines()[-lines:])


class Nodes:
    """The network namespaces of one lab, and the directory with its files.

    Used as a context manager.  ``directory`` is created, or may exist if it is empty, and is
    removed at the end; by default it is a new one below the system's temporary directory.
    ``environment`` is what the programs get: our own, and PYTHONPATH if we run from a source tree.

    Raises LabError (2) for a directory that is not empty or whose path is too long, OSError for one
    that cannot be made.  Entering the context raises LabError (77) where the kernel refuses
    namespaces.
    """

    def __init__(self, names: Sequence[str], directory: Path | None = None) -> None:
        self.names = tuple(names)
        self.directory = _make_directory(directory)
        checkout = shipped_files.find_checkout()
        ours = {"PYTHONPATH": str(checkout)} if checkout else {}
        self.environment = {**os.environ, **ours}
        self._popens: list[subprocess.Popen[Any]] = []
        self._outer: subprocess.Popen[bytes] | None = None
        self._lifeline = -1
        self.pid = 0

    def __enter__(self) -> Self:
        for name in ("net", "log"):
            (self.directory / name).mkdir()
        lifeline_end, self._lifeline = os.pipe()
        pid_out, pid_in = os.pipe()
        with tempfile.TemporaryFile() as errors:
            try:
                self._outer = subprocess.Popen(
                    ["sh", "-c", _OUTER_SCRIPT, "lab", str(self.directory), *self.names],
                    stdin=lifeline_end,
                    stdout=pid_in,
                    stderr=errors,
                    cwd="/",
                    env={**os.environ, "INNER_SCRIPT": _INNER_SCRIPT},
                    start_new_session=True,
                )
                os.close(pid_in)
                with os.fdopen(pid_out) as answer:
                    line = answer.readline() if select.select([answer], [], [], 30)[0] else ""
            except BaseException:
                self.close()
                raise
            finally:
                os.close(lifeline_end)
            if not line:
                self.close()
                errors.seek(0)
                detail = errors.read().decode(errors="replace").strip() or "no answer in 30 s"
                raise LabError(f"cannot make network namespaces: {detail}", EX_NOPERM)
        self.pid = int(line)
        self._write_enter_script()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End every process, and remove the namespaces and the directory.

        Processes that somebody froze are continued; what does not end then is killed.
        """
        if self._outer is None:
            return
        os.close(self._lifeline)
        outer, self._outer = self._outer, None
        # The namespace of PIDs ends when the parents of all its processes have seen their ends.
        signal_all((each.pid for each in self._popens if each.poll() is None), signal.SIGCONT)
        end_process(outer)
        for popen in self._popens:
            end_process(popen)
        self._popens.clear()
        shutil.rmtree(self.directory, ignore_errors=True)  # where the outer script was killed

    def namespace_path(self, node: str) -> str:
        """Return the path of a node's network namespace, valid inside any node."""
        return f"{self.directory}/net/{node}"

    def command_in(self, node: str, *argv: str) -> list[str]:
        """Return the command that runs ``argv`` in a node."""
        net = f"--net=/proc/{self.pid}/root{self.namespace_path(node)}"
        # Entering a mount namespace leaves a chroot, if we are in one: hence --root and --wd.
        target = ["nsenter", f"--target={self.pid}", "--mount", "--root", "--wd", "--pid", net]
        return [*target, "--", *argv]

    def try_run(self, node: str, *argv: str, text: str = "") -> subprocess.CompletedProcess[str]:
        """Run a command in a node with ``text`` as its standard input, whatever its exit status.

        Raises LabError when it takes longer than 30 s.
        """
        try:
            return subprocess.run(
                self.command_in(node, *argv),
                input=text,
                capture_output=True,
                encoding="utf-8",
                cwd="/",
                env=self.environment,
                timeout=30,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise LabError(f"{node}: {shlex.join(argv)} did not end in 30 s") from None

    def run(self, node: str, *argv: str, text: str = "") -> str:
        """Run a command in a node and return its standard output.

        Raises LabError when it fails, or takes longer than 30 s.
        """
        done = self.try_run(node, *argv, text=text)
        if done.returncode:
            detail = (done.stderr or done.stdout).strip()
            raise LabError(f"{node}: {shlex.join(argv)} failed ({done.returncode}): {detail}")
        return done.stdout

    def start(
        self,
        node: str,
        name: str,
        *argv: str,
        restart: bool = False,
        environment: Mapping[str, str] | None = None,
    ) -> Process:
        """Start a program in a node, its output in the file ``log/NODE-NAME.log``.

        With ``restart`` it is started again whenever it ends, as by Restart=always of
        systemd.service(5).
        """
        log = self.directory / "log" / f"{node}-{name}.log"
        command = ("sh", "-c", _RESTART_LOOP, name, *argv) if restart else argv
        with log.open("ab") as out:
            popen = subprocess.Popen(
                self.command_in(node, *command),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                cwd="/",
                env={**self.environment, **(environment or {})},
                start_new_session=True,
            )
        self._popens.append(popen)
        return Process(f"{node} {name}", popen, log, restarted=restart)

    def stream_lines(self, node: str, *argv: str) -> IO[str]:
        """Start a program in a node and return its output as a stream, which the caller closes."""
        popen = subprocess.Popen(
            self.command_in(node, *argv),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            encoding="utf-8",
            bufsize=1,
            cwd="/",
            start_new_session=True,
        )
        self._popens.append(popen)
        return cast("IO[str]", popen.stdout)

    def _write_enter_script(self) -> None:
        """Write the script `in`, with which a person runs a command in a node."""
        script = self.directory / "in"
        target = self.command_in("$node")
        line = " ".join(f'"{word}"' if "$" in word else word for word in target)
        path = self.environment.get("PYTHONPATH")
        exported = f"export PYTHONPATH={shlex.quote(path)}\n" if path else ""
        script.write_text(
            "#!/bin/sh\n"
            f'node=$1\n[ -n "$node" ] && [ -e "{self.directory}/net/$node" ] || {{\n'
            f'    echo "usage: $0 NODE [COMMAND...]; the nodes are: {" ".join(self.names)}" >&2\n'
            "    exit 2\n}\nshift\n"
            f"{exported}"
            '[ $# -gt 0 ] || set -- "${SHELL:-sh}"\n'
            f'exec {line} "$@"\n',
            encoding="utf-8",
        )
        script.chmod(0o755)


def _command_name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text(encoding="utf-8").strip()
    except OSError:
        return ""


# A socket's path has at most 107 characters, HAProxy wants ten for itself, and the longest name
# below the directory is /northeurope/haproxy/anycastd.sock.
_MAX_DIRECTORY_LENGTH = 60


def _make_directory(directory: Path | None) -> Path:
    if directory is None:
        made = Path(tempfile.gettempdir()).resolve() / f"anycastd-lab-{secrets.token_hex(4)}"
    else:
        made = directory.resolve()
    if len(str(made)) > _MAX_DIRECTORY_LENGTH:
        raise LabError(
            f"{made}: too long for sockets below it; give a --directory like /tmp/lab", 2
        )
    made.mkdir(parents=True, exist_ok=directory is not None)
    if any(made.iterdir()):
        raise LabError(f"{made} is not empty, and the lab removes it at the end", 2)
    # Programs that give up root have to reach their own files in it.
    made.chmod(0o755)
    return made
