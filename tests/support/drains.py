"""Helpers for drains: an appliance with short times, its commands, another region's agent."""

from __future__ import annotations

import contextlib
import http.server
import json
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from support.appliance import PROFILE, VIP, Appliance, own_network

TIMES = "drain: {{wait: 1.5, linger: 2, stop: 2}}\n"
"""Times of a drain, in seconds."""
OTHER = "192.0.2.20:9480"
"""Where the other region's agent answers."""
REGIONS = f"""\
regions:
  - {{{{name: northeurope, agent: "192.0.2.10:9480"}}}}
  - {{{{name: westeurope, agent: "{OTHER}"}}}}
web: {{{{listen: "192.0.2.10:9480"}}}}
"""
NEIGHBOR = "{{address: 192.0.2.5, peer_as: 65515}}"
GENTLE = "{{address: 192.0.2.5, peer_as: 65515, graceful_shutdown: true}}"


@contextlib.contextmanager
def run_drainable(
    tmp_path: Path, more: str = "", changes: Sequence[tuple[str, str]] = (), **settings: Any
) -> Iterator[Appliance]:
    """Run an appliance whose drains are short, for a ``with`` block.

    ``more`` is added to its profile; ``changes`` are (old, new) texts to replace in it.  Raises
    AssertionError where an old text is not there, or the appliance does not come up.
    """
    profile = PROFILE.replace("bgp:\n", TIMES + more + "bgp:\n").replace(NEIGHBOR, GENTLE)
    for old, new in changes:
        assert old in profile, f"the profile has no {old!r}"
        profile = profile.replace(old, new)
    with own_network(), Appliance(tmp_path, profile=profile, **settings) as one:
        one.start()
        yield one


def run_anycastd(
    appliance: Appliance,
    command: str,
    *options: str,
    environment: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a command of anycastd on the appliance, as an operator does; it may take 60 s."""
    where = ("--directory", appliance.directory_of("agent"))
    return subprocess.run(
        [sys.executable, "-m", "anycastd", command, *options, *where],
        capture_output=True,
        encoding="utf-8",
        check=False,
        timeout=60,
        env=appliance.environment | dict(environment or {}),
    )


def run_drain(appliance: Appliance, *options: str) -> subprocess.CompletedProcess[str]:
    """Run `anycastd drain` with a reason."""
    return run_anycastd(appliance, "drain", "--reason", "new kernel", *options)


def read_web(appliance: Appliance) -> dict[str, Any]:
    """Return the service `web` of the JSON of `anycastd status`."""
    service: dict[str, Any] = appliance.status()["services"]["web"]
    return service


class Region:
    """Another region's agent, as this region sees it: it answers GET /serving.

    ``serves`` and ``draining`` are what it answers; ``requests`` counts the requests.
    """

    def __init__(self, name: str = "westeurope", at: str = OTHER) -> None:
        self.serves, self.draining = True, False
        self.requests = 0
        region = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                region.requests += 1
                vips = {f"{VIP}/32": {"serves": region.serves, "draining": region.draining}}
                body = json.dumps({"v": 1, "region": name, "vips": vips}).encode()
                self.send_response(200 if self.path == "/serving" else 404)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        address, _, port = at.rpartition(":")
        subprocess.run(["ip", "address", "replace", f"{address}/32", "dev", "lo"], check=True)
        self._server = http.server.ThreadingHTTPServer((address, int(port)), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
