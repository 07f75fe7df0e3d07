"""Program: open idle connections.

Usage: `python -m anycastd.lab.programs.idle_clients ADDRESS NUMBER`.
"""

from __future__ import annotations

import signal
import socket
import sys

PORT = 80
"""TCP port of the VIP."""


def main(address: str, number: int) -> None:
    """Open ``number`` connections to port 80 and keep them open, sending nothing, until killed.

    Raises OSError where a connection is refused or takes longer than 5 s.
    """
    connections = [socket.create_connection((address, PORT), timeout=5) for _ in range(number)]
    print(f"{len(connections)} clients", flush=True)
    signal.pause()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
