"""A headless Chromium, driven through its DevTools protocol over a pipe."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

PROGRAM = shutil.which("chromium")
"""Debian's Chromium; None where it is not installed."""
TIMEOUT = 60.0
"""Seconds that a command may take; a slow machine starts Chromium in some ten seconds."""


class Browser:
    """One page in Chromium.

    ``requests`` are the URLs that it asked for, ``complaints`` what it wrote to its console.
    """

    def __init__(self, to: int, answers: Any) -> None:
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self._to, self._answers = to, answers
        self._numbers = count(1)
        self._session = ""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command and return its result; what happens meanwhile is noted."""
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == number:
                assert "error" not in answer, answer
                return dict(answer["result"])

    def _read(self) -> dict[str, Any]:
        text = bytearray()
        while not text.endswith(b"\0"):
            piece = self._answers.read(1)
            assert piece, "Chromium has ended"
            text += piece
        answer: dict[str, Any] = json.loads(text[:-1])
        about = answer.get("params", {})
        match answer.get("method"):
            case "Network.requestWillBeSent":
                self.requests.append(about["request"]["url"])
            case "Log.entryAdded":
                self.complaints.append(about["entry"]["text"])
            case "Runtime.consoleAPICalled" | "Runtime.exceptionThrown":
                self.complaints.append(json.dumps(about))
        return answer

    def open(self, url: str) -> None:
        """Load a page, and wait until it is there."""
        self.call("Page.navigate", url=url)
        while self.evaluate("document.readyState") != "complete":
            continue

    def evaluate(self, expression: str) -> Any:
        """Return the value of an expression of JavaScript in the page."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def show(self, width: int, height: int, scheme: str = "light") -> None:
        """Set the size of the screen and the colour scheme that the reader prefers."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 500,
        )
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.call("Emulation.setEmulatedMedia", features=features)

    def take_screenshot(self) -> bytes:
        """Return what the screen shows, as PNG."""
        return base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])


@contextmanager
def open_browser() -> Iterator[Browser]:
    """Start Chromium with an empty page; it ends with the context."""
    assert PROGRAM is not None
    to_it, from_us = os.pipe()
    from_it, to_us = os.pipe()
    with tempfile.TemporaryDirectory(prefix="chromium-") as home:
        flags = (
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-background-networking",
            "--no-first-run",
            "--hide-scrollbars",
            "--remote-debugging-pipe",
            f"--user-data-dir={home}/data",
        )
        # Chromium reads commands from 3 and writes answers to 4.
        script = f'exec 3<&{to_it} 4>&{to_us}; exec "$@"'
        with subprocess.Popen(
            ["timeout", f"{TIMEOUT * 4:g}", "bash", "-c", script, "bash", PROGRAM, *flags],
            pass_fds=(to_it, to_us),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "HOME": home},
        ) as popen:
            os.close(to_it)
            os.close(to_us)
            try:
                with os.fdopen(from_it, "rb") as answers:
                    yield Browser(from_us, answers)
            finally:
                os.close(from_us)  # then it ends by itself
                try:
                    popen.wait(20)
                except subprocess.TimeoutExpired:
                    popen.terminate()
