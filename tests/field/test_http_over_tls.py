"""The lines of docs/security.md for HAProxy: regions ask each other over TLS, with certificates."""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from anycastd.agent.region_client import RegionClient
from anycastd.decision.region_report import RegionReport, VipReport
from anycastd.profile.model import Profile
from anycastd.system.clock import OwnTime
from support.appliance import PROFILE, Appliance, own_network
from support.haproxy import HAProxy
from support.profiles import profile

pytestmark = pytest.mark.root

PAGE = Path(__file__).resolve().parents[2] / "docs" / "security.md"
SECRET = "0123456789abcdef0123456789abcdef"  # noqa: S105 - of this test alone
GLOBAL = "global\n    stats socket {dir}/stats.sock mode 660 level admin\n"


def make_certificate(directory: Path) -> Path:
    """Make a certificate of `westeurope` that is its own authority; the key is in the file, too."""
    key, certificate = directory / "key.pem", directory / "certificate.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    names = ["-subj", "/CN=westeurope", "-addext", "subjectAltName=DNS:westeurope"]
    files = ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*command, *names, *files], check=True, capture_output=True)
    whole = directory / "both.pem"
    whole.write_text(certificate.read_text("ascii") + key.read_text("ascii"), encoding="ascii")
    return whole


@pytest.fixture
def one(tmp_path: Path) -> Iterator[Appliance]:
    """Give northeurope, whose agent is behind the HAProxy of the page; it asks itself by TLS."""
    token = tmp_path / "token"
    token.write_text(SECRET, encoding="ascii")
    token.chmod(0o640)
    web = f"web: {{{{listen: '127.0.0.1:9481', token_file: {token}}}}}\nservices:\n"
    certificate = make_certificate(tmp_path)
    (lines,) = re.findall(r"```haproxy\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    for old, new in (
        ("10.0.2.10:9443", "127.0.0.1:9443"),
        ("10.1.2.10:9443", "127.0.0.1:9443"),
        ("/etc/haproxy/anycastd.pem", str(certificate)),
        ("/etc/haproxy/anycastd-ca.pem", str(tmp_path / "certificate.pem")),
    ):
        assert old in lines
        lines = lines.replace(old, new)
    (tmp_path / "tls").mkdir()
    front = HAProxy(tmp_path / "tls", lines, GLOBAL)
    with (
        own_network(),
        Appliance(tmp_path, profile=PROFILE.replace("services:\n", web, 1)) as appliance,
    ):
        front.start()
        appliance.start()
        yield appliance
        front.stop()


def build_asking_profile(token: Path | None) -> Profile:
    """Build the profile of a westeurope that asks northeurope through the HAProxy."""
    key = f", token_file: {token}" if token else ""
    regions = (
        "regions:\n"
        f"  - {{name: northeurope, agent: '127.0.0.1:9482'{key}}}\n"
        "  - {name: westeurope, agent: '127.0.0.1:9483'}\nservices:\n"
    )
    return profile(("region: northeurope", "region: westeurope"), ("services:\n", regions))


def test_regions_ask_each_other_over_tls(one: Appliance, tmp_path: Path) -> None:
    """With certificate and token there is a report; without one of them there is none."""
    clock = OwnTime()
    client = RegionClient(build_asking_profile(tmp_path / "token"), clock)
    report = fetch_report(client)
    assert report.detail == ""
    assert report.vips == {
        "203.0.113.10/32": VipReport(serves=True, draining=False, level="preferred", path=(65010,))
    }
    other = RegionClient(build_asking_profile(None), clock)
    report = fetch_report(other)
    assert "401 unauthorized, so it wants a token: regions, token_file" in report.detail
    (tmp_path / "token").chmod(0o644)
    report = fetch_report(client)
    assert "is open to other users: chmod 0640" in report.detail
    assert SECRET not in one.log()
    context = ssl.create_default_context(cafile=str(tmp_path / "certificate.pem"))
    assert ask_without_certificate(context) == b""


def fetch_report(client: RegionClient) -> RegionReport:
    """Ask northeurope, again where a busy machine does not answer in time; return its report."""
    for _ in range(10):
        report = asyncio.run(client.fetch_reports())["northeurope"]
        if "does not answer" not in report.detail:
            return report
    raise AssertionError("northeurope never answers in time")


def ask_without_certificate(context: ssl.SSLContext) -> bytes:
    """Ask at the HAProxy; returns what comes, nothing where it breaks the connection."""
    with socket.create_connection(("127.0.0.1", 9443), 3) as connection:
        try:
            with context.wrap_socket(connection, server_hostname="westeurope") as secured:
                secured.sendall(b"GET /status HTTP/1.1\r\nHost: x\r\n\r\n")
                return secured.recv(100)
        except OSError:
            return b""
