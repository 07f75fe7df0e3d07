"""Rules for checks: each broken one gives one line, with what to write."""

from __future__ import annotations

import pytest

from anycastd.profile.checks import CommandCheck, FileCheck, HttpCheck, LoadCheck, Target, Url
from anycastd.profile.model import Profile
from anycastd.profile.validate import validate_profile
from support.profiles import profile_text

AT = "p.yaml:13: checks.app"


def validate(check: str, *more: tuple[str, str]) -> tuple[Profile | None, list[str]]:
    """Validate the small profile with a check in line 13 that `serve` needs."""
    text = profile_text(
        ("services:\n", f"checks:\n  app: {check}\nservices:\n"),
        ("serve: {all: [{backend: web, usable: 1}, {frontend: web}]}", "serve: {check: app}"),
        *more,
    )
    found = validate_profile(text, "p.yaml")
    return found.profile, [str(each) for each in found.problems]


@pytest.mark.parametrize(
    ("check", "problem"),
    [
        ("{}", ": has none of tcp, http, command, file, load; write {tcp: HOST:PORT} or"),
        ("{tcp: 'a:1', file: /b}", ": has tcp and file; make a check of each"),
        ("{tcp: 'a'}", ".tcp: a is not a host with a port; write one such as 10.0.3.10:5432"),
        ("{tcp: 'a:0'}", ".tcp: 0 in a:0 is not a TCP port; write a port from 1 to 65535"),
        ("{tcp: '10.0.3.300:1'}", ".tcp: 10.0.3.300 is not an IP address; write"),
        ("{tcp: 'a b:1'}", ".tcp: 'a b' in 'a b:1' is no name of a host; write"),
        ("{tcp: 'fd00::1:1'}", ".tcp: fd00::1:1 is not a host with a port; write"),
        ("{http: 'htp://a/'}", ".http: a check knows no htp URLs; write http:// or https://"),
        ("{http: 'a/health'}", ".http: a/health is not a URL; write one such as http://"),
        ("{http: 'http:///x'}", ".http: "),
        ("{http: 'http://u@a/'}", ".http: a user in the URL is not supported; remove it"),
        ("{http: 'http://a/#b'}", ".http: #b would not be sent to the server; remove it"),
        ("{http: 'http://a/b c'}", ".http: the path is longer than 1024, or has spaces"),
        ("{http: 'http://a:x/'}", ".http: x in http://a:x/ is not a TCP port; write a port"),
        ("{tcp: 'a:1', status: [200]}", ".status: applies to http, not to tcp; remove it"),
        ("{tcp: 'a:1', exists: false}", ".exists: applies to file, not to tcp; remove it"),
        ("{file: /a, rise: 3}", ".rise: has no meaning for a file, which counts at once; remove"),
        ("{http: 'http://a/', tls_verify: false}", ".tls_verify: applies to https, and the URL"),
        (
            "{http: 'https://a/', tls_verify: false, ca_file: /c}",
            ".ca_file: is not used with tls_verify: false; remove one of the two",
        ),
        ("{command: [check]}", ".command[0]: check is no full path; write the path"),
        ("{file: a}", ".file: a is not an absolute path; write the full path"),
        (
            "{tcp: 'a:1', every: 2, timeout: 3, deadline: 7}",
            ".deadline: 7 seconds are too short for two runs; write 8 or more, or leave",
        ),
        ("{load: {}}", ".load: has neither load_average nor memory_available; add"),
        (
            "{load: {load_average: [2, 1]}}",
            ".load.load_average: the limits are not ascending; write [1, 2]",
        ),
        (
            "{load: {memory_available: [10, 20]}}",
            ".load.memory_available: the limits are not descending; write [20, 10]",
        ),
        (
            "{load: {load_average: [1, 2], memory_available: [20]}}",
            ".load: load_average and memory_available have different numbers of limits; write",
        ),
    ],
)
def test_each_rule(check: str, problem: str) -> None:
    """The line of the key, what is wrong, and what to do."""
    _, problems = validate(check)
    problems = [each for each in problems if "under load" not in each]  # see below
    assert len(problems) == 1
    assert problems[0].startswith(AT + problem)


def test_a_name_that_is_not_there_is_refused() -> None:
    """With the one that was meant; so is a rule about HAProxy where there is none."""
    _, problems = validate("{tcp: 'a:1'}", ("serve: {check: app}", "serve: {check: ap}"))
    assert problems == [
        (
            "p.yaml:13: checks.app: no service uses it, and it runs all the same; add "
            "{check: app} to serve or healthy, or remove it"
        ),
        "p.yaml:18: services.web.serve.check: there is no ap under checks; write app",
    ]
    without = ("haproxy:\n  main: {socket: /run/haproxy/anycastd.sock, ring: anycastd}\n", "")
    _, problems = validate("{tcp: 'a:1'}", without)
    assert problems == [
        (
            "p.yaml:17: services.web.healthy: needs HAProxy, and the profile has none; add "
            "haproxy: {main: {socket: /run/haproxy/anycastd.sock}}, or use {check: NAME}"
        )
    ]


def test_a_load_may_degrade_and_never_withdraw() -> None:
    """As for limits of HAProxy's queues: overload would go from region to region."""
    load = "{load: {load_average: [1]}}"
    _, problems = validate(load)
    assert problems == [
        (
            "p.yaml:18: services.web.serve.check: would withdraw the VIP under load, in one region "
            "after the other; move it to healthy, where overload only degrades the route"
        )
    ]
    both = ("healthy: {backend: web, usable: 50%}", "healthy: {check: app}")
    serve = ("serve: {check: app}", "serve: {backend: web}")
    assert validate(load, both, serve)[1] == []
    unsteered = ("  local_as: 65010", "  prepends_steer: false\n  local_as: 65010")
    _, problems = validate(load, both, serve, unsteered)
    assert [each.split(":")[2] for each in problems] == [" services.web.healthy.check"]


def test_keys_of_other_conditions_are_refused() -> None:
    """`usable` and the like belong to backends."""
    _, problems = validate("{tcp: 'a:1'}", ("{check: app}", "{check: app, usable: 2}"))
    assert len(problems) == 1
    assert "applies to a backend, not to a check" in problems[0]


def test_values_are_built_with_their_defaults() -> None:
    """Every kind; a deadline that is left out is that of three runs."""
    its, problems = validate("{http: 'https://App.example.com/h?a', status: [200]}")
    assert its is not None, problems
    check = its.checks["app"]
    url = Url(True, Target("App.example.com", 443), "/h?a")
    assert check.asks == HttpCheck(url, status=(200,))
    assert str(url) == "https://App.example.com/h?a"
    assert (check.rise, check.fall, check.deadline) == (2, 2, 6.0)
    for text, asks in (
        ("{command: [/bin/true, x]}", CommandCheck(("/bin/true", "x"))),
        ("{file: /a, exists: false}", FileCheck("/a", exists=False)),
    ):
        its, problems = validate(text)
        assert its is not None, problems
        assert its.checks["app"].asks == asks
    both = ("healthy: {backend: web, usable: 50%}", "healthy: {check: app}")
    its, problems = validate(
        "{load: {load_average: [1]}}", both, ("{check: app}\n", "{backend: web}\n")
    )
    assert its is not None, problems
    assert its.checks["app"].asks == LoadCheck((1.0,))


@pytest.mark.parametrize(
    ("socket", "message"),
    [
        ("tcp://10.10.0.4:9999", ""),
        ("tcp://[fd00::4]:9999", ""),
        ("tcp://haproxy:9999", "haproxy is not an IP address; write one such as tcp://10.10.0.4"),
        ("tcp://10.10.0.4", "is not an address with a port; write one such as tcp://10.10.0.4"),
        ("udp://10.10.0.4:1", "is neither a path nor tcp://ADDRESS:PORT; write one such as tcp"),
        ("run/x.sock", "is not an absolute path; write the full path, beginning with /"),
    ],
)
def test_a_stats_socket_is_a_path_or_an_address(socket: str, message: str) -> None:
    """The address of a HAProxy on another machine is one, and no name."""
    text = profile_text(("socket: /run/haproxy/anycastd.sock", f"socket: '{socket}'"))
    found = validate_profile(text, "p.yaml")
    if message:
        assert message in str(found.problems[0])
    else:
        assert found.profile is not None
        assert found.profile.haproxy["main"].socket == socket
