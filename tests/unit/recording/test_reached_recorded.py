"""What asking servers has found is recorded, as it was."""

from __future__ import annotations

import json

import pytest

from anycastd.evidence.haproxy.servers import Override, Usable
from anycastd.evidence.servers.refusals import ReachReport
from anycastd.recording.codec import FormatError
from anycastd.recording.values import PARTS

REACHED = {
    "main": ReachReport(
        {
            "web": {
                "s1": Override(Usable.NO, "refuses connections (asked twice, 21 ms apart)"),
                "s2": Override(Usable.UNPROVED, "accepts connections again"),
            }
        }
    ),
    "other": ReachReport(),
}


def test_it_is_read_back_as_it_was() -> None:
    """Through JSON, as in a file."""
    codec = PARTS["reached"]
    assert codec.load(json.loads(json.dumps(codec.dump(REACHED))), "reached") == REACHED


@pytest.mark.parametrize("usable", ["MAYBE", 1, None])
def test_another_value_is_refused(usable: object) -> None:
    """A recording is a foreign file."""
    with pytest.raises(FormatError):
        PARTS["reached"].load({"main": {"refused": {"web": {"s1": [usable, "x"]}}}}, "reached")
