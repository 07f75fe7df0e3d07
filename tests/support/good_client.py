"""A client that asks one question after the other, in a process of its own.

A thread of the tests that floods a server holds Python's lock, and so would delay a client in the
same process between its connect and its request.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys


def count_answers(address: str | tuple[str, int], request: bytes, begin: bytes, times: int) -> int:
    """Send a request ``times`` times, each on a connection of its own; count the good answers.

    ``address`` is a path, or (host, port).  A good answer begins with ``begin``.  Each may take
    8 s.  Runs in the network namespace of the calling thread.
    """
    arguments = json.dumps([address, request.decode("latin-1"), begin.decode("latin-1"), times])
    done = subprocess.run(
        [sys.executable, __file__, arguments], capture_output=True, encoding="ascii", check=True
    )
    return int(done.stdout)


def _is_answered(address: str | tuple[str, int], request: bytes, begin: bytes) -> bool:
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
    with socket.socket(family) as connection:
        connection.settimeout(8)
        connection.connect(address)
        data = b""
        try:
            connection.sendall(request)
            while piece := connection.recv(65536):
                data += piece
        except ConnectionError:
            return False
    return data.startswith(begin)


def main() -> None:
    """Ask as the argument says, and print how many answers were good."""
    address, request, begin, times = json.loads(sys.argv[1])
    place = address if isinstance(address, str) else (address[0], address[1])
    asked = (request.encode("latin-1"), begin.encode("latin-1"))
    sys.stdout.write(str(sum(_is_answered(place, *asked) for _ in range(times))))


if __name__ == "__main__":
    main()
