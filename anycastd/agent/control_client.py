"""Ask the running agent over its control socket (blocking, without asyncio; starts fast).

One JSON line each way: ``{"v": 1, "ask": QUESTION, "with": ARGUMENTS}``, then the answer.
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Mapping
from typing import Any

from anycastd.agent.deadline import KEY, compute_deadline

VERSION = 1
"""Version of requests and answers; both sides must have the same."""
CONNECT_RETRY_DELAY = 0.02
"""Seconds between two attempts to connect while other clients fill the queue of the socket."""
MAX_ANSWER = 64 * 1024 * 1024
"""Bytes of an answer at most."""
MISMATCH = (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError)
"""Errors of reading an answer that has another shape than that of an agent."""
NO_ANSWER = "what answers there is no agent of this release; see the agent's log, or reload it"
"""What commands print of such an answer."""
_KEYS = {
    "drain": "said",
    "undrain": "said",
    "return": "returned",
    "running": "instance",
    "regions": "regions",
}
"""A key that the answer to a question has, unless it is a refusal."""
VALIDATE_TIMEOUT = 30.0
"""Seconds that a reload's check of code and profile may take; usually it takes half a second."""
CHANGES = {
    "drain": "the drain began",
    "undrain": "the drain ended",
    "return": "the service may return",
    "reload": "the reload began",
    "record": "the recording began",
    "record_stop": "the recording ended",
}
"""Requests that change something, and what is not known of each if no answer comes."""


class ControlError(Exception):
    """The agent does not answer, or answers with an error; the message says what to do.

    ``denied``: this user may not ask for this.  ``uncertain``: the request was sent and no answer
    came, so it is not known whether anything has changed.  ``unreachable``: there was no connection
    to an agent.
    """

    def __init__(
        self,
        message: str,
        *,
        denied: bool = False,
        uncertain: bool = False,
        unreachable: bool = False,
    ) -> None:
        super().__init__(message)
        self.denied = denied
        self.uncertain = uncertain
        self.unreachable = unreachable


def socket_path(directory: str) -> str:
    """Return the path of the control socket of the agent whose directory is ``directory``."""
    return os.path.join(directory, "agent.sock")


def ask_agent(
    directory: str,
    question: str,
    timeout: float = 5.0,
    arguments: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Ask the agent a question, or give it a command with ``arguments``; return its answer.

    Blocks for at most ``timeout`` seconds, however slowly an answer arrives.  An agent drops a
    command that reaches it later than that.  Returns the JSON object.

    Raises ControlError where no agent answers in time, it may not be asked, or it answers with an
    error.  A refusal is no error: the answer then has ``refused``.
    """
    request = _build_request(question, timeout, arguments)
    path = socket_path(directory)
    sent = False
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            ends_at = time.monotonic() + timeout
            connection.settimeout(timeout)
            _connect(connection, path, ends_at)
            sent = True  # a part of it, perhaps
            connection.sendall(json.dumps(request).encode() + b"\n")
            line = _read_line(connection, ends_at)
    except (FileNotFoundError, ConnectionRefusedError):
        raise ControlError(
            f"{path}: no agent answers there; start it (`systemctl start anycastd`), or name its "
            "--directory",
            unreachable=True,
        ) from None
    except PermissionError:
        raise ControlError(
            f"{path}: no permission to ask this agent; use sudo, or join its group",
            unreachable=True,
        ) from None
    except TimeoutError:
        text = f"{path}: the agent did not answer within {timeout:g} s; it is stopped or stuck"
        raise _build_error(text, question, sent=sent) from None
    except OSError as error:
        raise _build_error(f"{path}: {error.strerror or error}", question, sent=sent) from None
    if not line:
        text = f"{path}: the agent closed the connection without an answer; see its log"
        raise _build_error(text, question, sent=True)
    answer = _parse_answer(path, line)
    if "refused" not in answer and _KEYS.get(question, "v") not in answer:
        raise ControlError(f"{path}: {NO_ANSWER}")
    return answer


def _build_request(
    question: str, timeout: float, arguments: Mapping[str, Any] | None
) -> dict[str, Any]:
    request: dict[str, Any] = {"v": VERSION, "ask": question}
    if question in CHANGES:
        arguments = {**(arguments or {}), KEY: compute_deadline(timeout)}
    return request if arguments is None else request | {"with": arguments}


def _build_error(text: str, question: str, *, sent: bool) -> ControlError:
    """Build the error for a request without an answer; ``sent``: the agent may have got it."""
    if question not in CHANGES:
        return ControlError(text)
    if not sent:
        return ControlError(f"{text}\nnothing has changed: the agent did not get the request")
    unknown = f"it is not known whether {CHANGES[question]}: see `anycastd status`"
    return ControlError(f"{text}\n{unknown}", uncertain=True)


def _connect(connection: socket.socket, path: str, ends_at: float) -> None:
    """Connect to a Unix socket, also where its queue is full at first; raises OSError."""
    while True:
        try:
            connection.connect(path)
        except BlockingIOError:
            if time.monotonic() >= ends_at:
                raise TimeoutError from None
            time.sleep(CONNECT_RETRY_DELAY)
        else:
            return


def _read_line(connection: socket.socket, ends_at: float) -> bytes:
    """Read up to the end of a line, or of the file; raises TimeoutError at ``ends_at``."""
    data = bytearray()
    while not data.endswith(b"\n") and len(data) < MAX_ANSWER:
        left = ends_at - time.monotonic()
        if left <= 0:
            raise TimeoutError
        connection.settimeout(left)
        piece = connection.recv(1 << 16)
        if not piece:
            break
        data += piece
    return bytes(data)


def _parse_answer(path: str, line: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(line)
    except (ValueError, RecursionError):
        raise ControlError(
            f"{path}: what answers there is cut short, or is no agent; see the agent's log"
        ) from None
    if not isinstance(answer, dict) or answer.get("v") != VERSION:
        raise ControlError(f"{path}: {NO_ANSWER}")
    if "error" in answer:
        raise ControlError(f"{path}: {answer['error']}", denied=answer.get("denied") is True)
    return answer
