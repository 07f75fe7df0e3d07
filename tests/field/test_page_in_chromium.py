"""The page in a real browser: Debian's Chromium, headless, over HTTP on the loopback.

With ANYCASTD_WRITE_SCREENSHOT=1 the screenshot of the docs is written anew.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from anycastd.views.page import CONTENT_TYPE, render_page
from anycastd.views.page_style import CONTENT_SECURITY_POLICY
from support import page_samples as samples
from support.chromium import PROGRAM, Browser, open_browser
from support.haproxy import until
from support.page_samples import NOW
from support.png import read_size, shrink_png

pytestmark = [
    pytest.mark.skipif(
        PROGRAM is None, reason="chromium is not installed: `make test` installs it"
    ),
    pytest.mark.timeout(300),
]

SCREENSHOT = Path(__file__).resolve().parents[2] / "docs" / "images" / "page.png"
OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


class Site:
    """An HTTP server with one page; ``asked`` are the paths that were asked for."""

    def __init__(self) -> None:
        self.page = render_page(samples.at_three(), samples.history(), None, NOW)
        self.asked: list[str] = []
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                site.asked.append(self.path)
                body = site.page.encode()
                self.send_response(200 if self.path == "/" else 404)
                self.send_header("Content-Type", CONTENT_TYPE)
                self.send_header("Content-Security-Policy", CONTENT_SECURITY_POLICY)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Log nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Stop to answer."""
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def site() -> Iterator[Site]:
    """Serve a page."""
    made = Site()
    yield made
    made.close()


@pytest.fixture
def browser() -> Iterator[Browser]:
    """Start a browser."""
    with open_browser() as made:
        yield made


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_it_fits_and_asks_for_nothing_else(
    browser: Browser, site: Site, width: int, scheme: str
) -> None:
    """On a telephone and a screen, light and dark: nothing overflows, no error, no other request.

    The background follows the scheme, and the text can be told from it.
    """
    browser.show(width, 800, scheme)
    for page in (
        render_page(samples.all_well(), [], None, NOW),
        render_page(samples.at_three(), samples.history(), samples.region_reports(), NOW),
        render_page(*samples.hostile(), NOW),
    ):
        site.page = page
        browser.open(site.url)
        assert browser.evaluate(OVERFLOW) == 0
        colors = [
            browser.evaluate(f"getComputedStyle(document.body).{name}.match(/\\d+/g).map(Number)")
            for name in ("backgroundColor", "color")
        ]
        background, text = (sum(color[:3]) for color in colors)
        assert (background > text) is (scheme == "light")
        assert abs(background - text) > 400
    assert browser.evaluate("document.querySelectorAll('script').length") == 1
    assert {url for url in browser.requests if not url.startswith("data:")} == {site.url}
    assert set(site.asked) == {"/"}
    assert browser.complaints == []


def test_without_a_script_it_is_useful_and_loads_itself(browser: Browser, site: Site) -> None:
    """With JavaScript off everything is there, and the page is loaded every few seconds."""
    browser.call("Emulation.setScriptExecutionDisabled", value=True)
    browser.open(site.url)
    text = browser.evaluate("document.querySelector('main').innerText")
    for part in (
        "CRITICAL",
        "a backend has too few usable servers",
        "hold timer expired",
        "HAProxy",
    ):
        assert part in text
    assert not browser.evaluate("document.getElementById('stale').offsetHeight")
    until(lambda: len(site.asked) > 2 and browser.evaluate("1"), 90, 0.1)


def test_the_script_refreshes_and_tells_when_the_page_is_stale(
    browser: Browser, site: Site
) -> None:
    """A new page takes the place of the old one, where the reader is; without one it is stale."""
    browser.show(800, 400)
    browser.open(site.url)
    browser.evaluate("document.getElementById('service-old').open = true")
    browser.evaluate("document.getElementById('service-web').open = false")
    browser.evaluate("window.scrollTo(0, 300)")
    status = samples.at_three()
    status["services"]["web"] = samples.all_well()["services"]["web"]
    site.page = render_page(status, samples.history(), None, NOW + 5)
    title = "WARNING api standby and 1 more - northeurope"
    until(lambda: browser.evaluate("document.title") == title, 90, 0.1)
    assert browser.evaluate("document.getElementById('service-old').open") is True
    assert browser.evaluate("document.getElementById('service-web').open") is False
    assert browser.evaluate("window.scrollY") == 300
    assert "03:01:25 UTC" in browser.evaluate("document.querySelector('main').innerText")
    assert browser.complaints == []
    site.close()
    until(lambda: browser.evaluate("document.title") == f"STALE {title}", 90, 0.1)
    told = browser.evaluate("document.getElementById('stale').innerText")
    assert "The agent of northeurope, its machine, or the way to it is gone" in told


def test_the_screenshot_of_the_docs_can_be_made(browser: Browser, site: Site) -> None:
    """The page of a bad night, as in the docs; it is not empty and has the size of the screen."""
    status = samples.at_three()
    del status["services"]["mail"]
    site.page = render_page(status, samples.history(), samples.region_reports(), NOW)
    browser.show(960, 1000)
    browser.open(site.url)
    height = browser.evaluate("document.documentElement.scrollHeight")
    browser.show(960, height)
    picture = browser.take_screenshot()
    assert read_size(picture) == (960, height)
    assert len(picture) > 20_000
    if os.environ.get("ANYCASTD_WRITE_SCREENSHOT"):
        SCREENSHOT.parent.mkdir(exist_ok=True)
        SCREENSHOT.write_bytes(shrink_png(picture))
