"""The pages by HTTP on a running appliance: what probes and load balancers see."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.appliance import PROFILE, VIP, Appliance, own_network
from support.peer import wait_for
from support.web_client import ask

pytestmark = pytest.mark.root

WITH_WEB = PROFILE.replace("services:\n", "web: {{listen: '127.0.0.1:9480'}}\nservices:\n", 1)


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Appliance]:
    """Give a running appliance that answers by HTTP."""
    directory = tmp_path_factory.mktemp("pages")
    with own_network(), Appliance(directory, profile=WITH_WEB) as appliance:
        appliance.start()
        yield appliance


def wait_code(path: str, code: int) -> str:
    """Wait until a page has a status code, and return its body."""
    wait_for(lambda: ask(path).code == code, 30, f"{path} with {code}: {ask(path)}")
    return ask(path).body


def test_probes_see_a_failure_and_its_end(one: Appliance) -> None:
    """Without a server the region is not ready and serves nothing, and its loop still turns."""
    wait_code("/readyz", 200)
    wait_code(f"/serving?vip={VIP}", 200)
    for backend in one.backends:
        backend.stop()
    wait_code(f"/serving?vip={VIP}", 503)
    one.wait_path(0)
    said = json.loads(wait_code("/readyz", 503))
    assert said["severity"] == 2
    assert "web" in said["why"]
    wait_for(lambda: "\nanycastd_severity 2.0\n" in ask("/metrics").body, 30, "severity 2")
    assert json.loads(wait_code("/healthz", 200))["healthy"] is True
    for backend in one.backends:
        backend.start()
    wait_code("/readyz", 200)
    assert json.loads(wait_code(f"/serving?vip={VIP}/32", 200))["serves"] is True
    events = json.loads(wait_code("/history", 200))["events"]
    changes = [each["fields"] for each in events if each["kind"] == "transition"]
    assert ("preferred", "withdrawn") in [(each["from"], each["to"]) for each in changes]
    last = events[-1]
    after = json.loads(ask(f"/history?after={events[-2]['number']}").body)["events"]
    assert after[0] == last
    since = json.loads(ask(f"/history?since={last['at']}").body)["events"]
    assert last in since
    assert all(each["at"] >= last["at"] for each in since)


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/serving?vip=198.51.100.1", 404),
        ("/serving?vip=web", 400),
        ("/history?since=yesterday", 400),
        ("/history?after=1e3", 400),
        ("/history?since=nan", 200),
        ("/history?since=-1", 200),
        ("/metrics/", 404),
        ("/status", 200),
        ("/metrics", 200),
        ("/", 200),
    ],
)
def test_what_is_asked_wrongly_is_said(one: Appliance, path: str, code: int) -> None:
    """An error is JSON that says what is right; HEAD has the same code, and no body."""
    assert one.agent is not None
    answer = ask(path)
    assert answer.code == code
    if code >= 400:
        assert len(json.loads(answer.body)["error"]) > 10
    assert ask(path, "HEAD")._replace(body="") == answer._replace(body="")
    assert ask(path, "HEAD").body == ""


@pytest.mark.skipif(
    shutil.which("promtool") is None, reason="needs promtool, of Debian's package prometheus"
)
def test_promtool_accepts_a_scrape(one: Appliance, tmp_path: Path) -> None:
    """`promtool check metrics` has nothing to say."""
    assert one.agent is not None
    file = tmp_path / "metrics"
    file.write_text(ask("/metrics").body, encoding="utf-8")
    with file.open(encoding="utf-8") as text:
        done = subprocess.run(
            ["promtool", "check", "metrics"],
            stdin=text,
            capture_output=True,
            encoding="utf-8",
            check=False,
        )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
