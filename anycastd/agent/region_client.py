"""The other regions' agents, asked over HTTP whether they serve -> Other.

Asked only while a drain wants to know.  Whoever does not answer in time, or not like an agent, has
said nothing, and nothing counts as not serving.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from anycastd.decision.region_report import REPORT_PATH, RegionReport, parse_region_report
from anycastd.profile.model import Endpoint, Profile
from anycastd.system.clock import OwnTime

TIMEOUT = 2.0
"""Seconds for a whole answer."""
MAX_ANSWER = 4 * 1024 * 1024


class RegionClient:
    """The other regions of a profile; ``ask()`` asks all of them at once."""

    def __init__(self, profile: Profile, clock: OwnTime) -> None:
        self._regions = [region for region in profile.regions if region.name != profile.region]
        self._clock = clock

    async def fetch_reports(self) -> Mapping[str, RegionReport]:
        """Give every region's answer, or why there is none, after ``WITHIN`` seconds at most."""
        answers = await asyncio.gather(
            *(self._ask(region.name, region.agent) for region in self._regions)
        )
        names = (region.name for region in self._regions)
        return dict(zip(names, answers, strict=True))

    async def _ask(self, name: str, agent: Endpoint) -> RegionReport:
        asked = self._clock.now()
        try:
            async with asyncio.timeout(TIMEOUT):
                text = await _fetch(agent)
        except TimeoutError:
            return RegionReport(asked, detail=f"does not answer at {agent}")
        except (OSError, ValueError, asyncio.IncompleteReadError) as error:
            words = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            return RegionReport(asked, detail=f"cannot be asked at {agent}: {words.lower()}")
        return parse_region_report(text, name, asked)


async def _fetch(agent: Endpoint) -> str:
    """Ask one agent; raises OSError, ValueError for what is no good answer."""
    reader, writer = await asyncio.open_connection(str(agent.address), agent.port)
    try:
        request = f"GET {REPORT_PATH} HTTP/1.1\r\nHost: {agent}\r\nConnection: close\r\n\r\n"
        writer.write(request.encode())
        data = b""
        while piece := await reader.read(65536):
            data += piece
            if len(data) > MAX_ANSWER:
                raise ValueError("the answer is too long")
    finally:
        writer.close()
    head, blank, body = data.partition(b"\r\n\r\n")
    words = head.split(b"\r\n")[0].split()
    if not blank or words[1:2] != [b"200"]:
        said = b" ".join(words[1:]).decode("latin-1")[:60] or "nothing"
        raise ValueError(f"it says {said}")
    return body.decode("utf-8", "replace")
