"""docs/paper.md: the published numbers are those of pipeline/paper, the cost is what `decant plan` prints."""

import csv
import re

import pytest
from click.testing import CliRunner
from doc_pages import ROOT, read_page

from stages.cli import main

PAGE = read_page("docs/paper.md")


@pytest.mark.parametrize(("name", "count"), [("table1_kd", 6), ("table3_mixup_students", 13)])
def test_rows_are_those_of_the_file(name, count):
    with (ROOT / f"pipeline/paper/{name}.csv").open(encoding="utf-8") as file:
        rows = list(csv.reader(file))[1:]
    assert len(rows) == count
    for first, *rest in rows:
        shown = "none (baseline)" if first == "baseline" else first
        assert f"| {' | '.join((shown, *rest))} |" in PAGE


@pytest.mark.slow
def test_the_cost_is_what_plan_prints(monkeypatch, tmp_path):
    """On a disk on which nothing of it is done."""
    (told,) = re.findall(r"^<!-- plan -->\n```\n(.*?)```$", PAGE, re.MULTILINE | re.DOTALL)
    (command,) = re.findall(r"`decant (plan cifar100-paper --rate \S+)`", PAGE)
    (tmp_path / "profiles").symlink_to(ROOT / "profiles")
    monkeypatch.chdir(tmp_path)
    printed = CliRunner().invoke(main, command.split(), catch_exceptions=False).output
    lines = [line.rstrip() for line in printed.splitlines()]
    assert [line for line in told.splitlines() if line and line not in lines] == []
    assert "The cache makes it 2.35 times as fast." in printed
