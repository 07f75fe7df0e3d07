"""The agent's log in a real journal: systemd-journald, in namespaces of its own."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from anycastd.views.events import EventKind
from support.appliance import PROFILE

JOURNALD = "/lib/systemd/systemd-journald"
MACHINE_ID = Path("/etc/machine-id")
READ = "journalctl -q --no-pager -D /run/log/journal -o json SYSLOG_IDENTIFIER=anycastd"
# Each wait is bounded, and what it waits for is read from the journal or the file system.
SCRIPT = f"""
set -e
mount -t tmpfs own /run
mount -t tmpfs own /var/log
mkdir -p /run/systemd/journal /run/log/journal
{JOURNALD} & journald=$!
for n in $(seq 300); do [ -S /run/systemd/journal/socket ] && break; sleep 0.1; done
JOURNAL_STREAM=$(stat -c %d:%i "$PLACE/stderr") "$@" 2>"$PLACE/stderr" & agent=$!
for n in $(seq 300); do
    {READ} | grep -q "MESSAGE_ID.*$WANTED" && break; sleep 0.1
done
kill -TERM $agent; wait $agent || true
for n in $(seq 300); do
    {READ} | grep -q "MESSAGE_ID.*$LAST" && break; sleep 0.1
done
{READ}
kill -TERM $journald; wait $journald || true
"""

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(
        not Path(JOURNALD).exists()
        or shutil.which("journalctl") is None
        or not MACHINE_ID.exists()
        or not re.fullmatch("[0-9a-f]{32}\n?", MACHINE_ID.read_text(encoding="utf-8")),
        reason="no systemd-journald or no machine id here",
    ),
]


def run_in_journal(tmp_path: Path) -> list[dict[str, Any]]:
    """Run an agent without a HAProxy and a speaker; return its entries in the journal."""
    profile = tmp_path / "profile.yaml"
    settings = {"ttl": 5, "deadline": 3, "ring": "anycastd", "socket": tmp_path / "none.sock"}
    profile.write_text(PROFILE.format(**settings), encoding="utf-8")
    (tmp_path / "stderr").touch()
    agent = [sys.executable, "-m", "anycastd", "run", "--profile", str(profile)]
    agent += ["--directory", str(tmp_path / "agent"), "--state", str(tmp_path / "state")]
    agent += ["--lease", str(tmp_path / "lease.sock")]
    done = subprocess.run(
        ["unshare", "--mount", "--net", "bash", "-c", SCRIPT, "bash", *agent],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        timeout=110,
        check=False,
        env=os.environ
        | {
            "PYTHONPATH": str(Path(__file__).resolve().parents[2]),
            "PLACE": str(tmp_path),
            "WANTED": EventKind.HAPROXY_GONE.message_id,
            "LAST": EventKind.AGENT_STOPPED.message_id,
        },
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_events_are_entries_with_fields(tmp_path: Path) -> None:
    """`journalctl MESSAGE_ID=...` and `-p` find them; standard error has no line of them."""
    entries = run_in_journal(tmp_path)
    kinds = {entry.get("MESSAGE_ID"): entry for entry in entries}
    started = kinds[EventKind.AGENT_STARTED.message_id]
    assert started["MESSAGE"].startswith("started: anycastd ")
    assert (started["PRIORITY"], started["ANYCASTD_REGION"]) == ("5", "northeurope")
    gone = kinds[EventKind.HAPROXY_GONE.message_id]
    assert (gone["PRIORITY"], gone["ANYCASTD_HAPROXY"]) == ("3", "main")
    assert gone["REASON"] == "haproxy_gone"
    assert gone["_TRANSPORT"] == "journal"
    assert "anycastd: started" not in (tmp_path / "stderr").read_text(encoding="utf-8")
