"""`anycastd import`: write a profile to begin with from the configuration of another program."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from anycastd.cli.output import fold, print_error, print_line
from anycastd.evidence.haproxy.config_names import parse_config_names
from anycastd.migration.draft import MAX_SIZE, Draft, SourceError
from anycastd.migration.exabgp_conf import draft_exabgp_conf
from anycastd.migration.haproxy_cfg import build_haproxy, complete_service, draft_haproxy_cfg
from anycastd.migration.healthcheck import draft_healthcheck
from anycastd.migration.healthcheck_options import read_options
from anycastd.migration.write import write_profile
from anycastd.system.exit_codes import (
    DONE,
    EX_DATAERR,
    EX_NOINPUT,
    EX_NOPERM,
    EX_UNAVAILABLE,
    REFUSED,
    ExitError,
)
from anycastd.system.regular_file import read_descriptor, read_regular_file

_KINDS: Mapping[str, Callable[[str], Draft]] = {
    "exabgp-healthcheck": lambda text: draft_healthcheck(read_options(text)),
    "exabgp-conf": draft_exabgp_conf,
    "haproxy": draft_haproxy_cfg,
}
"""Kind of the file -> its reader."""
_STDIN = "-"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.description = (
        "Read the configuration of another program, and write a profile to begin with. Lines that "
        "need a person are marked EDIT; what has no counterpart is listed at the top. "
        "exabgp-healthcheck: options of ExaBGP's healthcheck, as a command line or as its "
        "configuration file. exabgp-conf: an ExaBGP configuration with static routes, or with "
        "healthchecks as processes. haproxy: the names in a haproxy.cfg."
    )
    parser.add_argument("kind", choices=tuple(_KINDS), metavar="KIND", help=", ".join(_KINDS))
    parser.add_argument("file", metavar="FILE", help="what to read (`-`: standard input)")
    parser.add_argument(
        "-o", "--output", metavar="FILE", help="where to write (default: standard output)"
    )
    parser.add_argument(
        "--force", action="store_true", help="replace the file of --output if it exists"
    )
    parser.add_argument(
        "--haproxy-config",
        metavar="FILE",
        help="with exabgp-conf: read HAProxy's names from this haproxy.cfg, for `serve`",
    )


def main(args: argparse.Namespace) -> int:
    """Read the file and write the profile.

    Returns the exit code: 0; 4 where the profile exists; 65 where the file cannot be understood; 66
    where it cannot be read; 69 or 77 where the profile cannot be written.
    """
    try:
        draft = _KINDS[args.kind](_read(args.file))
        if args.haproxy_config is not None:
            _add_haproxy(draft, args.haproxy_config)
        text = write_profile(draft, args.kind, args.file)
        if args.output is None:
            sys.stdout.write(text)
        else:
            _write(Path(args.output), text, force=args.force)
    except SourceError as error:
        place = f"{args.file}:{error.line}" if error.line else args.file
        return _fail(ExitError(f"{place}: {error.message}", EX_DATAERR))
    except ExitError as error:
        return _fail(error)
    if args.output is not None:
        print_line(f"wrote {args.output}")
        print_line(f"next: edit the lines marked EDIT, then anycastd check {args.output}")
    return DONE


def _fail(error: ExitError) -> int:
    for line in fold(f"anycastd: {error}", "", "  "):
        print_error(line)
    return error.code


def _read(file: str) -> str:
    """Read a file as text; raises ExitError (66) where that is not possible."""
    try:
        if file == _STDIN:
            data = read_descriptor(sys.stdin.fileno(), MAX_SIZE, "standard input")
        else:
            data = read_regular_file(file, MAX_SIZE, follow=True)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ExitError(f"{file}: cannot be read: {reason}", EX_NOINPUT) from None
    return data.decode("utf-8", "replace")


def _add_haproxy(draft: Draft, file: str) -> None:
    names = parse_config_names(_read(file))
    for service in draft.services:
        complete_service(service, names)
    if draft.haproxy is not None:
        draft.haproxy = build_haproxy(names)


def _write(file: Path, text: str, *, force: bool) -> None:
    """Write a new file, or with ``force`` replace one; raises ExitError (4, 69, 77)."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    flags |= os.O_TRUNC if force else os.O_EXCL
    try:
        with open(os.open(file, flags, 0o644), "w", encoding="utf-8") as stream:
            stream.write(text)
    except FileExistsError:
        raise ExitError(f"{file} exists; --force replaces it", REFUSED) from None
    except OSError as error:
        code = EX_NOPERM if isinstance(error, PermissionError) else EX_UNAVAILABLE
        raise ExitError(f"{file}: cannot be written: {error.strerror}", code) from None
