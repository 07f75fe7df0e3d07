"""Options of ExaBGP's healthcheck: each is known, on the page, and becomes what that says."""

from __future__ import annotations

import argparse
import json
import re
import subprocess
from pathlib import Path

import pytest

from anycastd.migration.draft import SourceError
from anycastd.migration.healthcheck import draft_healthcheck
from anycastd.migration.healthcheck_options import ALIASES, FLAGS, VALUES, read_options
from anycastd.migration.write import write_profile
from anycastd.profile.checks import CommandCheck, FileCheck
from anycastd.profile.model import Profile
from anycastd.profile.validate import validate_profile

PAGE = Path(__file__).resolve().parents[3] / "docs" / "mapping.md"
LIST_OPTIONS = """\
import argparse, json, sys
from exabgp.application import healthcheck
def show(parser, *_):
    print(json.dumps([
        [sorted(each.option_strings), each.nargs == 0] for each in parser._actions
    ]))
    sys.exit()
argparse.ArgumentParser.parse_args = show
healthcheck.parse()
"""
FILE = """\
# a healthcheck of a DNS server
name = dns
debug
interval = 2
fast-interval = 1
timeout = 3
rise = 2
fall = 4
command = dig +time=1 @127.0.0.1 example.com | grep -q ANSWER
disable = /etc/maintenance
ip = 203.0.113.10/32
ip = 203.0.113.11
next-hop = 10.0.0.7
up-metric = 10
increase = 5
disabled-metric = 700
community = 65010:1 65010:2
large-community = 65010:1:2
as-path = 65010 65010
"""


def convert(text: str) -> tuple[str, Profile]:
    """Return the text of a profile, and the Profile, which must pass as a whole."""
    written = write_profile(draft_healthcheck(read_options(text)), "exabgp-healthcheck", "a.conf")
    validation = validate_profile(written, "p.yaml")
    assert validation.profile is not None, "\\n".join(map(str, validation.problems))
    return written, validation.profile


def list_options(python: str) -> list[tuple[list[str], bool]]:
    """Return (names, whether it is a flag) of each option of an installed healthcheck."""
    done = subprocess.run(
        [python, "-c", LIST_OPTIONS], capture_output=True, encoding="utf-8", check=True
    )
    return [(names, flag) for names, flag in json.loads(done.stdout)]


def test_every_option_of_the_installed_one_is_known_and_on_the_page(exabgp_python: str) -> None:
    """Also its other names, and whether it takes a value."""
    page = PAGE.read_text(encoding="utf-8").partition("## A static ExaBGP")[0]
    on_page = set(re.findall(r"(?<![\w-])--?[a-zA-Z][\w-]*", page))
    options = list_options(exabgp_python)
    assert len(options) > 30
    for names, is_flag in options:
        whole = next(name for name in names if name.startswith("--") and name != "--cmd")
        name = whole.removeprefix("--")
        assert name in (FLAGS if is_flag else VALUES), whole
        if name != "help":
            assert set(names) <= on_page, f"{names} on {PAGE.name}"
        for other in names:
            assert other == whole or ALIASES.get(other) == name, other


def test_a_configuration_file() -> None:
    """Each value is where it belongs; what has no counterpart is noted with its line."""
    written, profile = convert(FILE)
    check, enabled = profile.checks["dns"], profile.checks["dns-enabled"]
    assert (check.every, check.timeout, check.rise, check.fall) == (2, 3, 2, 4)
    assert isinstance(check.asks, CommandCheck)
    assert check.asks.command[:2] == ("/bin/sh", "-c")
    assert check.asks.command[2].startswith("dig +time=1 @127.0.0.1")
    assert enabled.asks == FileCheck("/etc/maintenance", exists=False)
    one, two = profile.services.values()
    assert (one.prefix, one.med, two.prefix, two.med) == (
        "203.0.113.10/32",
        10,
        "203.0.113.11/32",
        15,
    )
    assert one.communities == ("65010:1", "65010:2", "65010:1:2")
    assert (one.prepend, one.degraded.prepend, one.degraded.med) == (1, 2, 700)
    assert one.failed.value == "standby"
    for words in ("a.conf:3: --debug:", "a.conf:5: --fast-interval:", "--down-metric:"):
        assert words in " ".join(written.split())


@pytest.mark.parametrize(
    "line",
    [
        "exabgp healthcheck --cmd 'curl -sf http://127.0.0.1/' --ip 203.0.113.10/32",
        "python3 -m exabgp healthcheck -c'curl -sf http://127.0.0.1/' --ip=203.0.113.10",
        "--comma 'curl -sf http://127.0.0.1/' \\\n  --ip 203.0.113.10/32",
        "/usr/bin/exabgp-healthcheck --command 'curl -sf http://127.0.0.1/' --ip 203.0.113.10/32;",
    ],
)
def test_a_command_line(line: str) -> None:
    """In the forms in which people write it."""
    _, profile = convert(line.replace("\\\\\n", "\\\n"))
    (service,) = profile.services.values()
    (check,) = profile.checks.values()
    assert service.prefix == "203.0.113.10/32"
    assert isinstance(check.asks, CommandCheck)
    assert check.asks.command[2] == "curl -sf http://127.0.0.1/"
    assert (check.every, check.timeout, check.rise, check.fall) == (5, 5, 3, 3)


def test_withdraw_on_down_and_a_switch() -> None:
    """Then the file withdraws, too, and nothing is degraded."""
    _, profile = convert("--cmd true --ip 203.0.113.10 --withdraw-on-down --disable /run/off")
    (service,) = profile.services.values()
    assert (service.failed.value, service.healthy) == ("withdraw", None)
    assert len(profile.checks) == 2


def test_without_a_command_and_an_address() -> None:
    """A profile all the same: what is missing is marked or noted."""
    written, profile = convert("name = x\nneighbor = 10.0.0.1\nexecute = logger hi\n")
    assert [str(each.address) for each in profile.bgp.neighbors] == ["10.0.0.1"]
    assert profile.hooks[0].command == ("/bin/sh", "-c", "logger hi")
    assert "--command is missing" in written
    assert "vip: 203.0.113.10/32  # EDIT" in written


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("", 0, "no option"),
        ("# only a comment\n", 0, "no option"),
        ("speed = 3", 1, "--speed is no option"),
        ("\ninterval", 2, "lacks its value"),
        ("debug = yes", 1, "debug takes no value"),
        ("--ip", 1, "--ip lacks its value"),
        ("--ip 10.0.0.300", 1, "--ip 10.0.0.300: no address"),
        ("ip = 10.0.0.0/8\ndeaggregate-networks", 1, "more than 1000 addresses"),
        ("command = true\nrise = often", 2, "--rise often: no number"),
        ("ip = 10.1.1.1\nip-ifname = 10.1.1.1", 2, "not ADDRESS%INTERFACE"),
        ("--cmd 'open", 1, "no closing quotation"),
        ("exabgp healthcheck --ip 10.1.1.1\nexabgp healthcheck --ip 10.1.1.2", 2, "a second"),
        ("\x00\x01", 1, "control character"),
        ("as-path = 65010 many", 1, "no list of AS numbers"),
    ],
)
def test_what_is_no_healthcheck_has_one_message(text: str, line: int, words: str) -> None:
    """With its line."""
    with pytest.raises(SourceError) as caught:
        draft_healthcheck(read_options(text))
    assert caught.value.line == line
    assert words in caught.value.message
    assert caught.value.message.isprintable()


def test_the_parser_of_this_python_agrees() -> None:
    """`help` is what argparse adds by itself."""
    assert "-h" in argparse.ArgumentParser().format_help()
    assert not FLAGS & VALUES
