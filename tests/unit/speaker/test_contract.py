"""What the shim, the configuration and the lease process agree on: values that never change."""

from __future__ import annotations

import json

import pytest

from anycastd.speaker.exabgp import contract


def test_the_names_are_those_of_every_release() -> None:
    """A running speaker of an older release meets newer code."""
    assert contract.PARENT_VARIABLE == "ANYCASTD_PARENT"
    assert contract.LOADED_VARIABLE == "ANYCASTD_LOADED"
    assert contract.WATCH_COMMENT == "# watched"
    assert contract.format_config_line("abc") == "# config abc\n"


def test_the_hash_is_read_back_from_a_file_as_it_is_written() -> None:
    """It is in one of the first lines; another comment and a line without end hold none."""
    line = contract.format_config_line("abc-1")
    assert contract.parse_config_line(("# Written by `anycastd speaker`\n", line)) == "abc-1"
    assert contract.parse_config_line((line, contract.format_config_line("other"))) == "abc-1"
    assert contract.parse_config_line(("neighbor 127.0.0.2 {\n", "", "# config abc")) == ""


@pytest.mark.parametrize("error", [None, 'no such "word"'])
def test_an_event_is_read_back_as_it_is_sent(error: str | None) -> None:
    """One line of JSON, with the keys that every release knows."""
    event = json.loads(contract.dump_loaded_event("abc", error))
    assert contract.parse_loaded_event(event) == ("abc", error)
    assert event.items() >= {"type": "anycastd", "loaded": "abc"}.items()
    assert ("error" in event) == (error is not None)
    assert contract.parse_loaded_event({"type": "state", "loaded": "abc"}) is None
