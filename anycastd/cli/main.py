"""The command line: `anycastd COMMAND`; only the chosen command's file is imported.

docs/exit-codes.md explains the exit codes of every command.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import io
import os
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import NoReturn

from anycastd import __version__
from anycastd.system.exit_codes import (
    DONE,
    EX_SOFTWARE,
    EX_UNAVAILABLE,
    INTERRUPTED,
    USAGE,
    ExitError,
)
from anycastd.system.printable import make_printable

VENDOR = "/usr/lib/anycastd/vendor"
"""Libraries in the Debian package that Debian 12 lacks; a distribution's own come first."""

COMMANDS = {
    "status": "show what is announced, and why",
    "explain": "show the rules, caps and timers, and what comes next",
    "history": "show what has happened: changes, failures, drains, sessions",
    "drain": "take services out gently, and say when a reboot is safe",
    "undrain": "end a drain",
    "return": "end the hold-down of a service, or its wait for a person",
    "init": "ask five questions, and write a pair of profiles to begin with",
    "import": "write a profile from the configuration of another program",
    "check": "check profiles without starting anything, and compare regions",
    "reload": "let the agent take over the code and the profile on disk",
    "record": "record what the agent's decisions depend on",
    "simulate": "run a recording again, also with another profile",
    "lab": "rehearse a failover in network namespaces (needs root)",
    "run": "run the agent: watch HAProxy, and announce what it can serve",
    "speaker": "run ExaBGP, with the lease process as its child",
    "loopback": "add the VIPs to the loopback, or remove them",
    "bfd": "run a BIRD that speaks only BFD",
}
"""Command -> what it does, for the help: what people need daily comes first."""

MAX_NAME = 60
"""Characters of a command that does not exist, in the message about it."""
MODULES = {"return": "return_", "import": "import_"}
"""Command -> its module, where the names differ: those words cannot be the name of a module."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line ``argv`` (None: that of this process) and return its exit code.

    Raises SystemExit (argparse) for the help, the version and a wrong command line, and
    ModuleNotFoundError where a library is missing.
    """
    if os.path.isdir(VENDOR) and VENDOR not in sys.path:
        sys.path.append(VENDOR)
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A letter that the terminal's locale lacks must not end the command.
        sys.stdout.reconfigure(errors="backslashreplace")
    name, *arguments = list(sys.argv[1:] if argv is None else argv) or [""]
    if name not in COMMANDS:
        _print_help_or_error([name, *arguments] if name else [])
    module = _import_command(name)
    if module is None:
        sys.stderr.write("anycastd: the lab is a separate package: install anycastd-lab\n")
        return EX_UNAVAILABLE
    try:
        return int(module.main(build_parser(name, module).parse_args(arguments)))
    except KeyboardInterrupt:
        return INTERRUPTED
    except ExitError as error:
        sys.stderr.write(f"anycastd: {error}\n")
        return error.code
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output has gone, and Python would complain
        return DONE
    except Exception:  # noqa: BLE001 - a bug must not look like any other failure
        import traceback  # noqa: PLC0415 - it costs every command some milliseconds

        traceback.print_exc()
        sys.stderr.write("anycastd: a bug in anycastd; please report it with the lines above\n")
        return EX_SOFTWARE
    finally:
        gc.enable()  # `run` had it disabled


def build_parser(name: str, module: ModuleType) -> argparse.ArgumentParser:
    """Build the parser of the command ``name``, whose file is ``module``.

    Raises KeyError for a name that is no command.
    """
    summary = COMMANDS[name]
    parser = argparse.ArgumentParser(
        prog=f"anycastd {name}", description=f"{summary[0].upper()}{summary[1:]}."
    )
    module.configure(parser)
    return parser


def _import_command(name: str) -> ModuleType | None:
    """Import the file of a command; None where the lab is not installed."""
    if name == "run":
        gc.disable()  # what is loaded stays: the agent collects once, after all of it
        from anycastd.system.without_openssl import import_without_openssl  # noqa: PLC0415

        import_without_openssl("hashlib", "hmac")  # before anything else imports them
    path = f"anycastd.cli.commands.{MODULES.get(name, name)}"
    try:
        return importlib.import_module(path)
    except ModuleNotFoundError as error:
        if name != "lab" or error.name != path:
            raise
        return None


def _print_help_or_error(arguments: Sequence[str]) -> NoReturn:
    """Print the help, the version, or an error, for a command line that names no command; exits."""
    if arguments and not arguments[0].startswith("-"):
        from difflib import get_close_matches  # noqa: PLC0415 - only this error needs it

        close = get_close_matches(arguments[0], COMMANDS, 1)
        hint = f"did you mean {close[0]}? " if close else ""
        name = make_printable(arguments[0], MAX_NAME)
        sys.stderr.write(
            f"anycastd: there is no command {name}; {hint}`anycastd --help` lists them all\n"
        )
        sys.exit(USAGE)
    parser = argparse.ArgumentParser(
        prog="anycastd",
        description="Announce an anycast IP over BGP while, and only while, HAProxy can serve it.",
    )
    parser.add_argument("--version", action="version", version=f"anycastd {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, summary in COMMANDS.items():
        commands.add_parser(name, help=summary, add_help=False)
    parser.parse_args(arguments)
    parser.error("the command must come first")
