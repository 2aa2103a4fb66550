"""The report's page: whatever names networks and classes have, they are text, and nothing is fetched."""

import json
import re
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import numpy as np
import pytest
from browser import drawn, needs_browser
from pandas import DataFrame

from pipeline.report.chart_data import tsne_frame
from pipeline.report.charts import accuracy_charts, confusion_charts, curve_charts
from pipeline.report.feature_charts import tsne_charts, vscore_charts
from pipeline.report.folder import Report
from pipeline.report.logit_charts import (
    RELIABILITY,
    class_charts,
    class_frame,
    reliability_charts,
)
from pipeline.report.render import Chart, write_chart
from pipeline.report.tables import Table, cells
from pipeline.report.training_charts import (
    DIFFERENCES,
    LOSSES,
    MEASURES,
    difference_charts,
    loss_charts,
)
from pipeline.report.tsne import Panel

HARM = "document.title=`harmed`"
STRANGE = [
    f"</script><script>{HARM}</script>",
    f"<img src=x onerror={HARM}>",
    "<!-- <script>",
    '{{7*7}}{% raw %} datum["x"] event.constructor.constructor',
    f"\"]=0;{HARM};//'\\",
    f"${{{HARM}}}",
    "]]> &amp; \u2028\u2029\x7f",
]


class Visits(BaseHTTPRequestHandler):
    """Counts whoever comes."""

    seen: list[str]

    def do_GET(self):
        self.seen.append(self.path)
        self.send_error(404)

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    handler = type("Handler", (Visits,), {"seen": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}", handler.seen
        running.shutdown()


def strange_charts(names: list[str]) -> list[Chart]:
    """A chart of every kind, with those names wherever a name can stand."""
    rows = [
        (0, n, m, n, "#0072b2", (1, 0), e, 0.5) for n in names for m in MEASURES for e in (1, 2)
    ]
    losses = DataFrame(rows, columns=LOSSES)
    rows = [(n, n, n, seed, 0.5, 0.5, 0.1, 0.9) for n in names for seed in (0, 1)]
    differences = DataFrame(rows, columns=DIFFERENCES)
    rows = [(n, 0.5, 0.4, 3) for n in names]
    reliability = DataFrame(rows, columns=RELIABILITY)
    logits = np.eye(len(names), dtype="f4")
    classes = class_frame(
        {"student": logits, "teacher": logits[::-1]}, np.arange(len(names), dtype="i4"), names
    )
    rows = [(n, n, n, n, 0.5, i, 50.0 + i, 50.5, 50.0, 51.0, n) for n in names for i in (0, 1)]
    accuracy = ["group", "name", "network", "loss", "share", "replicate", "accuracy"]
    accuracy = DataFrame(rows, columns=[*accuracy, "mean", "low", "high", "printed"])
    rows = [(n, n, n, n, n, 0.5, 1.0, 0.0, e, 50.0, 49.0, 51.0) for n in names for e in (1, 2)]
    curves = ["group", "name", "network", "architecture", "loss", "share", "alpha", "paleness"]
    curves = DataFrame(rows, columns=[*curves, "epoch", "mean", "low", "high"])
    rows = [(n, n, 3, 1.0) for n in names]
    confusion = DataFrame(rows, columns=["actual", "predicted", "images", "fraction"])
    rows = [(n, n, "mixup, alpha 1", 1.0, 0.5, 0.4, 0.6) for n in names]
    columns = ["panel", "network", "mixup", "alpha", "v_score", "low", "high"]
    points, labels = np.random.default_rng(0).random((40, 2)), np.arange(40) % len(names)
    panels = [Panel(n, None, "test", points.astype("f4"), labels.astype("i4")) for n in names[:2]]
    return [
        *loss_charts(losses),
        *difference_charts(differences),
        *reliability_charts(reliability),
        *class_charts(classes, names[0]),
        *accuracy_charts(accuracy),
        *curve_charts(curves),
        *confusion_charts(confusion.assign(network=names[0]), names),
        *vscore_charts(DataFrame(rows, columns=columns), "vscores"),
        *tsne_charts(tsne_frame(panels, dict(enumerate(names))), names, "tsne"),
    ]


def write_page(folder, names):
    report = Report(folder)
    report.chapter(names[0], *names)
    rows = tuple(cells(name) for name in names)
    report.table(
        Table(
            name="t",
            title=names[0],
            caption=names[1],
            header=("a",),
            rows=rows,
            data=DataFrame({"a": names}),
        )
    )
    charts = strange_charts(names)
    for chart in charts:
        report.pictures([chart], names[1])
    report.finish()
    return charts


@needs_browser
def test_text_of_strangers_is_text(tmp_path, server):
    address, visits = server
    names = [*STRANGE, f'"><img src="{address}/image"><link rel=stylesheet href={address}/style>']
    charts = write_page(tmp_path / "report", names)
    page = drawn(tmp_path / "report/report.html", tmp_path / "profile")
    assert page.errors == []
    assert page.title == "Decant report"
    assert visits == []
    assert len(page.drawings) == len(charts) == 9
    for name in names:
        wanted = " ".join(name.split())
        for drawing in page.drawings:
            assert wanted in " ".join(drawing.split()), (name, drawing[:3000])
    for path in (tmp_path / "report/vector").glob("*.svg"):
        assert "<script" not in path.read_text(encoding="utf-8")


def test_a_page_names_the_only_scripts_that_may_run(tmp_path):
    write_page(tmp_path / "report", STRANGE)
    text = (tmp_path / "report/report.html").read_text(encoding="utf-8")
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', text)
    assert policy.startswith("default-src 'none';")
    assert "unsafe-eval" not in policy
    (scripts,) = re.findall(r"script-src ([^;]*);", policy)
    assert [source[:8] for source in scripts.split()] == ["'sha256-"] * 3
    assert "\u2028" not in re.sub(r"<p>.*?</p>|<th .*?</th>|aria-label=\"[^\"]*\"", "", text)
    blocks = re.findall(r'<script type="application/json">(.*?)</script>', text, re.DOTALL)
    assert [json.loads(block)[1]["count"] > 0 for block in blocks] == [True] * 9
    markup = re.sub(r"<script.*?</script>", "", text, flags=re.DOTALL)
    links = re.findall(r'<[^>]*\b(?:src|href)\s*=\s*"([^"]*)', markup)
    assert {link[0] for link in links} == {"#"}, "the page's own"
    assert "7*7" in markup


def test_pictures_fetch_no_data(tmp_path, server):
    address, visits = server
    specification = {"mark": "point", "data": {"url": f"{address}/a.csv"}}
    with pytest.raises(ValueError, match="External data url not allowed"):
        write_chart(Chart("chart", specification, DataFrame()), tmp_path / "figures")
    assert visits == []
