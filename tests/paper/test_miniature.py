"""The study in miniature, run whole through DVC on the real CIFAR-100: every kind of cell, every figure."""

import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from project_samples import copy_of_the_project
from ruamel.yaml import YAML

from pipeline.paper.published import BASELINE, TABLE1, TABLE2, TABLE3
from pipeline.paper.tables import NOT_RUN

CPU_TEACHERS, CPU_STUDENTS = ("resnet20", "resnet32", "resnet56"), ("resnet20", "resnet32")
TABLES = {
    TABLE1,
    TABLE2,
    TABLE3,
    *("accuracy", "calibration", "claims", "comparison", "mixup_teachers", "setting", "teachers"),
    *("table3_as_coded", "views", "vscores"),
}
FIGURES = {"figure1", "figure2", "figure3", "vscores", "vscores-l2", "curves", "confusion"}


def rows(reports: Path, name: str) -> list[dict[str, str]]:
    text = (reports / "tables" / f"{name}.csv").read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))


def check_square(reports: Path, name: str) -> None:
    """A number where teacher and student were run, `not run` everywhere else."""
    table = {row["teacher"]: row for row in rows(reports, name)}
    assert len(table) == 6
    for teacher, row in table.items():
        for column in ("resnet20", "resnet32", "resnet44", "resnet56", "resnet110"):
            ran = column in CPU_STUDENTS and teacher in (BASELINE, *CPU_TEACHERS)
            # The teacher resnet56 stands for the baseline, which the miniature does not train.
            ran |= (teacher, column) == (BASELINE, "resnet56")
            assert (row[column] != NOT_RUN) == ran, (name, teacher, column)
            if ran:
                assert 0 <= float(row[column]) <= 100


def check_pairs(reports: Path) -> None:
    table = {(row["teacher"], row["student"]): row for row in rows(reports, TABLE3)}
    assert len(table) == 13
    columns = ["teacher_acc", "student_acc", "mix_s_alpha_0.2", "mix_s_alpha_1.0", "kd"]
    columns += [f"rescaled_{name}" for name in ("no_mixup", "pmu10", "pmu50", "fmu")]
    for pair, row in table.items():
        whole = pair == ("resnet56", "resnet20")
        assert all(row[column] != NOT_RUN for column in columns) == whole, pair
        assert all(row[f"{column}_published"] for column in columns)


def check_report(reports: Path, stages: int) -> None:
    """All tables, figures and numbers that the study's profiles promise."""
    assert {path.stem for path in (reports / "tables").iterdir()} == TABLES
    pictures = {path.stem for path in (reports / "figures").iterdir()}
    assert pictures >= FIGURES
    drawings = pictures - {"strip"}  # which is made of photographs
    assert {path.stem for path in (reports / "vector").iterdir()} == drawings
    for name in (TABLE1, TABLE2):
        check_square(reports, name)
    check_pairs(reports)
    (coded,) = rows(reports, "table3_as_coded")
    assert NOT_RUN not in coded.values()
    twins = rows(reports, "mixup_teachers")
    assert len(twins) == 4
    assert all(value for row in twins for value in row.values())
    assert [row["views"] for row in rows(reports, "views")] == ["1", "2"]
    claims = [row["number"] for row in rows(reports, "claims")]
    assert claims == ["1", "2", "3", "4", "5", "6", "figure 3a", "figure 3b"]
    metrics = json.loads((reports / "metrics.json").read_text())
    trained = sum(map(len, metrics.values()))
    scores = 2 * 2 * 2  # groups of classes; train and test set; raw and normalised
    assert len(rows(reports, "vscores")) == scores * trained
    assert stages == 3 + trained + len(CPU_TEACHERS) * 2  # check, prepare, evaluate; dumps


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.skipif(
    "DECANT_DATA" not in os.environ, reason="DECANT_DATA names no folder with the real CIFAR-100"
)
def test_the_miniature_fills_every_kind_of_cell(tmp_path):
    """Fifteen minutes of two idle cores; the second run finds nothing to do."""
    copy_of_the_project(tmp_path)
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}

    def run(*command):
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return done.stdout

    run("git", "init", "--quiet")
    run(sys.executable, "-m", "stages.cli", "use", "cifar100-paper-cpu")
    ran = re.findall(r"Running stage '([^']+)'", run(sys.executable, "-m", "dvc", "repro"))
    check_report(tmp_path / "reports", len(ran))
    content = YAML(typ="safe").load(tmp_path / "params.yaml")
    assert (
        len(ran)
        == len(set(ran))
        == 3 + sum(len(content[part]) for part in ("teachers", "baselines", "dumps", "students"))
    )
    assert "Running stage" not in run(sys.executable, "-m", "dvc", "repro")
    run(sys.executable, "-m", "dvc", "metrics", "show")
    run(sys.executable, "-m", "dvc", "plots", "show")
    assert "cdn." not in (tmp_path / "dvc_plots" / "index.html").read_text().partition("<body>")[2]
