"""Tables as CSV, Markdown, LaTeX, HTML and text, and the numbers in them."""

import csv
import io
import math

import pandas as pd
import pytest

from pipeline.evaluation.numbers import MISSING, deviation, fixed, mean, percent, signed, spread
from pipeline.report.document import environment
from pipeline.report.tables import (
    Cell,
    Table,
    cells,
    latex_text,
    to_csv,
    to_latex,
    to_markdown,
    to_text,
    write_table,
)

TABLE = Table(
    name="sample",
    title="A & B",
    caption="100 % of <it>.",
    header=("Name", "Value"),
    rows=(cells("wrn_40_2", "1.00"), (Cell("a|b"), Cell("2.00", bold=True, small="+1.00"))),
    data=pd.DataFrame({"name": ["wrn_40_2", "a,b"], "value": [1.0, None]}),
)


def test_mean_and_deviation_follow_their_definitions():
    values = [0.5, 0.75, 0.7]
    middle = sum(values) / 3
    assert mean(values) == pytest.approx(middle)
    assert deviation(values) == pytest.approx(math.sqrt(sum((v - middle) ** 2 for v in values) / 2))
    assert mean([]) is None
    assert deviation([0.5]) is None


def test_numbers_are_printed_with_what_is_known():
    assert percent([0.5, 0.75]) == "62.50 ± 17.68"
    assert percent([0.98765]) == "98.77"
    assert spread([], 2) == MISSING
    assert fixed(-0.001, 2) == "0.00"
    assert percent((0.2546, 0.2573)) == spread((100 * 0.2546, 100 * 0.2573), 2) == "25.60 ± 0.19"
    assert fixed(25.595000000000002, 2) == fixed(25.594999999999995, 2) == "25.60"
    assert [fixed(mean, 2) for mean in (56.475, 56.485, -0.005)] == ["56.48", "56.49", "-0.01"]
    assert signed(0.256) == "+0.26"
    assert signed(-0.256) == "-0.26"
    assert signed(-0.001) == "0.00"


def test_csv_is_read_back_as_it_was():
    rows = list(csv.DictReader(io.StringIO(to_csv(TABLE.data))))
    assert rows == [{"name": "wrn_40_2", "value": "1"}, {"name": "a,b", "value": ""}]
    assert to_csv(pd.DataFrame([{"x": 1 / 3, "y": math.nan, "z": 7}])) == "x,y,z\n0.333333,,7\n"


def test_markdown_has_columns_of_one_width():
    lines = to_markdown(TABLE).splitlines()
    body = [line for line in lines if line.startswith("|")]
    assert len(body) == 4
    assert len({len(line) for line in body}) == 1
    assert "**2.00** (+1.00)" in body[3]
    assert "a\\|b" in body[3]
    assert body[1].endswith(":|".replace("|", " |"))


def test_latex_escapes_what_latex_reads():
    text = to_latex(TABLE)
    assert "wrn\\_40\\_2 & 1.00 \\\\" in text
    assert "\\textbf{2.00} {\\scriptsize +1.00}" in text
    assert "A \\& B. 100 \\% of \\textless{}it\\textgreater{}." in text
    assert "{lr}" in text
    assert latex_text("a → b ± 1") == "a $\\rightarrow$ b $\\pm$ 1"
    assert all(ord(character) < 128 for character in latex_text("a → b ± 1 – c"))  # noqa: RUF001


def test_html_escapes_what_html_reads():
    text = environment().get_template("table.html.j2").module.table(TABLE)
    assert "A &amp; B" in text
    assert "&lt;it&gt;" in text
    assert "<b>2.00</b></span><small>+1.00</small>" in text


def test_text_aligns_columns():
    lines = to_text(TABLE).splitlines()
    assert lines[0] == "A & B"
    assert lines[2:6] == [
        "Name      Value",
        "--------  -----",
        "wrn_40_2   1.00",
        "a|b       2.00*",
    ]


def test_a_table_is_written_three_times(tmp_path):
    write_table(TABLE, tmp_path / "tables")
    assert sorted(path.name for path in (tmp_path / "tables").iterdir()) == [
        "sample.csv",
        "sample.md",
        "sample.tex",
    ]
