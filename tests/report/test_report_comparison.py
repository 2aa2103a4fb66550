"""Paired comparisons of methods, against slow loops."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from report_samples import gather, sample_run, teacher_facts

from pipeline.evaluation.comparison import MIN_PAIRS, bootstrap, comparisons
from pipeline.evaluation.configurations import configuration, hard_label_runs, told_apart
from pipeline.evaluation.frame import by_run
from pipeline.evaluation.paired import alone_runs
from pipeline.report.chart_data import labelled
from pipeline.report.comparison import comparison_table
from pipeline.report.tables import to_csv

KD = {"name": "kd", "loss": "kd", "temperature": 4.0, "gamma": 0.1, "alpha": 0.9}
RESCALED = {"name": "ours", "loss": "rescaled", "gamma": 0.1, "alpha": 0.9}
PAIRS = (("resnet56", "resnet20"), ("resnet110", "resnet20"), ("vgg13", "vgg8"))


def student(pair, method, accuracies, share=0.0, **own):
    facts = teacher_facts(pair[0], pair[0])
    options = {"teacher": facts, "method": method, "share": share}
    return sample_run("students", pair[1], accuracies, **options, **own)


def results():
    runs = []
    for i, pair in enumerate(PAIRS):
        runs.append(student(pair, KD, (0.70, 0.72)))
        runs.append(student(pair, RESCALED, (0.71 + i / 100, 0.73 + i / 100)))
        if i:
            runs.append(student(pair, RESCALED, (0.60,), share=0.5))
    runs.append(sample_run("baselines", "resnet20", (0.65,)))
    mixup = {"alpha": 0.2, "share": 1.0}
    runs.append(sample_run("baselines", "resnet20", (0.66,), mixup=mixup))
    return gather(runs)


def intervals(results, number):
    """(method, against) -> a number of their interval."""
    compared = comparisons(results)
    return {
        (method, against): getattr(interval, number)
        for method, against, interval in compared[["method", "against", "interval"]].values
    }


def top1(results, run):
    """Mean accuracy (percent) of a run's configuration."""
    return results.measured([configuration(run)])["top1"].item()


def test_every_method_is_compared_on_the_pairs_it_shares():
    found = intervals(results(), "differences")
    assert set(found) == {
        ("ours", "kd"),
        ("ours, 50 % mixed (alpha 1)", "ours"),
        ("ours, 50 % mixed (alpha 1)", "kd"),
        ("hard labels, all mixed (alpha 0.2)", "hard labels"),
    }
    assert found["ours", "kd"] == pytest.approx((1.0, 2.0, 3.0))
    assert found["ours, 50 % mixed (alpha 1)", "ours"] == pytest.approx((-13.0, -14.0))
    assert found["ours, 50 % mixed (alpha 1)", "kd"] == pytest.approx((-11.0, -11.0))
    assert found["hard labels, all mixed (alpha 0.2)", "hard labels"] == pytest.approx((1.0,))


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_runs_of_another_recipe_are_compared_with_the_usual_one(order):
    """Whichever comes first in the parameters."""
    runs = [
        student(PAIRS[0], KD, (0.70,), name="usual"),
        student(PAIRS[0], KD, (0.73,), name="long", training={"epochs": 9}),
        student(PAIRS[0], KD, (0.69,), name="image", view_sampling="image"),
    ]
    runs = [runs[i] for i in order] + [student(PAIRS[0], RESCALED, (0.75,))]
    found = intervals(gather(runs), "mean")
    assert found == pytest.approx(
        {("kd, 9 epochs", "kd"): 3.0, ("kd, view_sampling image", "kd"): -1.0, ("ours", "kd"): 5.0}
    )
    assert top1(gather(runs), runs[order.index(0)]) == pytest.approx(70.0)


def test_kinds_are_compared_with_those_of_their_own_recipe():
    long = {"training": {"epochs": 9}}
    runs = [
        student(PAIRS[0], KD, (0.70,)),
        student(PAIRS[0], KD, (0.73,), name="kd-9", **long),
        student(PAIRS[0], RESCALED, (0.78,), name="ours-9", **long),
        student(PAIRS[0], RESCALED, (0.79,), share=0.5, name="half-9", **long),
    ]
    half = "ours, 50 % mixed (alpha 1), 9 epochs"
    assert intervals(gather(runs), "mean") == pytest.approx(
        {
            ("kd, 9 epochs", "kd"): 3.0,
            ("ours, 9 epochs", "kd, 9 epochs"): 5.0,
            (half, "ours, 9 epochs"): 1.0,
            (half, "kd, 9 epochs"): 6.0,
        }
    )


def test_a_schedule_is_told_beside_a_length_where_that_does_not_tell_recipes_apart():
    def short(*milestones):
        schedule = {"name": "step", "milestones": list(milestones), "factor": 0.1}
        return {"training": {"epochs": 3, "schedule": schedule}}

    runs = [
        student(PAIRS[0], KD, (0.70,)),
        student(PAIRS[0], KD, (0.71,), name="one", **short(1)),
        student(PAIRS[1], KD, (0.72,), name="same", **short(1)),
    ]
    assert variants(runs) == ["", "3 epochs", "3 epochs"]
    runs.append(student(PAIRS[0], KD, (0.73,), name="two", **short(2)))
    assert variants(runs) == [
        "",
        *["3 epochs, schedule (factor 0.1, milestones [1], name step, warmup 0.25)"] * 2,
        "3 epochs, schedule (factor 0.1, milestones [2], name step, warmup 0.25)",
    ]


def variants(runs):
    return [key.variant for _, key, _ in told_apart(runs)]


@pytest.mark.parametrize("order", [1, -1])
def test_imported_weights_are_no_double_of_a_trained_network(order):
    """Nor are they the usual one, or pooled with it."""
    own = {name: {"path": name, "sha256": name * 64} for name in "ab"}
    runs = [
        sample_run("teachers", "resnet8", (0.9,), name="imported", weights=own["a"]),
        sample_run("teachers", "resnet8", (0.6,), name="trained", training={"learning_rate": 0.01}),
        sample_run("baselines", "resnet8", (0.7,), name="too", training={"learning_rate": 0.01}),
    ][::order]
    results = gather(runs)
    found = dict(zip([run.name for run in runs], variants(runs), strict=True))
    assert found == {"imported": f"sha256 {'a' * 12}", "trained": "", "too": ""}
    assert results.note == ""
    assert sorted(results.teachers["top1"].round(6)) == [60.0, 90.0]
    places = {run.name: place for place, run in enumerate(runs)}
    assert alone_runs(by_run(results.frame)) == {places["trained"]: places["too"]}
    (pooled,) = hard_label_runs(runs).values()
    assert {run.name for run in pooled} == {"trained", "too"}
    other = sample_run("teachers", "resnet8", (0.8,), name="other", weights=own["b"])
    imported = [run for run in runs if run.is_imported] + [other]
    assert hard_label_runs(imported)["resnet8", None] == imported[:1]
    assert gather(imported).configurations.empty


def test_another_teacher_of_the_same_kind_is_told_apart():
    runs = [student(PAIRS[0], KD, (0.70,)), student(PAIRS[0], KD, (0.71,))]
    record = runs[1].record
    teacher = replace(record.teacher, name="imported")
    runs[1] = replace(runs[1], record=replace(record, teacher=teacher))
    assert list(intervals(gather(runs), "mean")) == [("kd, teacher imported", "kd")]


def test_what_differs_in_seeds_alone_is_named_as_left_out():
    runs = [student(PAIRS[0], KD, (accuracy,), name=f"kd{accuracy}") for accuracy in (0.7, 0.8)]
    results = gather(runs)
    assert top1(results, runs[0]) == pytest.approx(70.0)
    assert results.note == (
        " Left out, being of the same kind as another: students.kd0.8 (as kd0.7)."
    )
    assert gather(runs[:1]).note == ""


def test_deviations_are_over_networks_of_one_recipe():
    plain = [
        sample_run(
            "baselines", "resnet8", (0.5,), name="lower", training={"precision": "bfloat16"}
        ),
        sample_run("baselines", "resnet8", (0.6,), name="usual"),
        sample_run("teachers", "resnet8", (0.6,), name="teacher"),
    ]
    ((key, found),) = hard_label_runs(plain).items()
    assert key == ("resnet8", None)
    assert [run.name for run in found] == ["usual", "teacher"]


def test_rows_say_what_is_not_usual_and_those_that_would_be_called_alike_have_their_names():
    runs = [
        sample_run(
            "baselines", "resnet8", (0.5,), name="lower", training={"precision": "bfloat16"}
        ),
        sample_run("baselines", "resnet8", (0.6,), name="usual"),
        sample_run("baselines", "resnet8", (0.7,), name="again"),
        sample_run("baselines", "resnet20", (0.6,), name="other"),
    ]
    assert [line.label for line in labelled(runs)["Baselines"]] == [
        "resnet8, precision bfloat16",
        "resnet8 (usual)",
        "resnet8 (again)",
        "resnet20",
    ]


def test_a_loss_tuned_to_each_pair_is_one_method():
    def dkd(beta):
        return {"name": f"dkd-{beta}", "loss": "dkd", "beta": float(beta)}

    runs = [student(pair, KD, (0.70,)) for pair in PAIRS]
    runs += [student(pair, dkd(i), (0.71 + i / 100,)) for i, pair in enumerate(PAIRS)]
    runs += [student(pair, dkd(i), (0.75,), share=1.0) for i, pair in enumerate(PAIRS)]
    found = intervals(gather(runs), "differences")
    assert found["dkd", "kd"] == pytest.approx((1.0, 2.0, 3.0))
    assert found["dkd, all mixed (alpha 1)", "dkd"] == pytest.approx((4.0, 3.0, 2.0))
    runs.append(student(PAIRS[0], dkd(5), (0.70,)))
    names = set(comparisons(gather(runs))["method"])
    assert {"dkd-0", "dkd-5"} < names, "two settings on one pair are two methods"


def test_the_interval_is_the_one_of_all_resamples():
    """Five pairs have 3125 equally likely resamples: their quantiles are what the draws approach."""
    differences = (1.0, 2.0, 6.0, -1.0, 0.5)
    interval = bootstrap(differences)
    means = [sum(draw) / 5 for draw in itertools.product(differences, repeat=5)]
    assert interval.mean == pytest.approx(1.7)
    assert interval.low == pytest.approx(np.quantile(means, 0.025), abs=0.1)
    assert interval.high == pytest.approx(np.quantile(means, 0.975), abs=0.1)
    assert bootstrap(differences) == interval


def test_the_interval_of_many_pairs_is_the_normal_one():
    values = np.random.default_rng(0).normal(0.5, 2.0, 400)
    interval = bootstrap(values.tolist())
    half = 1.96 * values.std(ddof=1) / 20
    assert interval.low == pytest.approx(values.mean() - half, abs=0.03)
    assert interval.high == pytest.approx(values.mean() + half, abs=0.03)
    assert interval.excludes_zero


def test_few_pairs_have_no_interval():
    interval = bootstrap([1.0] * (MIN_PAIRS - 1))
    assert (interval.mean, interval.low, interval.high) == (1.0, None, None)
    assert not interval.excludes_zero


def test_the_table_marks_intervals_that_exclude_zero():
    pairs = [(teacher, f"student{i}") for i, teacher in enumerate(("a", "b", "c", "d", "e"))]
    runs = [student(pair, KD, (0.70,)) for pair in pairs]
    runs += [student(pair, RESCALED, (0.71 + i / 100,)) for i, pair in enumerate(pairs)]
    runs += [student(pairs[0], RESCALED, (0.60,), share=0.5)]
    table = comparison_table(gather(runs), "Setting.")
    rows = {(row[0].text, row[1].text): row for row in table.rows}
    better = rows["ours", "kd"]
    assert [cell.text for cell in better[2:5]] == ["5", "5", "+3.00"]
    assert better[4].bold
    single = rows["ours, 50 % mixed (alpha 1)", "kd"]
    assert (single[5].text, single[4].bold) == ("–", False)  # noqa: RUF001
    assert to_csv(table.data).splitlines()[0] == "method,against,pairs,better,difference,low,high"


def test_configurations_of_one_kind_are_equal_whatever_their_names():
    one = student(PAIRS[0], KD, (0.7,))
    other = student(PAIRS[0], {**KD, "name": "another name"}, (0.9, 0.8))
    assert configuration(one) == configuration(other)
    assert configuration(one) != configuration(student(PAIRS[0], KD, (0.7,), share=0.1))
