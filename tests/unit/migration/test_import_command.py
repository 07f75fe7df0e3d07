"""`anycastd import` as a command: files, exit codes, a haproxy.cfg; nothing that exists is lost."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest

from anycastd.cli.main import main
from anycastd.profile.validate import validate_profile
from anycastd.system.exit_codes import DONE, EX_DATAERR, EX_NOINPUT, EX_UNAVAILABLE, REFUSED

SHIPPED = Path(__file__).resolve().parents[3] / "haproxy" / "haproxy.cfg"
CONF = """\
neighbor 10.0.0.1 {
    router-id 10.0.0.7; local-address 10.0.0.7; local-as 65001; peer-as 64512;
    static { route 203.0.113.10/32 next-hop self; }
}
"""
HAPROXY = """\
global
    stats socket /run/haproxy/anycastd.sock mode 660 group anycastd
frontend web
    bind 203.0.113.10:80,203.0.113.11:80
    bind [2001:db8::10]:80
    bind *:8080
    default_backend app
backend app
    server s1 10.0.3.10:80 check
"""


def test_a_haproxy_cfg(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A service for each address that is bound by itself."""
    file = tmp_path / "haproxy.cfg"
    file.write_text(HAPROXY, encoding="utf-8")
    assert main(["import", "haproxy", str(file)]) == DONE
    written = capsys.readouterr().out
    profile = validate_profile(written, "p.yaml").profile
    # An IPv6 VIP on an IPv4 session needs a next hop of its own, which nobody has told.
    assert profile is None
    assert len(re.findall("# EDIT: see above", written)) == 1
    services = re.findall(r"^    vip: (\S+)$|vip: (\S+)  # EDIT: see", written, re.MULTILINE)
    assert [one or other for one, other in services][:2] == ["203.0.113.10/32", "203.0.113.11/32"]
    assert "serve: {all: [{backend: app}, {frontend: web}]}" in written


def test_the_shipped_haproxy_cfg(capsys: pytest.CaptureFixture[str]) -> None:
    """It passes, with its ring."""
    assert main(["import", "haproxy", str(SHIPPED)]) == DONE
    profile = validate_profile(capsys.readouterr().out, "p.yaml").profile
    assert profile is not None
    assert profile.haproxy["main"].ring == "anycastd"


def test_names_of_haproxy_for_static_routes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The condition and the socket are written, and no mark is left on them."""
    conf, cfg = tmp_path / "exabgp.conf", tmp_path / "haproxy.cfg"
    conf.write_text(CONF, encoding="utf-8")
    cfg.write_text(HAPROXY, encoding="utf-8")
    assert main(["import", "exabgp-conf", str(conf), "--haproxy-config", str(cfg)]) == DONE
    written = capsys.readouterr().out
    assert validate_profile(written, "p.yaml").profile is not None
    assert written.count("# EDIT:") == 1
    assert "serve: {all: [{backend: app}, {frontend: web}]}" in written


def test_an_existing_file_is_replaced_with_force_only(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The message names the option; with it the file is written anew."""
    conf, target = tmp_path / "exabgp.conf", tmp_path / "profile.yaml"
    conf.write_text(CONF, encoding="utf-8")
    target.write_text("mine\n", encoding="utf-8")
    command = ["import", "exabgp-conf", str(conf), "-o", str(target)]
    assert main(command) == REFUSED
    assert "--force" in capsys.readouterr().err
    assert target.read_text(encoding="utf-8") == "mine\n"
    assert main([*command, "--force"]) == DONE
    assert "wrote" in capsys.readouterr().out
    assert validate_profile(target.read_text(encoding="utf-8"), "p.yaml").profile is not None


@pytest.mark.parametrize(
    ("content", "code", "words"),
    [
        (None, EX_NOINPUT, "cannot be read: No such file"),
        (b"x" * ((1 << 20) + 1), EX_NOINPUT, "more than 1048576 bytes"),
        (b"neighbor 10.0.0.1 {\n  peer-as x;\n}\n", EX_DATAERR, ":2: x is no AS number"),
        (bytes(range(256)) * 100, EX_DATAERR, ":1: a control character"),
        (b"", EX_DATAERR, "it has no neighbor"),
        (b"{" * (1 << 20), EX_DATAERR, "nested deeper"),
        (b"a " * (1 << 19), EX_DATAERR, "it has no neighbor"),
        ("neighbor \u202e;\n".encode(), EX_DATAERR, ":1: \\u202e is no address"),
    ],
    ids=["missing", "large", "wrong", "binary", "empty", "deep", "long", "bidirectional"],
)
def test_a_bad_file_has_one_message(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    content: bytes | None,
    code: int,
    words: str,
) -> None:
    """On standard error, and nothing on standard output; no file is written."""
    file, target = tmp_path / "in", tmp_path / "out"
    if content is not None:
        file.write_bytes(content)
    assert main(["import", "exabgp-conf", str(file), "-o", str(target)]) == code
    said = capsys.readouterr()
    assert words in " ".join(said.err.split())
    assert said.out == ""
    assert said.err.isascii()
    assert not target.exists()


def test_a_folder_and_a_place_that_is_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A folder is no file to read, and a profile needs a folder that is there."""
    conf = tmp_path / "exabgp.conf"
    conf.write_text(CONF, encoding="utf-8")
    assert main(["import", "exabgp-conf", str(tmp_path)]) == EX_NOINPUT
    assert "no regular file" in capsys.readouterr().err
    command = ["import", "exabgp-conf", str(conf), "-o", str(tmp_path / "none" / "p.yaml")]
    assert main(command) == EX_UNAVAILABLE
    assert "cannot be written" in capsys.readouterr().err


def test_standard_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`-` reads it."""
    conf = tmp_path / "exabgp.conf"
    conf.write_text(CONF, encoding="utf-8")
    with conf.open("rb") as stream:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(stream, encoding="utf-8"))
        assert main(["import", "exabgp-conf", "-"]) == DONE
    assert "203.0.113.10/32" in capsys.readouterr().out
