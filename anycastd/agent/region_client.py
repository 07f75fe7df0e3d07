"""Fetch the reports of the other agents, of all regions, over HTTP.

This is done only while a drain needs them.  An agent that does not answer in time, or answers
something else than a report, counts as not serving.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping

from anycastd.decision.region_report import (
    REPORT_PATH,
    RegionReport,
    clean_text,
    parse_region_report,
)
from anycastd.profile.model import Profile
from anycastd.profile.regions import RegionAgent
from anycastd.system.clock import OwnTime
from anycastd.system.secret_file import SecretFileError, read_secret

TIMEOUT = 2.0
"""Seconds for one request with its whole answer."""
MAX_ANSWER = 1024 * 1024
"""Bytes of an answer at most."""


class RegionClient:
    """A client of all other agents of a profile; ``clock`` is own time."""

    def __init__(self, profile: Profile, clock: OwnTime) -> None:
        self._regions = [region for region in profile.regions if region.name != profile.agent_name]
        self._clock = clock

    async def fetch_reports(self) -> Mapping[str, RegionReport]:
        """Fetch the report of every other agent; takes ``TIMEOUT`` seconds at most.

        Returns name of the agent -> report, stamped with the own time of the request.  Where an
        agent gave none, ``RegionReport.detail`` says why; no error is raised.
        """
        reports = await asyncio.gather(*(self._fetch_report(region) for region in self._regions))
        names = (region.name for region in self._regions)
        return dict(zip(names, reports, strict=True))

    async def _fetch_report(self, region: RegionAgent) -> RegionReport:
        requested_at, agent = self._clock.now(), region.agent
        try:
            async with asyncio.timeout(TIMEOUT):
                body = await _get(region)
        except TimeoutError:
            return RegionReport(requested_at, detail=f"does not answer at {agent}")
        except SecretFileError as error:
            return RegionReport(requested_at, detail=f"cannot be asked at {agent}: {error}")
        except (OSError, ValueError, asyncio.IncompleteReadError) as error:
            # asyncio's text repeats the address: "Connect call failed ('192.0.2.4', 9480)".
            number = error.errno if isinstance(error, OSError) else None
            text = os.strerror(number) if number else str(error)
            return RegionReport(requested_at, detail=f"cannot be asked at {agent}: {text.lower()}")
        return parse_region_report(body, region.name, requested_at)


async def _get(region: RegionAgent) -> str:
    """Send one GET and read the body.

    Raises OSError, SecretFileError (the token), or ValueError for any other answer.
    """
    agent = region.agent
    lines = [f"GET {REPORT_PATH} HTTP/1.1", f"Host: {agent}", "Connection: close"]
    if region.token_file is not None:
        lines.append(f"Authorization: Bearer {read_secret(region.token_file)}")
    reader, writer = await asyncio.open_connection(str(agent.address), agent.port)
    try:
        writer.write("\r\n".join((*lines, "", "")).encode("ascii"))
        data = bytearray()
        while piece := await reader.read(65536):
            data += piece
            if len(data) > MAX_ANSWER:
                raise ValueError("the answer is too long")
    finally:
        writer.close()
    head, blank, body = bytes(data).partition(b"\r\n\r\n")
    status_line = head.split(b"\r\n")[0].split()
    if not blank or status_line[1:2] != [b"200"]:
        said = clean_text(b" ".join(status_line[1:]).decode("latin-1")[:60], "nothing")
        wants = ", so it wants a token: regions, token_file" if status_line[1:2] == [b"401"] else ""
        raise ValueError(f"it says {said}{wants}")
    return body.decode("utf-8", "replace")
