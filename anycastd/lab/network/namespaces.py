"""Nodes: network namespaces, and processes in them, that vanish with whoever made them.

One keeper holds everything.  It is a shell that starts `unshare`: a PID namespace whose first
process reads a pipe from us, and a mount namespace in which each node's network namespace is
pinned to a file.  When the pipe ends, because we closed it or because we died in whatever way,
that first process ends, the kernel kills everything else in its PID namespace, the pins go with
the mount namespace, and the keeper removes the directory.  Nothing has a global name, so labs may
run side by side.
"""

from __future__ import annotations

import os
import secrets
import select
import shlex
import signal
import subprocess
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self, cast

from anycastd.lab.network import shipped_files

# Outside: survives signals of our terminal, and tidies up after everything else is dead.
_KEEPER = """
trap '' HUP INT TERM
directory=$1
shift
unshare --mount --pid --fork --kill-child --propagation private \\
    sh -c "$INSIDE" lab "$directory" "$@"
rm -rf "$directory"
"""
# Inside: first process of the PID namespace.  A shell, since it also has to reap orphans.
_INSIDE = """
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
# What systemd's Restart=always with RestartSec=0.1 does.
_AGAIN = """
while :; do
    "$@"
    echo "lab: ended with status $?, started again in 0.1 s"
    sleep 0.1
done
"""


EX_UNAVAILABLE, EX_SOFTWARE, EX_NOPERM, EX_CONFIG = 69, 70, 77, 78
"""Exit codes that the lab needs, as in ``system/exit_codes``: the lab imports nothing of ours."""


class LabError(Exception):
    """Something the lab needs is missing or failed; ``code`` is the exit code to end with."""

    def __init__(self, message: str, code: int = EX_SOFTWARE) -> None:
        super().__init__(message)
        self.code = code


def children(pid: int) -> list[int]:
    """Return the PIDs of a process's children, oldest first; none when it is gone."""
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="utf-8")
    except OSError:
        return []
    return [int(child) for child in text.split()]


def descendants(pid: int) -> list[int]:
    """Return the PIDs below a process, parents before their children."""
    found = children(pid)
    for child in found:
        found.extend(children(child))
    return found


def ended(pid: int) -> bool:
    """Return whether a process is gone, or dead and not yet waited for."""
    try:
        return (
            Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
            in "ZX"
        )
    except OSError:
        return True


class Process:
    """A program running in a node; its output goes to ``log``."""

    def __init__(self, name: str, popen: subprocess.Popen[bytes], log: Path, looped: bool) -> None:
        self.name = name
        self.log = log
        self._popen = popen
        self._looped = looped

    @property
    def pid(self) -> int | None:
        """The program's PID as seen from outside; None while it is not running."""
        found = children(self._popen.pid)
        if found and self._looped:
            found = [pid for pid in children(found[0]) if _command(pid) != "sleep"]
        return found[0] if found and not ended(found[0]) else None

    @property
    def tree(self) -> list[int]:
        """The PIDs of the program and of everything it started."""
        pid = self.pid
        return [] if pid is None else [pid, *descendants(pid)]

    def kill(self) -> None:
        """Send SIGKILL to the program and everything it started."""
        signal_all(self.tree, signal.SIGKILL)

    def freeze(self) -> None:
        """Stop the program and everything it started (SIGSTOP)."""
        signal_all(self.tree, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let the program and everything it started go on (SIGCONT)."""
        # nsenter stops itself together with its child.
        signal_all([self._popen.pid, *self.tree], signal.SIGCONT)

    def terminate(self) -> None:
        """Send SIGTERM to the program alone."""
        pid = self.pid
        if pid is not None:
            signal_all([pid], signal.SIGTERM)

    def wait(self, seconds: float) -> int:
        """Wait for the end of a program that is not restarted; return its exit status."""
        return self._popen.wait(seconds)

    @property
    def restarts(self) -> int:
        """How many times it has been started again."""
        try:
            return self.log.read_bytes().count(b"\nlab: ended with status")
        except OSError:
            return 0

    def last_words(self, lines: int = 15) -> str:
        """Return the last lines of the log."""
        try:
            text = self.log.read_text(errors="replace", encoding="utf-8")
        except OSError:
            return ""
        return "\n".join(text.splitlines()[-lines:])


def signal_all(pids: Iterable[int], number: signal.Signals) -> None:
    """Send a signal to each of some processes; those that are gone are passed over."""
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue


class Nodes:
    """The namespaces of one lab, and the directory that holds its files.

    Use it as a context manager.  ``directory`` is made (it may exist when it is empty) and is
    removed in the end; by default it is a new one below the system's temporary directory.
    ``environment`` is that of the programs: ours, and they find the checkout that we run from.
    """

    def __init__(self, names: Sequence[str], directory: Path | None = None) -> None:
        self.names = tuple(names)
        self.directory = _make(directory)
        checkout = shipped_files.checkout()
        ours = {"PYTHONPATH": str(checkout)} if checkout else {}
        self.environment = {**os.environ, **ours}
        self._popens: list[subprocess.Popen[Any]] = []
        self._keeper: subprocess.Popen[bytes] | None = None
        self._hold = -1
        self.pid = 0

    def __enter__(self) -> Self:
        for name in ("net", "log"):
            (self.directory / name).mkdir()
        held, self._hold = os.pipe()
        tell, told = os.pipe()
        with tempfile.TemporaryFile() as words:
            try:
                self._keeper = subprocess.Popen(
                    ["sh", "-c", _KEEPER, "keeper", str(self.directory), *self.names],
                    stdin=held,
                    stdout=told,
                    stderr=words,
                    cwd="/",
                    env={**os.environ, "INSIDE": _INSIDE},
                    start_new_session=True,
                )
                os.close(told)
                with os.fdopen(tell) as answer:
                    line = answer.readline() if select.select([answer], [], [], 30)[0] else ""
            except BaseException:
                self.close()
                raise
            finally:
                os.close(held)
            if not line:
                self.close()
                words.seek(0)
                said = words.read().decode(errors="replace").strip() or "no answer in 30 s"
                raise LabError(f"cannot make network namespaces: {said}", EX_NOPERM)
        self.pid = int(line)
        self._write_in()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End every process, and remove the namespaces and the directory."""
        if self._keeper is None:
            return
        os.close(self._hold)
        keeper, self._keeper = self._keeper, None
        keeper.wait(20)
        for popen in self._popens:
            popen.wait(20)
        self._popens.clear()

    def pin(self, node: str) -> str:
        """Return the path of a node's network namespace as seen from inside any node."""
        return f"{self.directory}/net/{node}"

    def enter(self, node: str, *argv: str) -> list[str]:
        """Return the command that runs ``argv`` in a node."""
        net = f"--net=/proc/{self.pid}/root{self.pin(node)}"
        # Entering a mount namespace leaves a chroot, if we are in one: hence --root and --wd.
        target = ["nsenter", f"--target={self.pid}", "--mount", "--root", "--wd", "--pid", net]
        return [*target, "--", *argv]

    def ask(self, node: str, *argv: str, text: str = "") -> subprocess.CompletedProcess[str]:
        """Run a command in a node, at most 30 s long, with ``text`` as its input."""
        try:
            return subprocess.run(
                self.enter(node, *argv),
                input=text,
                capture_output=True,
                encoding="utf-8",
                cwd="/",
                env=self.environment,
                timeout=30,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise LabError(f"{node}: {shlex.join(argv)} had no end in 30 s") from None

    def run(self, node: str, *argv: str, text: str = "") -> str:
        """Run a command in a node and return what it wrote; raises LabError when it fails."""
        done = self.ask(node, *argv, text=text)
        if done.returncode:
            said = (done.stderr or done.stdout).strip()
            raise LabError(f"{node}: {shlex.join(argv)} failed ({done.returncode}): {said}")
        return done.stdout

    def start(
        self,
        node: str,
        name: str,
        *argv: str,
        again: bool = False,
        environment: Mapping[str, str] | None = None,
    ) -> Process:
        """Start a program in a node; with ``again`` it is started again whenever it ends."""
        log = self.directory / "log" / f"{node}-{name}.log"
        command = ("sh", "-c", _AGAIN, name, *argv) if again else argv
        with log.open("ab") as out:
            popen = subprocess.Popen(
                self.enter(node, *command),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                cwd="/",
                env={**self.environment, **(environment or {})},
                start_new_session=True,
            )
        self._popens.append(popen)
        return Process(f"{node} {name}", popen, log, again)

    def follow(self, node: str, *argv: str) -> IO[str]:
        """Start a program in a node and return its lines, for the caller to read and close."""
        popen = subprocess.Popen(
            self.enter(node, *argv),
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

    def _write_in(self) -> None:
        """Write the script with which a person enters a node."""
        script = self.directory / "in"
        target = self.enter("$node")
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


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text(encoding="utf-8").strip()
    except OSError:
        return ""


# A socket's path has at most 107 characters, HAProxy wants ten for itself, and the longest name
# below the directory is /northeurope/haproxy/anycastd.sock.
_LONGEST = 60


def _make(directory: Path | None) -> Path:
    if directory is None:
        made = Path(tempfile.gettempdir()).resolve() / f"anycastd-lab-{secrets.token_hex(4)}"
    else:
        made = directory.resolve()
    if len(str(made)) > _LONGEST:
        raise LabError(
            f"{made}: too long for sockets below it; give a --directory like /tmp/lab", 2
        )
    made.mkdir(parents=True, exist_ok=directory is not None)
    if any(made.iterdir()):
        raise LabError(f"{made} is not empty, and the lab removes it in the end", 2)
    # Programs that give up root have to reach their own files in it.
    made.chmod(0o755)
    return made
