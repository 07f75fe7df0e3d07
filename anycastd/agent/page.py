"""Pages of the HTTP server: what answers a GET of one path."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from anycastd.agent.json_cache import ByteCache, encode_json

JSON_TYPE = "application/json"
"""Content type of most answers."""

Fields = Mapping[str, str]
"""The fields of a query, such as ``vip`` of ``/serving?vip=203.0.113.10``; the last one counts."""


@dataclass(frozen=True, slots=True)
class WebAnswer:
    """An answer: its status code (RFC 9110 section 15), its body, and the type of that.

    ``fields`` are further fields of its head: (name, value).
    """

    code: int
    body: bytes
    content_type: str = JSON_TYPE
    fields: tuple[tuple[str, str], ...] = ()


class WebPage(Protocol):
    """What answers the requests for one path."""

    async def answer(self, fields: Fields) -> WebAnswer:
        """Answer a request whose query has these ``fields``."""


@dataclass(frozen=True, slots=True)
class Page:
    """A page that is the same for everybody: its body is reused for ``max_age`` seconds at least.

    Without that a client with many requests could keep the agent from its work.
    """

    body: ByteCache
    max_age: float
    content_type: str = JSON_TYPE

    async def answer(self, _: Fields) -> WebAnswer:
        """Answer with status code 200."""
        return WebAnswer(200, self.body.read(self.max_age), self.content_type)


@dataclass(frozen=True, slots=True)
class ComputedPage:
    """A page whose status code or body depends on the query or on the state of the agent.

    ``compute`` bounds what it costs by itself.
    """

    compute: Callable[[Fields], Awaitable[WebAnswer]]

    async def answer(self, fields: Fields) -> WebAnswer:
        """Answer with what ``compute`` returns."""
        return await self.compute(fields)


def answer_json(code: int, value: object) -> WebAnswer:
    """Build an answer with a value as a line of JSON."""
    return WebAnswer(code, encode_json(value) + b"\n")


def refuse(code: int, text: str) -> WebAnswer:
    """Build an answer that says in one sentence what is wrong."""
    return answer_json(code, {"error": text})
