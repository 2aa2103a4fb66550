"""A real browser for tests of pages: Chromium without a window, where it is installed."""

import base64
import json
import os
import select
import shutil
import subprocess
import time
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

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


def drawn(page: Path, profile: Path) -> Page:
    """Open a report, draw all of its charts, and return what is there then."""
    with Session(profile) as session:
        session.open(page)
        session.draw_all()
        return Page(session.run("document.documentElement.outerHTML"))


class Session:
    """A page in a browser that is spoken to over a pipe: real keys, screens of any size, paper.

    The protocol is that of Chromium's developer tools; no package is needed for it.
    """

    def __init__(self, profile: Path, *, width: int = 1440, height: int = 900) -> None:
        self._from, to_us = os.pipe()
        to_them, self._to = os.pipe()
        options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        options += ["--allow-file-access-from-files", f"--user-data-dir={profile}"]
        command = [CHROMIUM, *options, f"--window-size={width},{height}", "--remote-debugging-pipe"]
        # The browser reads its third file and writes its fourth.
        shell = f'exec "$@" 3<&{to_them} 4>&{to_us}'
        self._process = subprocess.Popen(
            ["bash", "-c", shell, "bash", *command],
            pass_fds=(to_them, to_us),
            stderr=subprocess.DEVNULL,
        )
        os.close(to_them)
        os.close(to_us)
        self._number, self._rest, self._session = 0, b"", ""
        self.problems: list[str] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")
        self.call("Performance.enable", timeDomain="threadTicks")
        self.screen(width, height)

    def __enter__(self) -> "Session":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._from)
        os.close(self._to)

    def call(self, method: str, **params: Any) -> Any:
        """What a command of the protocol returns; problems that the page tells of meanwhile are noted."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while (answer := self._read()).get("id") != self._number:
            self._note(answer)
        assert "error" not in answer, answer
        return answer["result"]

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._from], [], [], 120)
            assert ready, "the browser says nothing"
            more = os.read(self._from, 1 << 20)
            assert more, "the browser has ended"
            self._rest += more
        message, _, self._rest = self._rest.partition(b"\0")
        return json.loads(message)

    def _note(self, event: dict[str, Any]) -> None:
        kind, params = event.get("method"), event.get("params", {})
        if kind == "Runtime.exceptionThrown":
            self.problems.append(json.dumps(params["exceptionDetails"]))
        if kind == "Log.entryAdded" and params["entry"]["level"] == "error":
            self.problems.append(params["entry"]["text"])
        if kind == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning"):
            self.problems.append(json.dumps(params["args"]))

    def screen(self, width: int, height: int, *, dark: bool = False, scale: int = 1) -> None:
        """The size of the window, which colours its user prefers, and how small its pixels are."""
        size = {"width": width, "height": height, "deviceScaleFactor": scale, "mobile": False}
        self.call("Emulation.setDeviceMetricsOverride", **size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def open(self, page: Path) -> float:
        """Open a local page; returns after how many seconds it was loaded."""
        began = time.monotonic()
        self.call("Page.navigate", url=page.as_uri())
        here = f"location.href === {json.dumps(page.as_uri())}"
        self.wait(f"{here} && document.readyState === 'complete'")
        return time.monotonic() - began

    def busy(self) -> float:
        """Seconds of processor time that the page has taken since it was opened, whatever else runs."""
        metrics = self.call("Performance.getMetrics")["metrics"]
        return next(one["value"] for one in metrics if one["name"] == "TaskDuration")

    def run(self, expression: str) -> Any:
        """The value of an expression of JavaScript, awaited where it is a promise."""
        options = {"returnByValue": True, "awaitPromise": True}
        result = self.call("Runtime.evaluate", expression=expression, **options)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def wait(self, expression: str, seconds: float = 60) -> None:
        """Wait until an expression is true."""
        until = time.monotonic() + seconds
        while not self.run(expression):
            assert time.monotonic() < until, expression
            time.sleep(0.02)

    def draw_all(self) -> None:
        """Draw all charts of a report, also those that are far from the screen."""
        self.run("Promise.all([...charts.values()].map((chart) => chart.draw())).then(() => 1)")

    def key(self, name: str, *, shift: bool = False) -> None:
        """Press and release a key: a letter, or Tab, Enter, Space, ArrowDown, ..."""
        code = {
            "Tab": 9,
            "Enter": 13,
            "Space": 32,
            "ArrowRight": 39,
            "ArrowDown": 40,
            "Backspace": 8,
        }
        text = {"Enter": "\r", "Space": " "}.get(name, name if len(name) == 1 else "")
        facts = {"key": text if name == "Space" else name, "modifiers": 8 * shift}
        facts |= {"windowsVirtualKeyCode": code.get(name, ord(name[0].upper()))}
        down = {"type": "keyDown" if text else "rawKeyDown", **({"text": text} if text else {})}
        self.call("Input.dispatchKeyEvent", **down, **facts)
        self.call("Input.dispatchKeyEvent", type="keyUp", **facts)

    def click(self, element: str) -> None:
        """Press and release the mouse in the middle of an element (an expression), scrolled into sight."""
        self.run(f"({element}).scrollIntoView({{ block: 'center' }})")
        box = self.run(f"({element}).getBoundingClientRect().toJSON()")
        place = {"x": box["x"] + box["width"] / 2, "y": box["y"] + box["height"] / 2}
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, button="left", clickCount=1, **place)

    def picture(self, path: Path, *, whole: bool = False) -> None:
        """Write a PNG of what is on the screen, or of the whole page."""
        shot = self.call("Page.captureScreenshot", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(shot["data"]))

    def paper(self, path: Path) -> None:
        """Print the page to a PDF."""
        options = {"preferCSSPageSize": True, "printBackground": False}
        path.write_bytes(base64.b64decode(self.call("Page.printToPDF", **options)["data"]))
