"""Read where HAProxy checks its servers, from ``show servers state`` (pure).

The columns are described in HAProxy's management manual, section 9.3.  A server whose check goes
to another address or port than its traffic is not believed to be gone when it refuses: its port may
be an offset (``server s 10.0.0.1:+1000``: HAProxy demands a port for the check then, and shows the
offset as if it were a port), and its check would pass while it refuses.
"""

from __future__ import annotations

from collections.abc import Iterable

from anycastd.evidence.servers.addresses import ServerKey

MAX_NAMES = 64
"""Maximum number of backends that are asked for at once."""
_COLUMNS = ("be_name", "srv_name", "srv_port", "srv_check_port", "srv_check_addr")
_NONE = {"-", ""}


def build_settings_request(backends: Iterable[str]) -> bytes:
    """Build the request line for the settings of ``backends`` (names that HAProxy has)."""
    names = sorted(backends)[:MAX_NAMES]
    return (";".join(f"show servers state {name}" for name in names) + "\n").encode()


def parse_checked_here(text: str) -> frozenset[ServerKey]:
    """Parse the answer: the servers whose check goes where their traffic goes.

    What cannot be read is left out: such a server is not believed to be gone.
    """
    found: set[ServerKey] = set()
    at: list[int] = []
    for line in text.splitlines():
        if line.startswith("# "):
            names = line.removeprefix("# ").split()
            at = [names.index(name) for name in _COLUMNS if name in names]
            continue
        fields = line.split(" ")
        if len(at) < len(_COLUMNS) or len(fields) <= max(at):
            continue
        backend, server, port, check_port, check_address = (fields[each] for each in at)
        if check_address in _NONE and check_port in {"0", port}:
            found.add((backend, server))
    return frozenset(found)
