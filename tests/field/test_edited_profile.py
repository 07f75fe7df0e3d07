"""A profile that was edited, and a speaker that starts before the agent is reloaded."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.appliance import Appliance, own_network
from support.peer import wait_for

pytestmark = pytest.mark.root


def test_a_speaker_that_starts_before_the_reload(tmp_path: Path) -> None:
    """It reads the new profile, and announces what the agent, with the old one, wants."""
    with own_network(), Appliance(tmp_path) as one:
        one.start()
        before = one.profile.read_text(encoding="utf-8")
        after = before.replace("    serve:", "    communities: ['65010:7']\n    serve:", 1)
        assert after != before
        one.profile.write_text(after, encoding="utf-8")
        assert one.speaker is not None
        one.speaker.kill()
        one.speaker.wait()
        heard = [len(peer.updates) for peer in one.peers]
        one.start_speaker()

        def is_announced() -> bool:
            new = [peer.updates[count:] for peer, count in zip(one.peers, heard, strict=True)]
            return all(any(update.announced for update in updates) for updates in new)

        wait_for(is_announced, 20, one.log())
        one.wait_path(1)
