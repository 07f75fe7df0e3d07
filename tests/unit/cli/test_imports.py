"""A command that only asks the running agent starts fast: it loads nothing that is heavy."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]

ASKS_THE_AGENT = {
    "status": ["status"],
    "explain": ["explain"],
    "return": ["return"],
    "drain": ["drain", "--reason", "test"],
    "undrain": ["undrain"],
    "reload": ["reload"],
}
HEAVY = {
    *("asyncio", "jsonschema", "yaml", "exabgp", "haproxyadmin", "tenacity"),
    *("concurrent.futures", "ctypes", "dataclasses", "difflib", "hashlib", "inspect", "ipaddress"),
    *("logging", "pathlib", "subprocess", "tempfile", "traceback", "urllib.parse"),
}
OURS = {
    *("anycastd.agent.control_client", "anycastd.agent.deadline"),
    *("anycastd.bgp.session", "anycastd.decision.levels"),
    *("anycastd.system.exit_codes", "anycastd.system.instants", "anycastd.system.printable"),
    *("anycastd.views.durations", "anycastd.views.severity"),
}
"""What these commands may load of anycastd besides ``cli``."""
STATUS_ONLY = {"anycastd.views.summary", "anycastd.views.troubles"}
"""What `anycastd status` may load besides."""


def run_and_list_modules(*arguments: str) -> tuple[int, set[str]]:
    """Run a command in a new interpreter; give its exit code and every module that it loaded."""
    code = (
        "import gc, sys\n"
        "from anycastd.cli.main import main\n"
        "try:\n    code = main(sys.argv[1:])\n"
        "except SystemExit as ended:\n    code = ended.code\n"
        "print(code, gc.isenabled(), *sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", code, *arguments],  # -S: no .pth file may load something
        capture_output=True,
        encoding="utf-8",
        check=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    exit_code, collects, *modules = done.stdout.splitlines()[-1].split()
    assert collects == "True", "the collector of garbage is off after the command"
    return int(exit_code), set(modules)


@pytest.mark.parametrize("name", ASKS_THE_AGENT)
def test_a_command_that_asks_the_agent_loads_nothing_heavy(name: str, tmp_path: Path) -> None:
    """Neither a library, nor asyncio, nor what costs milliseconds; and of anycastd few files."""
    code, loaded = run_and_list_modules(*ASKS_THE_AGENT[name], "--directory", str(tmp_path))
    assert code == (3 if name == "status" else 69)
    assert not loaded & HEAVY
    files = {module for module in loaded if module.startswith("anycastd.") and "cli" not in module}
    files -= STATUS_ONLY if name == "status" else set()
    packages = {module.rpartition(".")[0] for module in OURS}
    assert files <= OURS | packages
    chosen = {module for module in loaded if module.startswith("anycastd.cli.commands.")}
    shared = {"anycastd.cli.commands.drain"} if name == "undrain" else set()
    assert chosen - shared == {f"anycastd.cli.commands.{'return_' if name == 'return' else name}"}


def test_the_list_of_commands_loads_no_command() -> None:
    """`anycastd --help` needs only the summaries."""
    code, loaded = run_and_list_modules("--help")
    assert code == 0
    assert not {module for module in loaded if module.startswith("anycastd.cli.commands")}


def test_the_agent_is_loaded_without_collecting_garbage() -> None:
    """All of it stays, so a collection meanwhile only costs time; a check alone collects again."""
    code = (
        "import gc\n"
        "from anycastd.cli.main import _import_command as load\n"
        "module = load('run')\n"
        "print(gc.isenabled())\n"
        "module.read_text = lambda _: print(gc.isenabled())\n"
        "from anycastd.cli.main import main\n"
        "main(['run', '--validate', '--profile', 'missing'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        encoding="utf-8",
        check=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert done.stdout.split() == ["False", "True"]
