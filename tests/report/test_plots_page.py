"""The page of `dvc plots`: all that it needs is inside, and the templates draw on what the report writes."""

import configparser
import json
import re
from pathlib import Path

import pytest
from browser import needs_browser, opened
from dvc_render.html import render_html
from dvc_render.vega import VegaRenderer
from ruamel.yaml import YAML

from stages.dvc.plots import vega_script, write

ROOT = Path(__file__).resolve().parents[2]
DVC = ROOT / ".dvc"
TEMPLATES = sorted((DVC / "plots").glob("*.json"))
PLOTS = YAML(typ="safe").load(ROOT / "dvc.yaml")["plots"]


def page() -> Path:
    config = configparser.ConfigParser()
    config.read(DVC / "config")
    return DVC / config["plots"]["html_template"]


ROWS = {
    "network_curves": {"network": "a", "epoch": 1, "top1_accuracy": 0.5},
    "confusion_matrix": {"actual": "cat", "predicted": "dog"},
    "vscore_bars": {"network": "a", "classes": "similar, test", "v_score": 0.5, "deviation": 0.1},
}


def written(output):
    """A page of every plot, of two revisions, as `dvc plots diff` writes it."""
    renderers = [
        VegaRenderer(
            [{**row, "rev": rev} for rev in ("workspace", "main")],
            name,
            template=name,
            template_dir=DVC / "plots",
            title=f"title of {name}",
        )
        for name, row in ROWS.items()
    ]
    render_html(renderers, output, page())
    return output


def test_a_page_loads_nothing(tmp_path):
    text = written(tmp_path / "index.html").read_text(encoding="utf-8")
    assert "{plot_divs}" not in text
    assert "vegaEmbed(" in text
    markup = re.sub(r"<script[^>]*>.*?</script>", "", text, flags=re.DOTALL)
    assert "<body>" in markup
    assert not re.search(r"\b(src|href)\s*=", markup)
    assert not re.search(r"<script[^>]+src", text)
    assert "cdn." not in text.partition("<body>")[2]


@needs_browser
def test_a_browser_draws_every_plot(tmp_path):
    drawings = opened(written(tmp_path / "index.html"), tmp_path / "profile").drawings
    assert len(drawings) == len(ROWS)
    for name, drawing in zip(ROWS, drawings, strict=True):
        words = {f"title of {name}", "workspace", "main"}
        assert words <= set(drawing.splitlines())
    assert {"cat", "dog"} <= set(drawings[1].splitlines())


def test_templates_and_page_are_those_of_the_report_s_charts(tmp_path):
    write(tmp_path, libraries=False)
    assert TEMPLATES
    for path in (*TEMPLATES, page()):
        assert (tmp_path / path.relative_to(DVC)).read_bytes() == path.read_bytes(), path


@pytest.mark.slow
def test_the_libraries_are_those_that_draw_the_pictures():
    script = (ROOT / "pipeline/report/templates/vega.js").read_text(encoding="utf-8")
    assert script == vega_script()


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.stem)
def test_a_template_is_used_and_is_json(path):
    assert json.loads(path.read_text(encoding="utf-8"))["data"] == {"values": "<DVC_METRIC_DATA>"}
    used = {one["template"] for plot in PLOTS if isinstance(plot, dict) for one in plot.values()}
    assert path.stem in used
