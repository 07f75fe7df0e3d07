"""Rules for drains and regions: each broken once, with the whole line that is printed."""

from __future__ import annotations

import pytest

from support.broken_profiles import PLAIN, Changes, list_azure_problems

HAPROXY = "haproxy:\n  main"
ONE = '{name: northeurope, agent: "10.0.2.10:9480"}'
TWO = '{name: westeurope, agent: "10.1.2.10:9480"}'
SEVERAL = (
    '{name: northeurope, agents: [{name: ne-1, agent: "10.0.2.10:9480"}, '
    '{name: ne-2, agent: "10.0.2.11:9480"}]}'
)
APPLIANCE = ("region: northeurope\n", "region: northeurope\nappliance: ne-1\n")
WEB = 'web: {listen: "10.0.2.10:9480"}\n'


def insert_above_haproxy(text: str) -> tuple[str, str]:
    """Return a change that inserts text above the HAProxy part, which is in line 13."""
    return (HAPROXY, text + HAPROXY)


def insert_regions(*regions: str, web: str = WEB) -> tuple[str, str]:
    """Return a change that inserts ``web`` and, in line 14 then, a list of regions."""
    return insert_above_haproxy(f"{web}regions: [{', '.join(regions)}]\n")


@pytest.mark.parametrize(
    "changes",
    [
        [insert_regions(ONE, TWO)],
        [insert_regions(TWO, ONE)],
        [insert_regions()],
        [insert_regions(SEVERAL, TWO), APPLIANCE],
        [insert_regions(SEVERAL), APPLIANCE],
        [insert_above_haproxy("drain: {wait: 30}\n")],
        [PLAIN, insert_above_haproxy("drain: {wait: 0, linger: 0, stop: 0}\n")],
        [PLAIN, ("10.0.1.4,", "10.0.1.4, graceful_shutdown: true,")],
        [insert_above_haproxy('web: {listen: "[2001:db8::1]:80"}\n')],
    ],
    ids=str,
)
def test_what_is_allowed(changes: Changes) -> None:
    """Values at the limits are valid, and on other platforms values that only Azure refuses."""
    assert list_azure_problems(changes) == []


BROKEN: list[tuple[Changes, str]] = [
    (
        [insert_above_haproxy("drain: {wait: 29}\n")],
        (
            "warning p.yaml:13: drain.wait: Azure may delay the longer path for 30 seconds; "
            "write 40 or more"
        ),
    ),
    (
        [("10.0.1.4,", "10.0.1.4, graceful_shutdown: true,")],
        (
            "warning p.yaml:11: bgp.neighbors[0].graceful_shutdown: Azure does not document "
            "support for 65535:0, so only the longer path counts; remove it"
        ),
    ),
    (
        [insert_regions(TWO)],
        (
            "p.yaml:14: regions: this region, northeurope, is not in the list; add {name: "
            "northeurope, agent: ...}; the order is the same in each profile"
        ),
    ),
    (
        [insert_regions(ONE)],
        (
            "warning p.yaml:14: regions: no other region is listed, so nothing can be "
            "drained without "
            "--force; add the other regions"
        ),
    ),
    (
        [insert_regions(SEVERAL, TWO)],
        (
            "p.yaml:14: regions[0].agents: northeurope has several appliances, and this profile "
            "does not say which it is; write appliance: ne-1 or ne-2"
        ),
    ),
    (
        [insert_regions(SEVERAL, TWO), (APPLIANCE[0], APPLIANCE[1].replace("ne-1", "ne-3"))],
        (
            "p.yaml:2: appliance: this appliance, ne-3, is not among those of northeurope; write "
            "appliance: ne-1 or ne-2"
        ),
    ),
    (
        [insert_regions(ONE, TWO), APPLIANCE],
        (
            "p.yaml:2: appliance: northeurope has one agent in regions, so it has only one "
            "appliance; write agents: [{name: ne-1, agent: ...}, ...] there, or remove it"
        ),
    ),
    (
        [insert_regions(ONE, "{name: westeurope}")],
        (
            "p.yaml:14: regions[1]: has no agent; write agent: ADDRESS:PORT, or agents: with a "
            "list of appliances"
        ),
    ),
    (
        [insert_regions(SEVERAL.replace("ne-2", "ne-1"), TWO), APPLIANCE],
        (
            "p.yaml:15: regions[0].agents[1].name: ne-1 is already in line 15; write each "
            "appliance once, with its own agent"
        ),
    ),
    (
        [insert_regions(ONE, TWO, TWO.replace("10.1.", "10.2."))],
        (
            "p.yaml:14: regions[2].name: westeurope is already in line 14; write each region "
            "once, with its own agent"
        ),
    ),
    (
        [insert_regions(ONE, TWO.replace("10.1.", "10.0."))],
        (
            "p.yaml:14: regions[1].agent: 10.0.2.10:9480 is already in line 14; write each "
            "region once, with its own agent"
        ),
    ),
    (
        [insert_regions(ONE, TWO, web="")],
        (
            "warning p.yaml:13: regions: the other regions cannot query this one, because "
            "web is missing; add web: {listen: ADDRESS:PORT} with this region's agent as "
            "listed here"
        ),
    ),
    *(
        ([insert_above_haproxy(f'web: {{listen: "{wrong}"}}\n')], f"p.yaml:13: web.listen: {words}")
        for wrong, words in (
            (
                "10.0.2.10",
                "10.0.2.10 is not an address with a port; write one such as 10.0.2.10:9480",
            ),
            (
                "10.0.2.10:0",
                "10.0.2.10:0 is not an address with a port; write one such as 10.0.2.10:9480",
            ),
            (
                "here:80",
                "here is not an IP address; write one such as 10.0.2.10:9480",
            ),
            (
                "2001:db8::1:80",
                (
                    "2001:db8::1:80 has brackets where it should not, or lacks "
                    "them; write [2001:db8::1]:80"
                ),
            ),
            (
                "[10.0.2.10]:80",
                (
                    "[10.0.2.10]:80 has brackets where it should not, or lacks "
                    "them; write 10.0.2.10:80"
                ),
            ),
        )
    ),
]


@pytest.mark.parametrize(("changes", "line"), BROKEN, ids=str)
def test_each_rule(changes: Changes, line: str) -> None:
    """Breaking one rule gives one line: place, message, remedy."""
    assert list_azure_problems(changes) == [line]


# Attack L7 of the security review.  192.31.196.0/24 is AS112's (RFC 7535): nobody's own.
@pytest.mark.parametrize(
    ("listen", "what"),
    [
        ("0.0.0.0:9480", "0.0.0.0:9480 listens at every address of this appliance, the VIPs too"),
        ("[::]:9480", "[::]:9480 listens at every address of this appliance, the VIPs too"),
        ("192.31.196.1:9480", "192.31.196.1 is a public address"),
        ("[2001:4:112::1]:9480", "2001:4:112::1 is a public address"),
    ],
)
def test_a_status_that_everybody_can_read_is_a_warning(listen: str, what: str) -> None:
    """At every address, or at a public one, the status is for everybody: that is said."""
    (line,) = list_azure_problems([insert_above_haproxy(f'web: {{listen: "{listen}"}}\n')])
    assert line.startswith(f"warning p.yaml:13: web.listen: {what}")
    assert "; add allow: [NETWORK] or token_file:, or write the private address" in line
    guarded = f'web: {{listen: "{listen}", allow: [10.0.0.0/8]}}\n'
    assert list_azure_problems([insert_above_haproxy(guarded)]) == []


def test_the_other_regions_ask_where_it_listens() -> None:
    """Another port in the list of regions than in web.listen is a warning."""
    other = ONE.replace("9480", "9481")
    (line,) = list_azure_problems([insert_regions(other, TWO)])
    assert line == (
        "warning p.yaml:14: regions[0].agent: the other regions ask at 10.0.2.10:9481, and "
        "web.listen is 10.0.2.10:9480; write the same port in both"
    )
