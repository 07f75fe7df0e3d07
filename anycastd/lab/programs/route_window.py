"""Program: a cloud's route table that takes one change per window.

Usage: `python -m anycastd.lab.programs.route_window NETWORK --table N --window S`.

It copies the kernel's route to NETWORK from table N, into which a router writes what it has heard,
to the main table.  A change after a calm passes at once.  Each later one waits until ``window``
seconds after the one before it; what changes meanwhile becomes one change.  Azure is reported to
do so (30 s); withdrawals wait here, too, which is the stricter reading of these reports.
"""

from __future__ import annotations

import argparse
import json
import select
import subprocess
import time
from typing import IO, cast

Hops = tuple[str, ...]
"""Addresses of next hops, in order."""
_REPLACEMENT = 0.02  # seconds


class ChangeWindow:
    """The window: which next hops the main table has, and since when; times in seconds."""

    def __init__(self, window: float) -> None:
        self.window = window
        self.hops: Hops = ()
        self._wanted: Hops = ()
        self._changed_at = float("-inf")

    def note(self, hops: Hops) -> None:
        """Take note of the next hops that were heard."""
        self._wanted = hops

    def find_due(self) -> float | None:
        """Return when the main table has to change; None if it need not."""
        return None if self._wanted == self.hops else self._changed_at + self.window

    def change(self, now: float) -> Hops | None:
        """Return the next hops to write now; None if it is too early or nothing changes."""
        due = self.find_due()
        if due is None or now < due:
            return None
        self.hops, self._changed_at = self._wanted, now
        return self.hops


def read_hops(network: str, table: str) -> Hops:
    """Return the next hops of a table's route to a network; empty where there is none."""
    argv = ["ip", "-j", "route", "show", "table", table, "exact", network]
    done = subprocess.run(argv, capture_output=True, encoding="utf-8", check=False)
    if done.returncode:  # there is no such table before its first route
        return ()
    found = []
    for route in json.loads(done.stdout or "[]"):
        found += [hop["gateway"] for hop in route.get("nexthops", [route]) if "gateway" in hop]
    return tuple(sorted(set(found)))


def write_hops(network: str, hops: Hops) -> None:
    """Write the main table's route to a network; raises CalledProcessError if it is refused."""
    words = [word for hop in hops for word in ("nexthop", "via", hop)]
    argv = ["replace", network, *words] if hops else ["delete", network]
    subprocess.run(["ip", "route", *argv], check=True)


def follow(network: str, table: str, window: ChangeWindow) -> None:
    """Copy the route until killed, or until the kernel's news end."""
    argv = ["ip", "-o", "monitor", "route"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, bufsize=0) as popen:
        news = cast("IO[bytes]", popen.stdout)
        while True:
            heard = read_hops(network, table)
            if not heard and window.hops:
                # A router that replaces a route may delete the old one first.
                time.sleep(_REPLACEMENT)
                heard = read_hops(network, table)
            window.note(heard)
            hops = window.change(time.monotonic())
            if hops is not None:
                write_hops(network, hops)
            due = window.find_due()
            pause = None if due is None else max(0.0, due - time.monotonic())
            if select.select([news], [], [], pause)[0] and not news.read(65536):
                return


def main() -> None:
    """Read the arguments and copy; raises SystemExit for a wrong command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("network")
    parser.add_argument("--table", required=True)
    parser.add_argument("--window", type=float, required=True)
    args = parser.parse_args()
    follow(args.network, args.table, ChangeWindow(args.window))


if __name__ == "__main__":
    main()
