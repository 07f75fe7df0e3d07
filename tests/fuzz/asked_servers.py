"""A look that somebody wrote, and the servers that would be asked because of it."""

from __future__ import annotations

from ipaddress import ip_address

from anycastd.evidence.haproxy.snapshot import Snapshot
from anycastd.evidence.servers.addresses import iter_askable
from anycastd.evidence.servers.doubts import find_doubts
from anycastd.evidence.servers.refusals import Answer, Asked, Reached, note_asked, note_look
from anycastd.evidence.servers.settings import parse_checked_here


def ask_as_told(seen: Snapshot, text: str) -> None:
    """Ask the servers of a look, all of which refuse, and look once more at the same.

    What is connected to has to be an address and a port.  ``text`` is the answer as it came.
    """
    state = note_look(Reached(), seen)
    for backend in seen.backends:
        doubts = [*find_doubts(seen, seen, backend)]
        assert len(doubts) <= 1, f"nothing has changed: {doubts}"
        for key, target in iter_askable(seen, backend, {}):
            assert not ip_address(target.host).is_unspecified
            assert 0 < target.port < 1 << 16
            at = seen.asked_at
            asked = Asked(target.address, Answer.REFUSED, at, at, "refuses")
            state = note_asked(state, key, asked)
    assert len(note_look(state, seen).refusals) <= len(state.refusals)
    for backend, server in parse_checked_here(text):
        assert backend or server, "a server without a name"
