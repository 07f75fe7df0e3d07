"""Tests of the page: what it says first, that no text of others is more than text, its size."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import pytest

from anycastd.views.page import MAX_EVENTS, MAX_SERVICES, render_page
from anycastd.views.page_style import CONTENT_SECURITY_POLICY, SCRIPT, STYLE
from support import page_samples as samples
from support.page_samples import NOW

MAX_SIZE = 256 * 1024
"""Bytes of a page, however much there is to show."""


class Reader(HTMLParser):
    """A reader of a page: its elements, attributes and text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.text = ""
        self._inside = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element and its attributes."""
        self.elements.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        self._inside = tag

    def handle_endtag(self, _: str) -> None:
        """Leave an element."""
        self._inside = ""

    def handle_data(self, data: str) -> None:
        """Note text, but for that of the style and the script."""
        if self._inside not in ("style", "script"):
            self.text += data

    def flat(self) -> str:
        """Return the text with single spaces."""
        return " ".join(self.text.split())


def at_three() -> str:
    """Return the page of a bad night."""
    return render_page(samples.at_three(), samples.history(), samples.region_reports(), NOW)


def test_the_title_begins_with_the_state() -> None:
    """A tab shows the state and the worst service; a good one shows that all is well."""
    assert "<title>CRITICAL web withdrawn and 2 more - northeurope</title>" in at_three()
    page = render_page(samples.all_well(), [], None, NOW)
    assert "<title>OK - northeurope</title>" in page


def test_the_verdict_comes_first_with_reason_and_remedy() -> None:
    """What is wrong, since when, why, and what to do stand above everything else."""
    text = Reader(at_three()).flat()
    first = text[: text.index("Regions")]
    for part in (
        "CRITICAL northeurope: 2 of 4 services preferred, 1 standby, 1 withdrawn; 1 of 2",
        "web WITHDRAWN since 02:58:14 (3 min 6 s)",
        "web is withdrawn: a backend has too few usable servers to serve",
        "bring its servers back, or see HAProxy's log for why their checks fail",
        "neighbor 10.0.1.5 is down: closed from here: hold timer expired (4/0)",
        "As of 2026-11-30 03:01:20 UTC.",
    ):
        assert part in first


def test_it_tells_why_what_comes_next_and_who_serves() -> None:
    """Rules with servers, waits with their ends, regions, neighbors and HAProxy are there."""
    text = Reader(at_three()).flat()
    for part in (
        "web1 DOWN L4CON (it is down)",
        "ends at 03:01:47 UTC, in 27 s",
        "uksouth does not answer at 10.2.2.10:9480",
        "down for 41 s, since 03:00:39",
        "closed from here: hold timer expired (4/0)",
        "answers, up 12 d 17 h",
        "web: preferred -> withdrawn: 0 of 2 usable",
        "The agent of northeurope, its machine, or the way to it is gone.",
    ):
        assert part in text, part


def test_a_service_that_no_neighbor_hears_is_not_shown_as_announced() -> None:
    """With every session down, a level is what is wanted, and the page says so."""
    status = samples.all_well()
    for neighbor in status["services"]["web"]["neighbors"].values():
        neighbor.update(session="down", in_sync=False)
    status["services"]["web"]["in_sync"] = False
    text = Reader(render_page(status, [], None, NOW)).flat()
    assert "web 203.0.113.10/32 NOT ANNOUNCED wanted: preferred" in text
    assert "CRITICAL web not announced" in text


def test_the_worst_service_is_the_first() -> None:
    """Services that are as wanted come after those that are not."""
    names = re.findall(r'<details id="service-(\w+)"', at_three())
    assert names == ["web", "api", "mail", "old"]


def test_hostile_texts_are_texts() -> None:
    """Names, reasons and words of others add no element, attribute or control character."""
    status, events, regions = samples.hostile()
    page = render_page(status, events, regions, NOW)
    seen = Reader(page)
    good = Reader(at_three())
    assert set(seen.elements) <= set(good.elements) | {"small"}
    assert seen.elements.count("script") == 1
    assert not {name for name, _ in seen.attributes if name.startswith("on")}
    assert "style" not in {name for name, _ in seen.attributes}
    assert not {"\x1b", "\u202e"} & set(page)
    assert '<script>document.title="broken"</script>' in seen.text


def test_it_loads_nothing() -> None:
    """No attribute leads to another address, and no handler or style stands in an attribute."""
    for page in (at_three(), render_page(*samples.hostile(), NOW)):
        seen = Reader(page)
        targets = {value for name, value in seen.attributes if name in ("src", "href", "action")}
        assert {target for target in targets if not target.startswith("data:")} == {
            "status",
            "history",
            "metrics",
        }


def test_the_pages_of_other_regions_are_one_click_away() -> None:
    """Also in the line that says that this page is stale."""
    links = {"westeurope": "http://10.1.2.10:9480/", '"><u>': '"><u>'}
    page = render_page(samples.at_three(), [], samples.region_reports(), NOW, links)
    link = '<a href="http://10.1.2.10:9480/" rel="noreferrer">westeurope</a>'
    assert page.count(link) == 2
    assert page.index(link) < page.index("<main>")
    assert "<u>" not in page


def test_its_size_is_bounded() -> None:
    """A thousand services, a hundred servers each, and a thousand events make a small page."""
    status, events = samples.large()
    page = render_page(status, events, None, NOW)
    assert len(page.encode()) < MAX_SIZE
    assert page.count("<details ") == MAX_SERVICES
    text = Reader(page).flat()
    assert f"and {1000 - MAX_SERVICES} more services, {1000 - MAX_SERVICES} of them not as" in text
    assert page.count('<td class="num" data-label="UTC">') == MAX_EVENTS
    wide = render_page(*samples.hostile(), NOW)
    assert len(wide.encode()) < MAX_SIZE


def test_the_page_says_how_many_good_services_it_leaves_out() -> None:
    """Of a thousand good services some are shown, and the others are counted."""
    status = samples.all_well()
    web = status["services"]["web"]
    status["services"] = {f"web{number}": web for number in range(1000)}
    text = Reader(render_page(status, [], None, NOW)).flat()
    assert f"and {1000 - MAX_SERVICES} more services, all as wanted" in text


def test_the_header_allows_this_style_and_this_script_alone() -> None:
    """The policy has the hashes of what is in the page; nothing else is allowed."""
    page = at_three()
    assert f"<style>{STYLE}</style>" in page
    assert f"<script>{SCRIPT}</script>" in page
    assert "unsafe" not in CONTENT_SECURITY_POLICY
    assert CONTENT_SECURITY_POLICY.startswith("default-src 'none'; ")


def test_it_is_refreshed_without_a_script_too() -> None:
    """Without a script the browser loads the page again."""
    assert '<noscript><meta http-equiv="refresh" content="5"></noscript>' in at_three()


@pytest.mark.parametrize("build", [samples.all_well, samples.at_three])
def test_the_page_depends_on_its_arguments_alone(build: Any) -> None:
    """The same status gives the same page."""
    reports = {name: replace(each) for name, each in samples.region_reports().items()}
    first = render_page(build(), samples.history(), reports, NOW)
    assert first == render_page(build(), samples.history(), samples.region_reports(), NOW)
