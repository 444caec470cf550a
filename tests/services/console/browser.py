"""A real Chromium (Debian's), and axe in it: the pages as people see them."""

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, sync_playwright

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
MISSING = "no chromium on PATH (Debian: apt-get install chromium): the console was not seen in a browser"
SCREENSHOTS = os.environ.get("STRATAGEM_SCREENSHOTS", "")
"""A folder that the docs' pictures are written to; empty: none are."""
Theme = Literal["light", "dark"]
DESKTOP, PHONE = (1100, 720), (375, 720)
LOOKS: tuple[tuple[tuple[int, int], Theme], ...] = (
    (DESKTOP, "light"), (DESKTOP, "dark"), (PHONE, "light"), (PHONE, "dark"),
)  # fmt: skip


class Visit:
    """One tab of a browser of its own, and what it complained of.

    Args:
        complaints: refused loads, errors of scripts and of the policy, as the browser's log has them.
        elsewhere: requests to another host than the gateway's.
    """

    def __init__(self, page: Page, url: str) -> None:
        """Listen."""
        self.page, self.url = page, url
        self.complaints: list[str] = []
        self.elsewhere: list[str] = []
        page.on("console", lambda said: self.complaints.append(said.text) if said.type == "error" else None)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", lambda asked: None if asked.url.startswith(url) else self.elsewhere.append(asked.url))

    def log_in(self, key: str) -> None:
        """By the form."""
        self.page.goto(f"{self.url}/console/")
        self.page.get_by_label("Key").fill(key)
        self.page.get_by_role("button", name="Log in").click()
        self.page.wait_for_url(f"{self.url}/console/")

    def open(self, path: str) -> Page:
        """Go there, as far as everything is loaded; the live stream apart."""
        self.page.goto(self.url + path, wait_until="load")
        return self.page

    def violations(self) -> list[str]:
        """What axe has against the page, in a line each."""
        found = Axe().run(self.page).response["violations"]
        return [f"{each['id']}: {node['html'][:200]}" for each in found for node in each["nodes"]]

    def overflow_px(self) -> int:
        """How far the page is wider than the window."""
        return int(self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))

    def picture(self, name: str) -> None:
        """For the docs, where they are asked for: what names this run's ports or keys is not in them."""
        if SCREENSHOTS:
            Path(SCREENSHOTS).mkdir(parents=True, exist_ok=True)
            self.page.screenshot(path=Path(SCREENSHOTS) / f"{name}.png", animations="disabled")


@contextmanager
def chromium() -> Iterator[Browser]:
    """The browser. As root it has no sandbox of its own: it sees nothing but the gateway under test."""
    with sync_playwright() as playwright:
        sandbox = [] if os.geteuid() else ["--no-sandbox"]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=sandbox)
        yield browser
        browser.close()


@contextmanager
def visiting(browser: Browser, url: str, size: tuple[int, int] = DESKTOP, theme: Theme = "light") -> Iterator[Visit]:
    """A tab with its own cookies."""
    context = browser.new_context(
        viewport={"width": size[0], "height": size[1]}, color_scheme=theme, reduced_motion="reduce"
    )
    try:
        yield Visit(context.new_page(), url)
    finally:
        context.close()


def letter_of(page: Page) -> str:
    """The address of the first dead letter in the list."""
    found = re.search(r'"(/console/letters/(?!replay)[^"?]+)"', page.content())
    assert found
    return found[1]
