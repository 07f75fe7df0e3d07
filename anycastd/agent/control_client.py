"""Ask the running agent over its control socket (blocking, without asyncio; starts fast).

One JSON line each way: ``{"v": 1, "ask": QUESTION, "with": ARGUMENTS}``, then the answer.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Mapping
from typing import Any

VERSION = 1
"""Version of requests and answers; both sides must have the same."""
MAX_ANSWER = 64 * 1024 * 1024
"""Bytes of an answer at most."""
VALIDATE_TIMEOUT = 30.0
"""Seconds that a reload's check of code and profile may take; usually it takes half a second."""


class ControlError(Exception):
    """The agent does not answer, or answers with an error; the message says what to do."""


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

    Blocks for at most ``timeout`` seconds for each step of the exchange.  Returns the JSON object.

    Raises ControlError where no agent answers in time, it may not be asked, or it answers with an
    error.  A refusal is no error: the answer then has ``refused``.
    """
    request: dict[str, Any] = {"v": VERSION, "ask": question}
    if arguments is not None:
        request["with"] = arguments
    path = socket_path(directory)
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(timeout)
            connection.connect(path)
            connection.sendall(json.dumps(request).encode() + b"\n")
            with connection.makefile("rb") as stream:
                line = stream.readline(MAX_ANSWER)
    except (FileNotFoundError, ConnectionRefusedError):
        raise ControlError(
            f"{path}: no agent answers there; start it (`systemctl start anycastd`), or name its "
            "--directory"
        ) from None
    except PermissionError:
        raise ControlError(
            f"{path}: no permission to ask this agent; use sudo, or join its group"
        ) from None
    except TimeoutError:
        raise ControlError(
            f"{path}: the agent did not answer within {timeout:g} s; it is stopped or stuck"
        ) from None
    except OSError as error:
        raise ControlError(f"{path}: {error.strerror or error}") from None
    return _parse_answer(path, line)


def _parse_answer(path: str, line: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(line)
    except ValueError:
        raise ControlError(
            f"{path}: the agent closed the connection without an answer; see its log"
        ) from None
    if not isinstance(answer, dict):
        raise ControlError(f"{path}: {answer}")
    if "error" in answer:
        raise ControlError(f"{path}: {answer['error']}")
    return answer
