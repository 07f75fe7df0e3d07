"""Ask an agent over its control socket, blocking (no asyncio)."""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

VERSION = 1


MAX_ANSWER = 64 * 1024 * 1024


class ControlError(Exception):
    """Nobody answers, or not what was asked: says what is wrong and what to do."""


def socket_path(directory: str) -> str:
    """Where the agent of ``directory`` listens."""
    return str(Path(directory, "agent.sock"))


def ask_agent(
    directory: str,
    question: str,
    within: float = 5.0,
    arguments: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Ask the agent of ``directory``, blocking, for ``within`` seconds; raises ControlError.

    ``arguments`` are those of a command.
    """
    whole = {"v": VERSION, "ask": question} | ({} if arguments is None else {"with": arguments})
    path = socket_path(directory)
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(within)
            connection.connect(path)
            connection.sendall(json.dumps(whole).encode() + b"\n")
            with connection.makefile("rb") as stream:
                line = stream.readline(MAX_ANSWER)
    except (FileNotFoundError, ConnectionRefusedError):
        raise ControlError(
            f"{path}: no agent answers there; start it (`systemctl start anycastd`), or name its "
            "--directory"
        ) from None
    except PermissionError:
        raise ControlError(
            f"{path}: you may not ask this agent; use sudo, or join its group"
        ) from None
    except TimeoutError:
        raise ControlError(
            f"{path}: the agent did not answer within {within:g} s; it is stopped or stuck"
        ) from None
    except OSError as error:
        raise ControlError(f"{path}: {error.strerror or error}") from None
    try:
        answer = json.loads(line)
    except ValueError:
        raise ControlError(f"{path}: the agent closed without an answer; see its log") from None
    if not isinstance(answer, dict) or "error" in answer:
        raise ControlError(f"{path}: {answer.get('error') if isinstance(answer, dict) else answer}")
    return answer
