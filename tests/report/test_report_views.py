"""The table of students that read a part of their store's views."""

import csv
from dataclasses import replace

from page_samples import ROOT, made_up
from report_samples import KD, RESCALED, gather, sample_run, teacher_facts

from pipeline.core.params import load_yaml
from pipeline.evaluation.comparison import comparisons
from pipeline.evaluation.runs import Run, describe
from pipeline.report.chart_data import curve_frame, labelled
from pipeline.report.comparison import view_table
from pipeline.report.tables import to_csv
from pipeline.report.training_charts import loss_frame


def student(views: int | None, percent: float, *, method=KD, teacher="big", share=0.0) -> Run:
    facts = teacher_facts(teacher, "resnet56")
    facts["views"] = {"plain": {"views": views or 8, "draw": "stratified", "alpha": None}}
    values = ((percent - 0.1) / 100, (percent + 0.1) / 100)
    run = sample_run("students", "resnet20", values, teacher=facts, method=method, share=share)
    if views is None:
        return run
    return replace(run, record=replace(run.record, entry={**run.record.entry, "views": views}))


def shown(table):
    return [[cell.text for cell in row] for row in table.rows]


def test_the_fewest_views_come_first_and_all_of_them_last():
    runs = [student(4, 68.0), student(None, 70.0), student(1, 65.5), student(8, 70.1)]
    table = view_table(gather(runs), "Setting.")
    pair = "resnet56 → resnet20"
    assert shown(table) == [
        [pair, "kd", "1", "65.50 ± 0.14", "-4.50"],
        [pair, "kd", "4", "68.00 ± 0.14", "-2.00"],
        [pair, "kd", "8", "70.10 ± 0.14", "+0.10"],
        [pair, "kd", "8 (all)", "70.00 ± 0.14", "–"],  # noqa: RUF001
    ]
    rows = list(csv.DictReader(to_csv(table.data).splitlines()))
    assert [row["views"] for row in rows] == ["1", "4", "8", "8"]
    assert [float(row["difference"] or "nan") for row in rows[:3]] == [-4.5, -2.0, 0.1]
    assert rows[3]["difference"] == ""


def test_methods_stand_apart_and_those_without_a_limit_stay_out():
    runs = [
        student(None, 70.0),
        student(2, 69.0, method=RESCALED),
        student(None, 71.0, method=RESCALED),
    ]
    table = view_table(gather(runs), "")
    assert [row[1:] for row in shown(table)] == [
        ["rescaled", "2", "69.00 ± 0.14", "-2.00"],
        ["rescaled", "8 (all)", "71.00 ± 0.14", "–"],  # noqa: RUF001
    ]
    assert view_table(gather(runs[:1]), "") is None
    assert view_table(gather([]), "") is None


def test_without_a_student_of_all_views_there_is_no_difference():
    table = view_table(gather([student(2, 69.0)]), "")
    assert shown(table) == [["resnet56 → resnet20", "kd", "2", "69.00 ± 0.14", "–"]]  # noqa: RUF001


def test_a_student_of_another_recipe_is_no_twin_of_all_views():
    """Though nothing else of its number of views is there."""
    facts = teacher_facts("big", "resnet56")
    facts["views"] = {"plain": {"views": 4, "draw": "stratified", "alpha": None}}
    own = {"views": 4, "training": {"epochs": 2}}
    short = sample_run("students", "resnet20", (0.6,), teacher=facts, method=KD, **own)
    table = view_table(gather([student(None, 70.0), short]), "")
    assert [row[1:] for row in shown(table)] == [["kd, 2 epochs", "4", "60.00", "–"]]  # noqa: RUF001


def test_names_say_how_many_views():
    assert [describe(student(views, 70.0)) for views in (None, 1, 4)] == [
        "kd",
        "kd, 1 view",
        "kd, 4 views",
    ]
    mixed = student(4, 70.0, share=0.5)
    assert describe(mixed) == "kd, 50 % mixed, 4 views"


def test_curves_of_fewer_views_are_paler():
    runs = [student(1, 60.0), student(None, 70.0), student(4, 68.0)]
    (lines,) = labelled(runs).values()
    assert [line.paleness for line in lines] == [0.7, 0.0, 0.35]


def test_curves_of_another_recipe_are_paler():
    own = {"training": {"epochs": 2}}
    facts = teacher_facts("big", "resnet56")
    short = sample_run("students", "resnet20", (0.6,), teacher=facts, method=KD, **own)
    for runs in ([student(None, 70.0), short], [short]):
        (lines,) = labelled(runs).values()
        assert [line.paleness for line in lines] == [0.0, 0.7][: len(runs)]


def test_networks_trained_for_other_lengths_have_other_lines():
    content = load_yaml(ROOT / "profiles" / "cifar100-resnet56-resnet20.yaml")
    runs = made_up(content | {"teachers": {}, "students": {}})
    assert [run.epochs for run in runs] == [240, 60]
    assert loss_frame(runs).groupby("network")["colour"].first().nunique() == 2
    assert curve_frame(runs).groupby("network")["paleness"].first().to_list() == [0.0, 0.7]


def test_comparisons_are_with_students_of_all_views():
    runs = [student(4, 68.0), student(None, 70.0), student(2, 66.0)]
    compared = comparisons(gather(runs)).set_index(["method", "against"])
    assert compared["difference"].round(6).to_dict() == {
        ("kd, 4 views", "kd"): -2.0,
        ("kd, 2 views", "kd"): -4.0,
    }
