"""`anycastd loopback`: add the profile's VIPs to the loopback before HAProxy starts."""

from __future__ import annotations

import argparse

from anycastd.cli.arguments import add_profile
from anycastd.cli.log import log_to_stderr
from anycastd.cli.output import print_error, print_line
from anycastd.cli.profile_file import load_profile
from anycastd.evidence.vip.loopback import Loopback, NoPrivilegeError, VipAddress, remove_vips
from anycastd.profile.model import Network
from anycastd.system.exit_codes import DONE, EX_CONFIG, EX_NOPERM, EX_UNAVAILABLE


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "action",
        choices=("add", "remove"),
        help="add: add every VIP, and an unreachable route for it (the agent does the same when it "
        "starts); remove: remove both (only this command does that)",
    )
    add_profile(parser)


def main(args: argparse.Namespace) -> int:
    """Add the VIPs to their interfaces, or remove them.

    Returns the exit code: 0; 69 where a VIP could not be added; 77 without the privilege; 78 for a
    profile that cannot be used.
    """
    log_to_stderr()
    profile = load_profile(args.profile)
    if profile is None:
        return EX_CONFIG
    vips = profile.local_vips
    results: dict[Network, VipAddress] = {}
    try:
        if args.action == "remove":
            remove_vips(vips)
            return DONE
        loopback = Loopback(vips, results.__setitem__)
        loopback.start()
        loopback.close()
    except NoPrivilegeError as error:
        print_error(f"anycastd: {error.strerror}")
        return EX_NOPERM
    for vip, address in results.items():
        print_line(f"{vip}: {address.detail}")
    return DONE if all(address.present for address in results.values()) else EX_UNAVAILABLE
