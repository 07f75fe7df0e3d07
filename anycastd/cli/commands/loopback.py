"""`anycastd loopback`: the profile's VIPs, put on the loopback before HAProxy starts."""

from __future__ import annotations

import argparse

from anycastd.cli.arguments import add_profile
from anycastd.cli.output import log_to_stderr, print_error
from anycastd.cli.profile_file import load_profile
from anycastd.evidence.vip.loopback import Loopback, NoPrivilegeError, VipAddress, remove_vips
from anycastd.profile.model import Network
from anycastd.system.exit_codes import EX_CONFIG, EX_NOPERM, EX_UNAVAILABLE


def configure(parser: argparse.ArgumentParser) -> None:
    """Say the arguments."""
    parser.add_argument(
        "action",
        choices=("add", "remove"),
        help="add puts every VIP in place and an unreachable route behind it, remove takes both "
        "away; the agent does the first by itself and nothing but this does the second",
    )
    add_profile(parser)


def main(args: argparse.Namespace) -> int:
    """Put the VIPs in place, or take them away."""
    log_to_stderr()
    profile = load_profile(args.profile)
    if profile is None:
        return EX_CONFIG
    vips = [(service.vip, service.interface) for service in profile.services.values()]
    found: dict[Network, VipAddress] = {}
    try:
        if args.action == "remove":
            remove_vips(vips)
            return 0
        loopback = Loopback(vips, found.__setitem__)
        loopback.start()
        loopback.close()
    except NoPrivilegeError as error:
        print_error(f"anycastd: {error.strerror}")
        return EX_NOPERM
    for vip, address in found.items():
        print(f"{vip}: {address.detail}")
    return 0 if all(address.present for address in found.values()) else EX_UNAVAILABLE
