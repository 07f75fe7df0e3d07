"""How long HAProxy takes to notice a dead server, read from its configuration."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anycastd.evidence.haproxy.advice import list_backend_rules
from anycastd.evidence.haproxy.check_times import find_slow_checks, parse_check_times
from anycastd.profile.conditions import BackendRule
from support.profiles import profile

CONFIG = """\
global
    log stdout local0   # server x is no server here
defaults base
    default-server inter 10s fall 2
defaults other from base
    default-server fall 5
backend first from base
    server a 192.0.2.1:80 check
    server b 192.0.2.2:80 check inter 500
    server c 192.0.2.3:80
    # server d 192.0.2.4:80 check
    server e "192.0.2.5:80" check inter 1m fastinter 100ms
backend second
    default-server check inter 3s
    server f 192.0.2.6:80
    server g 192.0.2.7:80 no-check
    server-template h 1-3 192.0.2.8:80 fall 1
    server i 192.0.2.9:80 inter "${INTER}"
listen third from base
    server j 192.0.2.10:80 check fall 3 # inter 1h
frontend web
    bind 192.0.2.10:80
"""


def test_a_configuration() -> None:
    """Sections inherit by name or from the section above; a line's own words win."""
    found = {
        backend: {each.server: each.detection for each in servers}
        for backend, servers in parse_check_times(CONFIG).items()
    }
    assert found == {
        "first": {"a": 20, "b": 1.0, "e": pytest.approx(60.1)},
        "second": {"f": 15, "h": 3, "i": None},
        "third": {"j": 30},
    }


def test_haproxys_defaults_are_fast_enough() -> None:
    """Two seconds three times is 6 s, which is no warning; unchecked servers are none either."""
    text = "backend web\n server s1 192.0.2.1:80 check\n server s2 192.0.2.1:81 inter 1h\n"
    times = parse_check_times(text)
    assert [each.detection for each in times["web"]] == [6]
    assert list(find_slow_checks(_rules(), times)) == []
    slow = parse_check_times(text.replace("check", "check inter 1h"))
    ((message, _),) = find_slow_checks(_rules(), slow)
    assert "after up to 10800 s (server s1: inter 1h, fall 3)" in message
    assert list(find_slow_checks(_rules(), {"other": slow["web"]})) == []


def _rules() -> list[BackendRule]:
    return list_backend_rules(profile(), "main")


WORDS = st.sampled_from(
    ["backend", "defaults", "from", "server", "default-server", "inter", "fall", "check", "#", "'"]
)


@given(st.lists(WORDS).map(" ".join) | st.text())
def test_any_text_is_read(text: str) -> None:
    """No configuration raises anything."""
    for servers in parse_check_times(text).values():
        for each in servers:
            assert each.detection is None or each.detection >= 0
