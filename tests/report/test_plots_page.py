"""The page of `dvc plots`: all that it needs is inside, and the templates draw on what the report writes."""

import configparser
import json
import re
from pathlib import Path

import pytest
from dvc_render.html import render_html
from dvc_render.vega import VegaRenderer
from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parents[2]
DVC = ROOT / ".dvc"
TEMPLATES = sorted((DVC / "plots").glob("*.json"))
PLOTS = YAML(typ="safe").load(ROOT / "dvc.yaml")["plots"]


def page() -> Path:
    config = configparser.ConfigParser()
    config.read(DVC / "config")
    return DVC / config["plots"]["html_template"]


def test_a_page_loads_nothing(tmp_path):
    rows = [{"network": "a", "epoch": 1, "top1_accuracy": 0.5, "rev": "workspace"}]
    renderer = VegaRenderer(rows, "curves", template="network_curves", template_dir=DVC / "plots")
    output = tmp_path / "index.html"
    render_html([renderer], output, page())
    text = output.read_text(encoding="utf-8")
    assert "vegaEmbed(" in text
    assert "{plot_divs}" not in text
    markup = re.sub(r"<script[^>]*>.*?</script>", "", text, flags=re.DOTALL)
    assert "<body>" in markup
    assert not re.search(r"\b(src|href)\s*=", markup)
    assert not re.search(r"<script[^>]+src", text.partition("</head>")[2])
    assert text.count("<script>") == 3
    assert "cdn." not in text.partition("<body>")[2]


def test_the_page_names_the_libraries_inside_it_and_their_licences():
    text = page().read_text(encoding="utf-8")
    comment = text[: text.index("-->")]
    names = re.findall(r"<script>/\* (\S+ \S+) \*/", text)
    assert [name.split()[0] for name in names] == ["vega", "vega-lite", "vega-embed"]
    for name in names:
        assert re.search(rf"^{re.escape(name)}, sha256 [0-9a-f]{{64}}$", comment, re.MULTILINE)
    assert comment.count("Redistribution and use in source and binary forms") == 3


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.stem)
def test_a_template_is_used_and_is_json(path):
    assert json.loads(path.read_text(encoding="utf-8"))["data"] == {"values": "<DVC_METRIC_DATA>"}
    used = {one["template"] for plot in PLOTS if isinstance(plot, dict) for one in plot.values()}
    assert path.stem in used
