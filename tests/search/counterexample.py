"""Write a sequence of events as a recording that `anycastd simulate` runs.

A search finds a sequence of events after which an invariant does not hold.  Written down as an
agent would have recorded it, such a counter-example can be looked at with the command that
operators use, and compared with the decisions of another release.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import anycastd
from anycastd.decision.memory import Memory
from anycastd.decision.pipeline import Inputs, PassResult
from anycastd.recording.writer import RecordedPass, RecordingWriter, dump_lines
from search.effort import InvariantError
from search.surroundings import build_profile, build_profile_text
from search.world import World

EPOCH = 1_700_000_000.0
"""Unix time at which own time is 0 in such a recording."""
SEPARATOR = " / "
"""What stands between the events of a sequence in the note of an InvariantError."""


def record_events(
    worlds: type[World], variant: str, events: Iterable[str], *, why: str = "the sequence ends"
) -> bytes:
    """Apply ``events`` to a new world of ``variant``, and return the recording of it.

    The recording ends with the invariant that does not hold, or with ``why``.
    """
    writer = RecordingWriter(
        build_profile(variant), build_profile_text(variant), anycastd.__version__
    )
    lines: list[str] = []
    at = 0.0

    def note(
        now: float, memory: Mapping[str, Memory], inputs: Inputs, result: PassResult, expired: bool
    ) -> None:
        nonlocal at
        at = now
        each = RecordedPass(now, now + EPOCH, memory, inputs, result, expired)
        lines.extend(writer.add(each))

    try:
        world = worlds.begin(variant, note)
        for event in events:
            world = world.apply(event)
        world.recover()
    except InvariantError as error:
        why = str(error)
    return dump_lines([*lines, *writer.end(why, at + EPOCH)])


def record_counterexample(worlds: type[World], error: InvariantError) -> bytes:
    """Return the recording of the sequence that a search has noted in ``error``.

    Raises ValueError where it notes none.
    """
    for note in getattr(error, "__notes__", ()):
        variant, _, events = note.partition(SEPARATOR)
        return record_events(worlds, variant, filter(None, events.split(SEPARATOR)))
    raise ValueError("the search has noted no sequence")
