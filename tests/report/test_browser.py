"""The report in a real browser: tables sort and filter, nothing overflows, paper holds every number."""

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser

import pytest
from browser import CHROMIUM, needs_browser
from page_samples import VALUES, sample_strip, wide_table

from pipeline.report.document import Folded, Overview
from pipeline.report.folder import Report
from pipeline.report.gains import Gain, Gains

PDFTOTEXT = shutil.which("pdftotext")
HARNESS = """<!doctype html><title>harness</title><pre id="result"></pre>
<iframe src="report.html" width="390" height="900"></iframe>
<iframe src="report.html" width="1440" height="900"></iframe>
<script>
addEventListener("load", () => {
  const result = [...document.querySelectorAll("iframe")].map((frame) => {
    const page = frame.contentDocument, root = page.documentElement;
    const figure = page.getElementById("wide"), table = figure.querySelector("table");
    const scroll = figure.querySelector(".scroll");
    const rows = () => [...table.tBodies[0].rows].filter((row) => !row.hidden);
    const column = () => rows().slice(0, 4).map((row) => row.cells[1].textContent);
    const given = column();
    const button = table.tHead.rows[0].cells[1].querySelector("button");
    button.click();
    const falling = column(), last = rows().at(-1).cells[1].textContent;
    const sort = table.tHead.rows[0].cells[1].getAttribute("aria-sort");
    button.click();
    const rising = column();
    button.click();
    const again = column();
    const input = figure.querySelector("input");
    input.value = "network-2 seed";
    input.dispatchEvent(new Event("input"));
    const filtered = rows().length, count = figure.querySelector(".count").textContent;
    input.value = "";
    input.dispatchEvent(new Event("input"));
    const edges = [...page.querySelectorAll("main > *, main > figure > *:not(script), .facts div")]
      .filter((element) => element.getBoundingClientRect().right > root.clientWidth + 1);
    return { given, falling, last, sort, rising, again, filtered, count, whole: rows().length,
             overflow: root.scrollWidth - root.clientWidth, edges: edges.map((e) => e.className || e.tagName),
             cue: !figure.querySelector(".cue").hidden, focus: scroll.tabIndex,
             moves: scroll.scrollHeight > scroll.clientHeight + 1,
             names: [...page.querySelectorAll("table")].every((t) => t.caption.textContent) };
  });
  document.getElementById("result").textContent = JSON.stringify(result);
});
</script>"""


class Result(HTMLParser):
    """The text of the element `result`."""

    def __init__(self, markup):
        super().__init__()
        self.text, self._inside = "", False
        self.feed(markup)

    def handle_starttag(self, tag, attrs):
        self._inside = ("id", "result") in attrs

    def handle_endtag(self, tag):
        self._inside = False

    def handle_data(self, data):
        self.text += data if self._inside else ""


def browse(page, profile, *options):
    fixed = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    fixed += ["--allow-file-access-from-files", "--enable-logging=stderr"]
    fixed += ["--virtual-time-budget=10000", f"--user-data-dir={profile}"]
    return subprocess.run(
        [CHROMIUM, *fixed, *options, page.as_uri()],
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    report = Report(tmp_path_factory.mktemp("browser"))
    gained = [
        Gain(f"student {i}", "#0072b2", f"+{i}.75", f"{i}.25 to {i + 1}.25", 50.0, 40.0, 60.0)
        for i in range(30, 34)
    ]
    gains = Gains(tuple(gained), 10.0, "Of each.")
    report.blocks.append(Overview("Compared.", (), ("A finding.",), gains))
    report.strip(sample_strip(), "Images.")
    report.table(wide_table())
    report.blocks.append(Folded("Parameters", "folded: 987654\n" * 3))
    report.finish()
    return report.folder


@needs_browser
def test_tables_sort_and_filter_and_nothing_overflows(report, tmp_path):
    harness = report / "harness.html"
    harness.write_text(HARNESS, encoding="utf-8")
    done = browse(harness, tmp_path / "profile", "--dump-dom")
    assert "CONSOLE" not in done.stderr, done.stderr
    for width, seen in zip((390, 1440), json.loads(Result(done.stdout).text), strict=True):
        given = [f"{value:.3f} ± 0.001" for value in VALUES]
        highest = sorted((v for i, v in enumerate(VALUES) if i != 50), reverse=True)
        assert seen["given"] == seen["again"] == given[:4]
        assert seen["falling"] == [f"{value:.3f} ± 0.001" for value in highest[:4]]
        assert seen["rising"] == [f"{value:.3f} ± 0.001" for value in highest[:-5:-1]]
        assert seen["last"] == "–", "what is empty comes last"  # noqa: RUF001
        assert seen["sort"] == "descending"
        assert (seen["filtered"], seen["count"]) == (11, "11 of 84 rows")
        assert seen["whole"] == len(VALUES)
        assert (seen["overflow"], seen["edges"]) == (0, []), width
        assert seen["cue"] == seen["moves"] == (seen["focus"] == 0), "hidden rows have a cue"
        assert seen["names"]


@needs_browser
@pytest.mark.skipif(not PDFTOTEXT, reason="pdftotext (poppler-utils) is not installed")
def test_paper_holds_every_number(report, tmp_path):
    paper = tmp_path / "report.pdf"
    browse(report / "report.html", tmp_path / "profile", f"--print-to-pdf={paper}")
    text = subprocess.run(
        [PDFTOTEXT, paper, "-"], capture_output=True, text=True, check=True
    ).stdout
    printed = set(re.findall(r"-?[\d.]+", text))
    wanted = {
        number
        for row in wide_table().rows
        for cell in row[1:]
        for number in re.findall(r"-?[\d.]+", cell.text)
    }
    assert len(wanted) > 14 * len(VALUES) // 2
    assert wanted - printed == set()
    assert "987654" in printed, "what is folded is opened"
    for example in sample_strip().examples:
        seen = {f"{100 * likely.probability:.1f}" for likely in example.likely}
        assert seen | {f"{example.partner.lam:.2f}"} <= printed
    assert {f"{i}.{part}" for i in range(30, 34) for part in (75, 25)} <= printed
    assert text.count("Save as") == 0, "buttons stay on the screen"
