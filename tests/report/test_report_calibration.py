"""Likelihood and calibration on a method's own scale, before and after fitting a temperature."""

import math
from dataclasses import replace

import numpy as np
import pytest
from report_samples import sample_data, sample_logits, teacher_facts, write_run

from pipeline.evaluation.calibration import calibrate, fitted_temperature, own_scale
from pipeline.evaluation.frame import by_run, results_frame
from pipeline.evaluation.runs import load_runs
from pipeline.evaluation.scores import score_runs
from pipeline.report.accuracy import calibration_table
from pipeline.results.samples import TRAIN_SAMPLE, TrainSample, save_train_sample

CLASSES = 6
RESCALED = {"name": "rescaled", "loss": "rescaled", "gamma": 0.1, "alpha": 0.9}


def drawn(count, scale=1.0, seed=0):
    """Logits f4 [n, 6] whose labels are drawn from their own softmax, then scaled."""
    rng = np.random.default_rng(seed)
    logits = 2 * rng.normal(size=(count, CLASSES))
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = np.array([rng.choice(CLASSES, p=p) for p in probabilities], np.int32)
    return (scale * logits).astype(np.float32), labels


def slow_softmax(row):
    exponentials = [math.exp(value - max(row)) for value in row]
    return [value / sum(exponentials) for value in exponentials]


def test_numbers_are_taken_of_the_method_s_own_logits():
    logits, labels = drawn(50)
    teacher, _ = drawn(50, seed=1)
    found = calibrate("rescaled", logits, labels, teacher=teacher)
    nll = kl = 0.0
    for row, other, label in zip(logits.tolist(), teacher.tolist(), labels.tolist(), strict=True):
        ours, theirs = (
            slow_softmax([value / np.std(values, ddof=1) for value in values])
            for values in (row, other)
        )
        nll -= math.log(ours[label]) / 50
        kl += sum(p * math.log(p / q) for p, q in zip(theirs, ours, strict=True)) / 50
    assert found["nll"] == pytest.approx(nll, rel=1e-5)
    assert found["kl"] == pytest.approx(kl, rel=1e-5)
    assert set(found) == {"nll", "ece", "kl"}, "nothing is fitted without a sample"


def test_scale_free_losses_do_not_see_the_scale():
    logits, labels = drawn(80)
    for loss in ("rescaled", "zscore"):
        small, large = (calibrate(loss, factor * logits, labels) for factor in (1, 8))
        assert small["nll"] == pytest.approx(large["nll"], rel=1e-5)
    assert calibrate("kd", 8 * logits, labels)["nll"] > 2 * calibrate("kd", logits, labels)["nll"]
    assert own_scale(None, logits) is logits
    assert own_scale("some.module:loss", logits) is logits


def test_a_fitted_temperature_undoes_a_wrong_scale():
    sample = TrainSample(*drawn(4000, scale=5.0, seed=1))
    test, labels = drawn(4000, scale=5.0, seed=2)
    temperature = fitted_temperature("kd", sample)
    assert temperature == pytest.approx(5, rel=0.05)
    found = calibrate(
        "kd", test, labels, teacher=test, temperature=temperature, teacher_temperature=1
    )
    assert found["fitted_nll"] < found["nll"]
    assert found["fitted_ece"] < 0.03 < found["ece"]
    assert found["kl"] == pytest.approx(0, abs=1e-12)
    assert found["fitted_kl"] > 0.1, "each network is divided by its own temperature"


def test_no_temperature_fits_where_all_images_are_right():
    logits, _ = drawn(50)
    right = TrainSample(logits, logits.argmax(axis=1).astype(np.int32))
    assert fitted_temperature("kd", right) is None
    assert fitted_temperature("kd", None) is None


def write_sample(run_folder, replicate, seed):
    logits, labels = drawn(300, scale=3.0, seed=seed)
    sample = TrainSample(logits, labels)
    save_train_sample(run_folder / f"replicate-{replicate}" / TRAIN_SAMPLE, sample)


def test_runs_with_a_sample_are_fitted(tmp_path):
    data = sample_data()
    entries = {"students": {}}
    entries["teachers"] = {"big": write_run(tmp_path, data, "teachers", "big", network="resnet20")}
    facts = teacher_facts("big", "resnet20")
    for name in ("with", "half"):
        entries["students"][name] = write_run(
            tmp_path, data, "students", name, teacher=facts, method=RESCALED, accuracies=(0.9, 0.95)
        )
    write_sample(tmp_path / "teachers" / "big", 0, 3)
    write_sample(tmp_path / "students" / "with", 0, 4)
    write_sample(tmp_path / "students" / "with", 1, 5)
    write_sample(tmp_path / "students" / "half", 0, 4)
    roots = {section: tmp_path / section for section in ("teachers", "students")}
    scores = score_runs(load_runs(entries, roots, data.fingerprint), data.test.labels, 2)
    teacher, fitted, half = scores
    assert len(teacher.values["temperature"]) == 1
    assert "kl" not in teacher.values
    assert len(fitted.values["temperature"]) == len(fitted.values["fitted_kl"]) == 2
    assert "temperature" not in half.values, "a score that one replicate lacks is left out for all"
    assert len(half.values["kl"]) == 2
    teacher_run = teacher.run
    expected = calibrate(
        "rescaled",
        fitted.run.test_logits(1),
        data.test.labels,
        teacher=teacher_run.test_logits(0),
        temperature=fitted_temperature("rescaled", fitted.run.train_sample(1)),
        teacher_temperature=fitted_temperature("rescaled", teacher_run.train_sample(0)),
    )
    assert {name: fitted.values[name][1] for name in expected} == expected
    table = calibration_table(by_run(results_frame([one.run for one in scores], scores)), "")
    rows = {row[0].text: [cell.text for cell in row] for row in table.rows}
    assert rows["with"][2] == "divided by deviation"
    assert rows["big"][2] == "raw"
    assert rows["half"][6:] == ["–"] * 4  # noqa: RUF001


def test_a_missing_teacher_leaves_agreement_out(tmp_path):
    data = sample_data()
    facts = teacher_facts("elsewhere", "resnet20")
    entry = write_run(
        tmp_path, data, "students", "kd", teacher=facts, method={**RESCALED, "name": "r"}
    )
    roots = {"students": tmp_path / "students"}
    runs = load_runs({"students": {"kd": entry}}, roots, data.fingerprint)
    (scores,) = score_runs(runs, data.test.labels)
    assert not scores.values.keys() & {"agreement", "kl"}
    assert scores.values["top1_accuracy"] == pytest.approx((0.95,))
    again = score_runs([replace(runs[0])], data.test.labels, 3)
    assert again[0].values == scores.values


def test_sample_logits_have_the_accuracy_asked_for():
    labels = np.arange(200, dtype=np.int32) % CLASSES
    logits = sample_logits(labels, CLASSES, 0.73, np.random.default_rng(0))
    assert (logits.argmax(axis=1) == labels).sum() == 146
