"""The first screen and the provenance: differences by seed, counts, and formulas of every loss."""

import math
import statistics

import pandas as pd
import pytest
from report_samples import KD, RESCALED, sample_data, sample_run, teacher_facts

from pipeline.evaluation.frame import by_run, results_frame
from pipeline.evaluation.paired import difference
from pipeline.losses.signatures import LOSSES
from pipeline.report.accuracy import accuracy_table
from pipeline.report.overview import overview
from pipeline.report.page_tables import shown_accuracies
from pipeline.report.provenance import formula, provenance_tables
from pipeline.report.savings import savings

TEACHER = teacher_facts("big", "resnet20")
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
    assert kd.endswith("without zero.")
    # Two students of two replicates; views that were read: 8 plain, 8 mixed.
    counted = savings(runs)
    images = runs[0].record.dataset.train_images
    epochs = runs[-1].record.training["epochs"]
    assert (counted.used, counted.stored) == (2 * 2 * epochs * images, 16 * images)
    assert counted.seconds is None
    assert saved.value == f"{counted.avoided:,}"


def test_the_shown_table_keeps_every_number_and_adds_two_columns(runs):
    frame = results_frame(runs)
    networks = by_run(frame)
    table = accuracy_table(networks, "")
    shown = shown_accuracies(
        table, frame, networks, {networks["configuration"].iloc[1]: ("t", 89.5)}
    )
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
