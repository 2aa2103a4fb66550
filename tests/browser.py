"""A real browser for tests of pages: Chromium without a window, where it is installed."""

import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), ""
)
needs_browser = pytest.mark.skipif(not CHROMIUM, reason="Chromium is not installed")


class Page(HTMLParser):
    """What a page holds after its scripts: its title, the text of each chart, errors that charts.js noted."""

    def __init__(self, markup: str) -> None:
        super().__init__()
        self.title, self.drawings, self.errors = "", [], []
        self._open = ""
        self.feed(markup)

    def handle_starttag(self, tag, attrs):
        self._open = {"title": "title"}.get(tag, self._open)
        if tag == "svg" and ("class", "marks") in attrs:
            self._open = "svg"
            self.drawings.append("")
        self.errors += [value for name, value in attrs if name == "data-error"]

    def handle_endtag(self, tag):
        self._open = "" if tag in ("svg", "title") else self._open

    def handle_data(self, data):
        if self._open == "title":
            self.title += data
        elif self._open == "svg":
            self.drawings[-1] += data + "\n"


def opened(page: Path, profile: Path) -> Page:
    """Open a local page, let its scripts run, and return what is there then."""
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    options += ["--virtual-time-budget=30000", f"--user-data-dir={profile}", "--dump-dom"]
    done = subprocess.run(
        [CHROMIUM, *options, page.as_uri()], capture_output=True, text=True, timeout=300, check=True
    )
    return Page(done.stdout)
