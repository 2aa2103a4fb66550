"""docs/paper.md: the published numbers are those of pipeline/paper."""

import csv

import pytest
from doc_pages import ROOT, read_page

PAGE = read_page("docs/paper.md")


@pytest.mark.parametrize(("name", "count"), [("table1_kd", 6), ("table3_mixup_students", 13)])
def test_rows_are_those_of_the_file(name, count):
    with (ROOT / f"pipeline/paper/{name}.csv").open(encoding="utf-8") as file:
        rows = list(csv.reader(file))[1:]
    assert len(rows) == count
    for first, *rest in rows:
        shown = "none (baseline)" if first == "baseline" else first
        assert f"| {' | '.join((shown, *rest))} |" in PAGE
