"""The first screen and the provenance: differences by seed, counts, and formulas of every loss."""

import math
import statistics

import pandas as pd
import pytest
from page_samples import ROOT, made_up
from report_samples import KD, RESCALED, sample_data, sample_run, teacher_facts

from pipeline.core.params import load_yaml
from pipeline.evaluation.frame import by_run, results_frame
from pipeline.evaluation.paired import difference
from pipeline.evaluation.scores import score_runs
from pipeline.evaluation.vscores import VScores
from pipeline.losses.signatures import LOSSES
from pipeline.report.accuracy import accuracy_table, calibration_table
from pipeline.report.gains import gains
from pipeline.report.overview import overview
from pipeline.report.page_tables import shown_accuracies
from pipeline.report.provenance import formula, names_text, provenance_tables
from pipeline.report.savings import savings
from pipeline.report.setting import caption, cost_table, setting_table
from pipeline.report.training_charts import difference_frame
from pipeline.report.vscores import vscore_frame, vscore_table

TEACHER = teacher_facts("big", "resnet20")
SHORT = {"epochs": 2, "schedule": {"name": "step", "milestones": [1], "factor": 0.1}}
IMPORTED = {"path": "resnet20.safetensors", "sha256": "b" * 64}
T_OF_ONE = 12.706204736  # the 97.5 % quantile of t with one degree of freedom


@pytest.fixture(scope="module")
def runs():
    return [
        sample_run("teachers", "resnet20", (0.97,), name="big"),
        sample_run("baselines", "resnet8", (0.90, 0.91), name="small"),
        sample_run("students", "resnet8", (0.91, 0.93), name="s-kd", teacher=TEACHER, method=KD),
        sample_run(
            "students", "resnet8", (0.94, 0.961), name="s-r", teacher=TEACHER, method=RESCALED
        ),
    ]


def test_shared_seeds_are_paired():
    value = difference(pd.Series([94.0, 96.1], [0, 1]), pd.Series([91.0, 93.0], [0, 1]))
    half = T_OF_ONE * statistics.stdev([3.0, 3.1]) / math.sqrt(2)
    assert value.values == pytest.approx((3.0, 3.1))
    assert (value.low, value.high) == pytest.approx((3.05 - half, 3.05 + half))
    assert value.is_shown


def test_other_seeds_are_compared_by_welch():
    ours, theirs = [94.0, 96.0], [90.0, 91.0, 92.5]
    value = difference(pd.Series(ours, [0, 1]), pd.Series(theirs, [7, 8, 9]))
    a, b = statistics.variance(ours) / 2, statistics.variance(theirs) / 3
    freedom = (a + b) ** 2 / (a**2 / 1 + b**2 / 2)
    assert 1 < freedom < 3
    assert value.values == ()
    assert value.mean == pytest.approx(95 - 273.5 / 3)
    assert value.high - value.low > 2 * 3.182 * math.sqrt(a + b), "wider than with three degrees"
    assert not value.is_shown


def test_one_run_has_no_interval():
    value = difference(pd.Series([94.0], [0]), pd.Series([91.0], [0]))
    assert (value.mean, value.low, value.is_shown) == (3.0, None, None)


def test_the_first_screen_names_the_best_and_says_what_is_shown(runs):
    frame = results_frame(runs)
    screen = overview(runs, sample_data(), frame, by_run(frame))
    best, above, saved = screen.facts
    assert best.value == "95.05 ± 1.48 %"
    assert "big → resnet8 by rescaled" in best.note
    assert above.value == "+4.55 points"
    alone, kd = screen.findings
    assert "above the resnet8 baseline" in alone
    assert "paired over 2 seeds: +4.00, +5.10" in alone
    assert alone.endswith("no difference shown."), "t of one degree is wide"
    assert "3.05 points above kd" in kd
    assert kd.endswith("without zero (two seeds may agree by chance).")
    # Two students of two replicates; views that were read: 8 plain, 8 mixed.
    counted = savings(runs)
    images = runs[0].record.dataset.train_images
    epochs = runs[-1].record.training["epochs"]
    assert (counted.used, counted.stored) == (2 * 2 * epochs * images, 16 * images)
    assert saved.value == f"{counted.avoided:,}"


def test_the_shown_table_keeps_every_number_and_adds_two_columns(runs):
    frame = results_frame(runs)
    networks = by_run(frame)
    table = accuracy_table(networks, "")
    shown = shown_accuracies(table, frame, networks, {1: ("t", 89.5)})
    assert [name for name in shown.header if name not in table.header] == [
        "Above baseline",
        "Published",
    ]
    for before, after in zip(table.rows, shown.rows, strict=True):
        texts = [c.text for c, n in zip(after, shown.header, strict=True) if n in table.header]
        assert texts == [cell.text for cell in before]
    places = {name: place for place, name in enumerate(shown.header)}
    above = [row[places["Above baseline"]].text for row in shown.rows]
    assert above == ["–", "–", "+1.50", "+4.55"]  # noqa: RUF001
    assert [row[places["Top-1"]].bold for row in shown.rows] == [False, False, False, True]
    assert shown.rows[1][places["Published"]].text == "89.50"
    assert shown.rows[1][places["Published"]].small == "+1.00, t"


@pytest.fixture(scope="module")
def two_lengths():
    """What a study at two lengths leaves: an imported teacher, and a baseline and two students of either."""
    facts = {"teacher": TEACHER, "method": KD}
    return [
        sample_run("teachers", "resnet20", (0.97,), name="big", weights=IMPORTED),
        sample_run("baselines", "resnet8", (0.90,), name="small"),
        sample_run("baselines", "resnet8", (0.80, 0.82), name="small-2", training=SHORT),
        sample_run("students", "resnet8", (0.92,), name="kd", **facts),
        sample_run("students", "resnet8", (0.83, 0.84), name="kd-2", training=SHORT, **facts),
        sample_run("students", "resnet8", (0.94,), name="r", **facts | {"method": RESCALED}),
        sample_run(
            "students",
            "resnet8",
            (0.85, 0.87),
            name="r-2",
            training=SHORT,
            **facts | {"method": RESCALED},
        ),
    ]


def test_the_best_of_each_length_is_bold(two_lengths):
    frame = results_frame(two_lengths)
    networks = by_run(frame)
    table = shown_accuracies(accuracy_table(networks, ""), frame, networks, {})
    place = table.header.index("Top-1")
    assert [row[0].text for row in table.rows if row[place].bold] == ["r", "r-2"]


def above_baseline(runs):
    """Name -> what the shown table has as its difference from the baseline."""
    frame = results_frame(runs)
    networks = by_run(frame)
    shown = shown_accuracies(accuracy_table(networks, ""), frame, networks, {})
    place = shown.header.index("Above baseline")
    return {row[0].text: row[place].text for row in shown.rows}


def test_students_are_compared_with_networks_of_their_own_recipe(two_lengths):
    """Whichever was trained, and is listed, first."""
    for runs in (two_lengths, two_lengths[::-1]):
        frame = results_frame(runs)
        networks = by_run(frame)
        screen = overview(runs, sample_data(), frame, networks)
        assert "; 2 to 4 epochs" in screen.lead
        best, above, largest, _ = screen.facts
        assert best.value == "94.00 %"
        assert above.value == "+4.00 points"
        assert largest.value == "+5.00 points"
        assert "resnet8 by rescaled, 2 epochs, 2 runs" in largest.note
        alone, kd = screen.findings
        assert "rescaled is 4.00 points above the resnet8 baseline" in alone
        assert "rescaled is 2.00 points above kd (" in kd
        bars = {row.label.removeprefix("big → resnet8, "): row.value for row in screen.gains.rows}
        expected = {"rescaled, 2 epochs": "+5.00", "rescaled": "+4.00"}
        assert bars == {**expected, "kd, 2 epochs": "+2.50", "kd": "+2.00"}
        numbers = above_baseline(runs)
        students = {"kd": "+2.00", "kd-2": "+2.50", "r": "+4.00", "r-2": "+5.00"}
        assert numbers == dict.fromkeys(("big", "small", "small-2"), "–") | students  # noqa: RUF001
        minus_kd = difference_frame(runs, frame, networks).groupby("network")["difference"]
        found = {name: values.round(6).tolist() for name, values in minus_kd}
        assert found == {"rescaled": [2.0], "rescaled, 2 epochs": [2.0, 3.0]}


def test_without_a_baseline_of_its_recipe_a_student_has_no_gain(two_lengths):
    runs = [run for run in two_lengths if run.name != "small-2"]
    numbers = above_baseline(runs)
    assert (numbers["kd-2"], numbers["r-2"], numbers["r"]) == ("–", "–", "+4.00")  # noqa: RUF001
    frame = results_frame(runs)
    assert [row.value for row in gains(frame, by_run(frame)).rows] == ["+4.00", "+2.00"]


def test_imported_weights_have_no_recipe(two_lengths):
    runs = [two_lengths[0], two_lengths[2]]  # the teacher's record has the shared recipe, too
    frame = results_frame(runs)
    assert frame["epochs"].tolist() == [0, 2, 2]
    facts = ["batch_size", "learning_rate", "schedule", "precision", "recipe"]
    assert frame[facts].isna().all(axis=1).tolist() == [True, False, False]
    assert "; 2 epochs" in overview(runs, sample_data(), frame, by_run(frame)).lead
    assert caption(sample_data(), runs).endswith("; 2 epochs.")
    rows = setting_table(sample_data(), runs, frame).rows
    setting = {what.text: value.text for what, value in rows}
    assert setting["Training of teachers"] == "big: imported weights"
    assert setting["Training of baselines"].startswith("2 epochs, ")
    recipes = next(t for t in provenance_tables(runs, sample_data()) if t.name == "recipes")
    assert [row[2].text for row in recipes.rows] == ["baselines.small-2"]
    teacher = frame.loc[[0]]
    lead = overview(runs[:1], sample_data(), teacher, by_run(teacher)).lead
    assert lead.endswith("1 teacher in all; top-1 accuracy on 200 test images after the last.")


def test_networks_that_share_a_name_have_rows_of_their_own():
    content = load_yaml(ROOT / "profiles" / "cifar100-short.yaml")
    entry = {"network": "resnet20", "seed": 0}
    content |= {
        "teachers": {"resnet20": entry},
        "baselines": {"resnet20": {**entry, "replicates": 2}, "resnet8": entry},
        "students": {},
    }
    runs = made_up(content)
    vscores = [VScores(run, **vars(kept)) for run in runs for kept in run.kept.v_scores]
    networks = by_run(results_frame(runs, score_runs(runs, None), vscores))
    names = ["teachers/resnet20", "baselines/resnet20", "resnet8"]
    costs = cost_table(runs)
    assert [row[0].text for row in costs.rows] == names
    assert [row[4].text for row in costs.rows] == ["1", "2", "1"]
    seconds = [[r["seconds"] for r in run.kept.timing.replicates] for run in runs]
    assert costs.data["minutes"].tolist() == pytest.approx(
        [statistics.mean(s) / 60 for s in seconds]
    )
    assert [row[0].text for row in calibration_table(networks, "").rows] == names
    shown = [row[0].text for row in vscore_table(vscore_frame(networks, vscores), "").rows]
    assert list(dict.fromkeys(shown)) == names


def test_imported_weights_took_no_training():
    content = load_yaml(ROOT / "profiles" / "cifar100-resnet56-resnet20.yaml")
    runs = made_up(content | {"students": {}})
    assert [run.name for run in runs if run.is_imported] == ["resnet56"]
    assert [row[0].text for row in cost_table(runs).rows] == ["resnet20", "resnet20-60"]


def test_which_networks_are_meant_is_said_in_few_words(runs):
    assert names_text(["baselines.small"], runs) == "baselines.small"
    assert names_text(["students.s-kd", "students.s-r"], runs) == "all 2 students"
    many = [sample_run("baselines", "resnet8", (0.5,), name=f"b{i}") for i in range(5)]
    assert names_text([f"baselines.b{i}" for i in range(4)], many) == "all baselines but b4"


def test_provenance_holds_every_digest_and_value(runs):
    tables = {table.name: table for table in provenance_tables(runs, sample_data())}
    text = " ".join(cell.text for table in tables.values() for row in table.rows for cell in row)
    assert "alpha 0.9, gamma 0.1, temperature 4" in text
    assert "momentum 0.9" in text
    assert {TEACHER["weights_sha256"], "1" * 64, sample_data().fingerprint} <= set(text.split())
    assert "versions" not in tables, "nothing was kept"


@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_says_what_it_computes(loss):
    text = formula(loss)
    assert "KL" in text or "CE" in text or "^2" in text
    assert formula("own.losses.mine:name") == "own code: own.losses.mine:name"
