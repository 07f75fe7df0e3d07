"""The results of the client's requests, and the outage that they show."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class RequestResult:
    """The result of one request; times are of the monotonic clock, in seconds.

    The request should have been sent at ``due_at`` and was sent at ``sent_at``.  ``detail`` says
    why it failed and is empty when ``ok``.  ``resent`` counts how often it was sent again.
    """

    number: int
    due_at: float
    sent_at: float
    ended_at: float
    ok: bool
    region: str
    server: str
    detail: str
    resent: int = 0


@dataclass(frozen=True, slots=True)
class Outage:
    """An outage as a client sees it.

    It begins when the first request that fails is sent.  It ends with the first good answer to a
    request that was sent after the last failed one; until then ``ended_at`` is infinite.  Both are
    times of the monotonic clock, in seconds.
    ``failed`` counts the failed requests, ``details`` counts them by reason.
    """

    began_at: float
    ended_at: float
    failed: int
    details: dict[str, int]

    @property
    def seconds(self) -> float:
        """Return the duration in seconds; infinite for an outage that has not ended."""
        return self.ended_at - self.began_at


def find_outage(results: Iterable[RequestResult], since: float = 0.0) -> Outage | None:
    """Return the outage among the requests that ended at ``since`` or later; None if none failed.

    ``since`` is a time of the monotonic clock, in seconds.
    """
    seen = sorted(
        (result for result in results if result.ended_at >= since), key=lambda one: one.sent_at
    )
    failed = [result for result in seen if not result.ok]
    if not failed:
        return None
    good_again = [
        result.ended_at for result in seen if result.ok and result.sent_at > failed[-1].sent_at
    ]
    ended_at = min(good_again, default=float("inf"))
    details = dict(Counter(one.detail for one in failed))
    return Outage(failed[0].sent_at, ended_at, len(failed), details)


def count_by_server(results: Iterable[RequestResult]) -> dict[str, int]:
    """Count the good answers: region and server (`northeurope ne-web1`) -> number."""
    return dict(sorted(Counter(f"{one.region} {one.server}" for one in results if one.ok).items()))


def last_answered_by(
    results: Sequence[RequestResult], region: str, count: int, since: float = 0.0
) -> bool:
    """Return whether a region answered each of the last ``count`` requests well.

    All of them must have been sent at ``since`` (the monotonic clock, in seconds) or later.
    """
    last = sorted(results, key=lambda one: one.number)[-count:]
    return len(last) == count and all(
        one.ok and one.region == region and one.sent_at >= since for one in last
    )


class RequestLog:
    """A reader of the results that the client writes to a file, one JSON object a line."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._offset = 0
        self._results: list[RequestResult] = []

    def results(self, since: float = 0.0) -> list[RequestResult]:
        """Return the results so far of requests that ended at ``since`` (monotonic, s) or later.

        Raises OSError where the file cannot be read, ValueError or TypeError for a line that is no
        result.
        """
        with self._file.open("rb") as file:
            file.seek(self._offset)
            text = file.read()
        # The client may be in the middle of writing the last line.
        whole = text[: text.rfind(b"\n") + 1]
        self._offset += len(whole)
        self._results.extend(RequestResult(**json.loads(line)) for line in whole.splitlines())
        return [result for result in self._results if result.ended_at >= since]
