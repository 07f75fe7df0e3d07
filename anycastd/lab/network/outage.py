"""What the client saw: its answers, and the outage that they add up to."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of one request; times are of the monotonic clock, in seconds.

    ``due`` is when it should have been sent, ``start`` when it was, ``end`` when it was over;
    ``why`` is empty when ``ok``; ``again``: how often it was sent once more.
    """

    n: int
    due: float
    start: float
    end: float
    ok: bool
    region: str
    server: str
    why: str
    again: int = 0


@dataclass(frozen=True, slots=True)
class Outage:
    """An outage as a client sees it.

    It lasts ``seconds``: from the sending of the first request that failed to the end of the first
    good answer to a request sent after the last that failed.  ``began`` and ``over`` are these two
    moments, ``failed`` counts the failed requests, ``whys`` says how they failed.
    """

    began: float
    over: float
    failed: int
    whys: dict[str, int]

    @property
    def seconds(self) -> float:
        """How long it lasted, in seconds."""
        return self.over - self.began


def outage(answers: Iterable[Answer], since: float = 0.0) -> Outage | None:
    """Return the outage among the requests that were over after ``since``; None without a failure.

    While no good answer has followed, ``over`` is infinite.
    """
    seen = sorted((answer for answer in answers if answer.end >= since), key=lambda one: one.start)
    failed = [answer for answer in seen if not answer.ok]
    if not failed:
        return None
    after = [answer.end for answer in seen if answer.ok and answer.start > failed[-1].start]
    over = min(after, default=float("inf"))
    return Outage(failed[0].start, over, len(failed), dict(Counter(one.why for one in failed)))


def who(answers: Iterable[Answer]) -> dict[str, int]:
    """Count the good answers by region and server: `northeurope ne-web1` -> number."""
    return dict(sorted(Counter(f"{one.region} {one.server}" for one in answers if one.ok).items()))


def settled(answers: Sequence[Answer], region: str, count: int, since: float = 0.0) -> bool:
    """Return whether the last ``count`` requests, all sent after ``since``, were good and there."""
    last = sorted(answers, key=lambda one: one.n)[-count:]
    return len(last) == count and all(
        one.ok and one.region == region and one.start >= since for one in last
    )


class Record:
    """The client's answers, read from the file that it writes."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._offset = 0
        self._answers: list[Answer] = []

    def answers(self, since: float = 0.0) -> list[Answer]:
        """Return everything written so far about requests that were over after ``since``."""
        with self._file.open("rb") as file:
            file.seek(self._offset)
            text = file.read()
        # The last line may be only half there.
        whole = text[: text.rfind(b"\n") + 1]
        self._offset += len(whole)
        self._answers.extend(Answer(**json.loads(line)) for line in whole.splitlines())
        return [answer for answer in self._answers if answer.end >= since]
