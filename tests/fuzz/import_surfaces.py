"""The surfaces of `anycastd import`: files that another program's operator wrote."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from anycastd.migration.draft import Draft, SourceError
from anycastd.migration.exabgp_conf import draft_exabgp_conf
from anycastd.migration.haproxy_cfg import draft_haproxy_cfg
from anycastd.migration.healthcheck import draft_healthcheck
from anycastd.migration.healthcheck_options import read_options
from anycastd.migration.write import write_profile
from anycastd.profile.validate import validate_profile
from fuzz.engine import Surface

CONF = b"""\
template { neighbor tor { local-as 65001; local-address 10.0.0.7; router-id 10.0.0.7; } }
neighbor 10.0.0.1 { inherit tor; peer-as 64512; md5-password "a b"; hold-time 30;
  family { ipv4 unicast; } capability { graceful-restart 120; }
  static { route 203.0.113.10/32 next-hop self as-path [ 65001 65001 ] community [ 65001:1 ];
    route 203.0.113.11/32 { next-hop 10.0.0.9; med 5; } } }
process watch { run exabgp healthcheck --cmd "true" --ip 203.0.113.12/32; }
"""
OPTIONS = b"""\
name = dns
interval = 2
command = dig @127.0.0.1 | grep -q A
disable = /run/off
ip = 203.0.113.10/32
community = 65010:1
"""
HAPROXY = Path(__file__).resolve().parents[2] / "haproxy" / "haproxy.cfg"
_SECONDS = 500e-6
"""CPU time for each byte: the profile is written and validated, and every line may be marked."""


def _feed(read: Callable[[str], Draft]) -> Callable[[bytes], None]:
    """Return the feed of a reader: what it refuses is told in one line, all else is a profile."""

    def feed(data: bytes) -> None:
        try:
            draft = read(data.decode(errors="replace"))
        except SourceError as error:
            refusal = error
        else:
            _judge(write_profile(draft, "kind", "file"))
            return
        assert refusal.message.isprintable(), f"for operators: {refusal.message!r}"
        assert refusal.line >= 0

    return feed


def _judge(written: str) -> None:
    """Assert that a profile is text that a person can edit, wrong on marked lines alone."""
    assert all(char.isprintable() or char == "\n" for char in written)
    lines = written.splitlines()
    problems = [each for each in validate_profile(written, "p").problems if not each.warning]
    if len(problems) < 100:  # more have one line together
        for problem in problems:
            assert "# EDIT" in lines[problem.line - 1], problem


IMPORT_SURFACES = (
    Surface(
        "import-exabgp",
        "who wrote the ExaBGP configuration",
        (CONF,),
        (b"neighbor 10.0.0.2 { ", b" } ", b"; ", b" as-path [ 1.10 ( 65001 ) ] ", b"\"'", b"{{{{"),
        _feed(draft_exabgp_conf),
        _SECONDS,
    ),
    Surface(
        "import-healthcheck",
        "who wrote the options of healthcheck",
        (OPTIONS, b"exabgp healthcheck --cmd 'curl -sf http://127.0.0.1/' --ip 203.0.113.10/32"),
        (b"\nip = ", b" --ip ", b"'", b"\\\n", b"\ndebug\n", b"%eth0", b"/24"),
        _feed(lambda text: draft_healthcheck(read_options(text))),
        _SECONDS,
    ),
    Surface(
        "import-haproxy",
        "who wrote haproxy.cfg",
        (HAPROXY.read_bytes(), b"frontend web\n bind 203.0.113.10:80\n default_backend web\n"),
        (b"\nfrontend web\n", b" bind 203.0.113.10:80,[::1]:80\n", b"\nbackend web\n server a b\n"),
        _feed(draft_haproxy_cfg),
        _SECONDS,
    ),
)
"""They are part of ``fuzz.surfaces``."""
