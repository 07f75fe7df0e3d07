"""lease.json: what the speaker writes, what the lease process reads, also from other releases."""

from __future__ import annotations

import json

import pytest

from anycastd.lease.settings import LeaseFile, LeaseStartError, Settings

FILE = LeaseFile(
    socket="/run/x/lease.sock",
    profile="/etc/x.yaml",
    prefixes=("203.0.113.10/32",),
    neighbors=("192.0.2.4", "192.0.2.5"),
    local_as=65010,
    ttl_max=30.0,
    inherit=2.0,
    config="sessions",
    vips="prefixes",
)
OLDEST = ("v", "socket", "prefixes", "neighbors", "local_as", "ttl_max")
"""Fields without which a file is useless; all others came later, or have a default."""


def test_a_lease_file_is_read_as_it_was_written() -> None:
    """Each field, and a profile that is not known becomes an empty path."""
    assert LeaseFile.load(FILE.dump()) == FILE
    data = json.loads(FILE.dump()) | {"profile": None, "novelty": [1]}
    assert LeaseFile.load(json.dumps(data)).profile == ""


def test_an_older_lease_file_is_read() -> None:
    """ExaBGP may start newer code of the lease process with the file of an older speaker."""
    data = {key: value for key, value in json.loads(FILE.dump()).items() if key in OLDEST}
    file = LeaseFile.load(json.dumps(data))
    assert (file.inherit, file.config, file.vips, file.profile) == (5.0, "", "", "")
    settings = Settings.from_file(file, "one", None)
    assert (settings.inherit_ttl, settings.config, settings.can_reload) == (5.0, "", False)


@pytest.mark.parametrize("loaded", [None, "", "running"])
def test_what_exabgp_runs_comes_before_what_the_file_says(loaded: str | None) -> None:
    """A speaker can reload only where its shim says what ExaBGP runs, and the profile is known."""
    settings = Settings.from_file(FILE, "one", loaded)
    assert settings.config == (loaded or "sessions")
    assert settings.can_reload == (loaded is not None)


@pytest.mark.parametrize(
    "text", ["", "[]", "null", "{}", '{"v":1}', FILE.dump().replace("65010", '"x"')]
)
def test_a_file_that_is_none_is_refused(text: str) -> None:
    """The text says what to do."""
    with pytest.raises(LeaseStartError, match=r"cannot be used: .*; restart the speaker"):
        LeaseFile.load(text)


def test_another_version_of_the_file_is_refused() -> None:
    """It says which one it is."""
    with pytest.raises(LeaseStartError, match="version 2 is not known here; restart the speaker"):
        LeaseFile.load(FILE.dump().replace('"v": 1', '"v": 2'))
