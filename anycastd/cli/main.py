"""The command line: `anycastd COMMAND`; a command's file is imported only when it is chosen.

Exit codes are in ``system/exit_codes.py``; docs/exit-codes.md explains them.
"""

from __future__ import annotations

import argparse
import importlib
import io
import os
import sys
import traceback
from collections.abc import Sequence

from anycastd import __version__
from anycastd.system.exit_codes import DONE, EX_SOFTWARE, EX_UNAVAILABLE, INTERRUPTED

VENDOR = "/usr/lib/anycastd/vendor"
"""What the Debian package carries because Debian 12 lacks it; a distribution's own comes first."""

COMMANDS = {
    "run": "watch HAProxy, decide, and keep the announcement honest",
    "speaker": "become ExaBGP, with the lease process as its child",
    "check": "everything that run does, short of starting; compares regions",
    "status": "what is announced, and why",
    "explain": "why it is so: rules, caps, timers, and what would happen next",
    "return": "let a service that failed come back now",
    "drain": "leave gently: longer path, wait, withdraw, and say when it is safe to reboot",
    "undrain": "end a drain",
    "reload": "take over the code and the profile on disk",
    "loopback": "put the VIPs on the loopback, or take them away",
    "bfd": "become a BIRD that speaks BFD and nothing else",
    "lab": "rehearse a failover in a network of namespaces (root)",
}


# `return` is no name for a module.
MODULES = {"return": "return_"}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    if os.path.isdir(VENDOR) and VENDOR not in sys.path:
        sys.path.append(VENDOR)
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A terminal whose locale lacks a letter of a reason must not end the command.
        sys.stdout.reconfigure(errors="backslashreplace")
    arguments = list(sys.argv[1:] if argv is None else argv)
    chosen = next((word for word in arguments if not word.startswith("-")), "")
    parser = argparse.ArgumentParser(
        prog="anycastd",
        description="Announce an anycast IP over BGP while, and only while, HAProxy can serve it.",
    )
    parser.add_argument("--version", action="version", version=f"anycastd {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    module = None
    for name, summary in COMMANDS.items():
        command = commands.add_parser(name, help=summary, description=summary.capitalize() + ".")
        if name == chosen:
            try:
                module = importlib.import_module(f"anycastd.cli.commands.{MODULES.get(name, name)}")
            except ModuleNotFoundError as error:
                if name != "lab" or error.name != "anycastd.cli.commands.lab":
                    raise
                sys.stderr.write("anycastd: the lab is a package of its own: anycastd-lab\n")
                return EX_UNAVAILABLE
            module.configure(command)
    args = parser.parse_args(arguments)
    assert module is not None, "argparse refuses what is no command"  # noqa: S101
    try:
        return int(module.main(args))
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()  # what reads us has gone; nothing is left to say
        return DONE
    except Exception:  # noqa: BLE001 - the last place where a bug can be said in words
        traceback.print_exc()
        sys.stderr.write("anycastd: a bug of ours; please report it with the lines above\n")
        return EX_SOFTWARE
