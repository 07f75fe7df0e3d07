"""Fetch the reports of the other regions' agents over HTTP.

This is done only while a drain needs them.  An agent that does not answer in time, or answers
something else than a report, counts as not serving.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from anycastd.decision.region_report import REPORT_PATH, RegionReport, parse_region_report
from anycastd.profile.model import Endpoint, Profile
from anycastd.system.clock import OwnTime

TIMEOUT = 2.0
"""Seconds for one request with its whole answer."""
MAX_ANSWER = 4 * 1024 * 1024
"""Bytes of an answer at most."""


class RegionClient:
    """A client of the agents of all other regions of a profile; ``clock`` is own time."""

    def __init__(self, profile: Profile, clock: OwnTime) -> None:
        self._regions = [region for region in profile.regions if region.name != profile.region]
        self._clock = clock

    async def fetch_reports(self) -> Mapping[str, RegionReport]:
        """Fetch the report of every other region; takes ``TIMEOUT`` seconds at most.

        Returns region name -> report, stamped with the own time of the request.  Where a region
        gave none, ``RegionReport.detail`` says why; no error is raised.
        """
        reports = await asyncio.gather(
            *(self._fetch_report(region.name, region.agent) for region in self._regions)
        )
        names = (region.name for region in self._regions)
        return dict(zip(names, reports, strict=True))

    async def _fetch_report(self, region: str, agent: Endpoint) -> RegionReport:
        requested_at = self._clock.now()
        try:
            async with asyncio.timeout(TIMEOUT):
                body = await _get(agent)
        except TimeoutError:
            return RegionReport(requested_at, detail=f"does not answer at {agent}")
        except (OSError, ValueError, asyncio.IncompleteReadError) as error:
            text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            return RegionReport(requested_at, detail=f"cannot be asked at {agent}: {text.lower()}")
        return parse_region_report(body, region, requested_at)


async def _get(agent: Endpoint) -> str:
    """Send one GET and read the body; raises OSError, or ValueError for any other answer."""
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
    status_line = head.split(b"\r\n")[0].split()
    if not blank or status_line[1:2] != [b"200"]:
        status = b" ".join(status_line[1:]).decode("latin-1")[:60] or "nothing"
        raise ValueError(f"it says {status}")
    return body.decode("utf-8", "replace")
