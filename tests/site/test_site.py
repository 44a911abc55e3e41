"""The site of docs/: built without a warning, whole, asking no other host, and readable at two widths in a real browser.

Run by `make test-site`. The browser is Debian's chromium with chromium-driver; without them its tests are skipped.
"""

from __future__ import annotations

import functools
import http.server
import shutil
import subprocess
import sys
import threading
from html.parser import HTMLParser
from typing import TYPE_CHECKING
from urllib.parse import unquote, urldefrag, urljoin

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from selenium.webdriver import Chrome

pytestmark = pytest.mark.site

WIDTHS = {"a desktop": 1280, "a phone": 390}
CHROMIUM = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
)


class Page(HTMLParser):
    """What a page has and asks for."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        found = dict(attributes)
        if name := found.get("id"):
            self.ids.add(name)
        if tag == "a" and (href := found.get("href")):
            self.links.append(href)
        if source := (found.get("src") or (found.get("href") if tag == "link" else None)):
            self.loaded.append(source)


@pytest.fixture(scope="module")
def site(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "sphinx",
            "-q",
            "-W",
            "--keep-going",
            "-b",
            "html",
            repository / "docs",
            folder / "html",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    return folder / "html"


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[str, Page]:
    return {str(path.relative_to(site)): Page(path.read_text()) for path in sorted(site.rglob("*.html"))}


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[str]:
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(site))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    driver = shutil.which("chromedriver")
    if driver is None or shutil.which("chromium") is None:
        pytest.skip("there is no browser here: Debian's chromium and chromium-driver")
    from selenium.webdriver import Chrome, ChromeOptions
    from selenium.webdriver.chrome.service import Service

    options = ChromeOptions()
    for argument in (*CHROMIUM, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    found = Chrome(options=options, service=Service(driver))
    yield found
    found.quit()


def show(browser: Chrome, width: int, url: str) -> None:
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    browser.get(url)


def target(page: str, link: str) -> tuple[str, str]:
    """Return the file and the anchor that a link leads to."""
    path, anchor = urldefrag(urljoin(f"/{page}", link))
    return unquote(path).lstrip("/"), unquote(anchor)


def is_outside(link: str) -> bool:
    return link.startswith(("http://", "https://", "//", "mailto:", "data:"))


def test_every_page_can_be_reached_from_the_first(pages, repository):
    reached, ahead = {"index.html"}, ["index.html"]
    while ahead:
        page = ahead.pop()
        for link in pages[page].links:
            path, _ = target(page, link)
            if not is_outside(link) and path in pages and path not in reached:
                reached.add(path)
                ahead.append(path)
    written = {
        str(path.relative_to(repository / "docs").with_suffix(".html")) for path in (repository / "docs").rglob("*.md")
    }
    assert written - reached == set()


def test_every_link_leads_to_a_place_that_there_is(site, pages):
    broken = []
    for name, page in pages.items():
        for link in page.links:
            path, anchor = target(name, link)
            if is_outside(link):
                continue
            if not (site / path).exists() or (anchor and path in pages and anchor not in pages[path].ids):
                broken.append((name, link))
    assert broken == []


def test_pages_load_nothing_from_another_host(pages):
    assert {(name, source) for name, page in pages.items() for source in page.loaded if is_outside(source)} == set()


@pytest.mark.parametrize("width", [pytest.param(width, id=name) for name, width in WIDTHS.items()])
def test_no_page_is_wider_than_the_screen(browser, address, pages, width):
    wide = {}
    for name in pages:
        show(browser, width, f"{address}/{name}")
        whole = browser.execute_script("return document.documentElement.scrollWidth")
        if whole > width:
            wide[name] = whole
    assert wide == {}


def test_the_console_of_the_browser_is_empty(browser, address, pages):
    for name in pages:
        show(browser, WIDTHS["a desktop"], f"{address}/{name}")
    told = [entry["message"] for entry in browser.get_log("browser") if "favicon.ico" not in entry["message"]]
    assert told == []


@pytest.mark.parametrize(
    ("words", "page"),
    [("quantize", "reference/recipe.html"), ("LFTOOL_REMOTE_STORE", "reference/environment.html")],
)
def test_the_search_finds_a_page(browser, address, words, page):
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import WebDriverWait

    show(browser, WIDTHS["a desktop"], f"{address}/search.html?q={words}")

    def found(_: Chrome) -> list[str]:
        links = browser.find_elements(By.CSS_SELECTOR, "#search-results ul.search li a")
        return [target("search.html", str(link.get_attribute("href")).removeprefix(address))[0] for link in links]

    WebDriverWait(browser, 20).until(lambda driver: page in found(driver))


def test_the_menu_of_a_phone_opens(browser, address):
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import WebDriverWait

    show(browser, WIDTHS["a phone"], f"{address}/reference/recipe.html")
    entry = browser.find_element(By.CSS_SELECTOR, ".sidebar-tree a[href$='lock.html']")
    assert browser.execute_script("return arguments[0].getBoundingClientRect().right", entry) <= 0
    browser.find_element(By.CSS_SELECTOR, ".mobile-header .nav-overlay-icon").click()
    WebDriverWait(browser, 20).until(
        lambda driver: driver.execute_script("return arguments[0].getBoundingClientRect().left", entry) >= 0
    )
