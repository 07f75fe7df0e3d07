"""`anycastd check` runs each check once, and names those that cannot see with their line."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from support.haproxy import Web, free_port

ROOT = Path(__file__).resolve().parents[3]
PROFILE = """\
region: northeurope
platform: plain
bgp:
  local_as: 65010
  router_id: 192.0.2.10
  local_address: 192.0.2.10
  neighbors:
    - {{address: 192.0.2.4, peer_as: 65515}}
checks:
  app: {{http: 'http://127.0.0.1:{port}/health'}}
  down: {{tcp: '127.0.0.1:{closed}'}}
  away:
    every: 5
    command: ['{folder}/missing']
  name: {{tcp: 'no-such-host.invalid:80'}}
  told: {{command: [/bin/echo, all, well]}}
services:
  web:
    vip: 203.0.113.10/32
    serve: {{any: [{{check: app}}, {{check: down}}, {{check: away}}, {{check: name}}]}}
    healthy: {{check: told}}
    failed: withdraw
"""


def run_check(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run `anycastd check` on a profile whose checks ask servers of this test."""
    web = Web()
    file = folder / "profile.yaml"
    text = PROFILE.format(port=web.port, closed=free_port(), folder=folder)
    file.write_text(text, encoding="utf-8")
    try:
        return subprocess.run(
            [sys.executable, "-m", "anycastd", "check", str(file), *options],
            capture_output=True,
            encoding="utf-8",
            check=False,
            env=os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "80"},
        )
    finally:
        web.stop()


def test_what_cannot_work_is_an_error_with_its_line(tmp_path: Path) -> None:
    """A missing command and an unknown name; what fails now is none, it may work later."""
    done = run_check(tmp_path, "--here")
    assert done.returncode == 78
    said = " ".join(done.stderr.split())
    assert "profile.yaml:14: checks.away.command: it cannot see what it asks: the command" in said
    assert f"there is no {tmp_path}/missing" in said
    assert "profile.yaml:15: checks.name.tcp: it cannot see what it asks: no-such-host" in said
    assert "checks.down" not in said
    shown = " ".join(done.stdout.split())
    assert "check app: passes: GET http://127.0.0.1:" in shown
    assert "check down: fails: tcp 127.0.0.1:" in shown
    assert "check told: passes: command /bin/echo (exit status 0: all well)" in shown
    assert "at first STANDBY" in shown or "PREFERRED" in shown


def test_a_profile_of_another_machine_runs_nothing_here(tmp_path: Path) -> None:
    """Its commands and servers are those of the other machine."""
    done = run_check(tmp_path)
    assert done.returncode == 0, done.stderr
    assert "cannot see" not in done.stderr
    assert "check told" not in done.stdout
