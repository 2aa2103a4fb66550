"""Charts: how networks are arranged, the numbers shown, and that the same data give the same bytes."""

import json
import re

import numpy as np
import pandas
import pytest
from report_samples import (
    KD,
    evaluation_params,
    folder_bytes,
    sample_data,
    sample_features,
    sample_project,
    sample_run,
    teacher_facts,
)

from pipeline.evaluation.configurations import hard_label_runs
from pipeline.evaluation.remembered import remember_in
from pipeline.evaluation.runs import SECTIONS, describe, load_runs
from pipeline.evaluation.vscores import group_features, vscore_runs
from pipeline.report import render
from pipeline.report.chart_data import (
    accuracy_curve,
    accuracy_frame,
    confusion_frame,
    curve_frame,
    grouped,
    tsne_frame,
    vscore_bars,
)
from pipeline.report.charts import accuracy_charts, confusion_charts, curve_charts, pages
from pipeline.report.confusion import confusion_matrix, shown_run
from pipeline.report.feature_charts import tsne_charts, vscore_charts
from pipeline.report.render import Chart, draw, write_chart
from pipeline.report.tsne import file_names, tsne_panels

CLASSES = {"similar": (1, 2, 3), "different": (0, 4, 5)}
NAMES = {1: "one", 2: "two", 3: "three"}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    content = sample_project(root)
    entries = {section: content[section] for section in SECTIONS}
    roots = {section: root / section for section in SECTIONS}
    return load_runs(entries, roots, sample_data().fingerprint)


@pytest.fixture(scope="module")
def vscores(runs):
    return vscore_runs(runs, CLASSES, evaluation_params().vscore, sample_features, 2)


def rows_of(chart):
    return chart.specification["datasets"]["rows"]


def test_runs_are_grouped_by_what_they_can_be_compared_with(runs):
    groups = {title: [run.name for run in found] for title, found in grouped(runs).items()}
    assert groups == {
        "Teachers": ["big", "big-mixup"],
        "Baselines": ["small", "small-mixup"],
        "resnet20 → resnet8": [run.name for run in runs if run.section == "students"],
    }


def test_a_teacher_s_mixup_is_told_by_the_record_of_its_student():
    """A teacher whose store is pinned is not among the networks."""
    runs = [
        sample_run(
            "students", "resnet8", (0.9,), teacher=teacher_facts("t", "resnet20", alpha), method=KD
        )
        for alpha in (None, 0.2)
    ]
    assert list(grouped(runs)) == ["resnet20 → resnet8", "resnet20 (mixup alpha 0.2) → resnet8"]


def test_files_of_figures_have_plain_and_distinct_names():
    groups = ["similar", "cats/dogs", "cats dogs", "Cats dogs", "../x", "猫", "犬"]
    names = file_names(groups)
    assert names["similar"] == "tsne-similar"
    assert len(set(names.values())) == len(groups)
    assert all(re.fullmatch("tsne-[a-z0-9_]+", name) for name in names.values())


def test_runs_are_described_by_method_and_mixup(runs):
    assert [describe(run) for run in runs] == [
        "hard labels",
        "hard labels, mixup alpha 1",
        "hard labels",
        "hard labels, mixup alpha 1",
        "kd",
        "rescaled",
        "rescaled, 10 % mixed",
        "rescaled, all mixed",
    ]


def test_pages_hold_every_run_once_and_no_more_than_fits():
    groups = {"a": list(range(5)), "b": list(range(5, 7)), "c": list(range(7, 30))}
    split = pages(groups, 10, "rows")
    assert [run for page in split for runs in page.values() for run in runs] == list(range(30))
    assert all(sum(len(runs) + 1 for runs in page.values()) <= 11 for page in split)
    by_panel = pages(groups, 2, "groups")
    assert [list(page) for page in by_panel] == [["a", "b"], ["c"]]


def test_accuracies_in_a_chart_are_those_of_the_records(runs):
    (chart,) = accuracy_charts(accuracy_frame(runs))
    for run in runs:
        found = [row for row in rows_of(chart) if row["name"] == f"{run.section}/{run.name}"]
        assert [row["accuracy"] / 100 for row in found] == pytest.approx(run.top1_accuracies)
        mean = 100 * np.mean(run.top1_accuracies)
        assert [row["mean"] for row in found] == pytest.approx([mean] * run.count)
        width = 100 * np.std(run.top1_accuracies, ddof=1) if run.count > 1 else None
        expected = None if width is None else pytest.approx(mean - width)
        assert all(row["low"] == expected for row in found)


def test_a_hundred_networks_fill_pages(runs):
    frame = accuracy_frame(runs)
    many = [
        frame.assign(name=frame["name"] + f"-{i}", network=frame["network"] + f" ({i})")
        for i in range(13)
    ]
    charts = accuracy_charts(pandas.concat(many))
    assert [chart.name for chart in charts] == [f"accuracy-{page}" for page in (1, 2, 3, 4)]
    assert sum(len({row["name"] for row in rows_of(chart)}) for chart in charts) == 104


def test_curves_hold_the_evaluated_epochs(runs):
    epochs, accuracies = accuracy_curve(runs[2])
    assert epochs == [2, 4]
    assert accuracies.shape == (2, 2)
    assert accuracies[:, -1] == pytest.approx(runs[2].top1_accuracies)
    frame = curve_frame(runs)
    last = frame[(frame["name"] == "baselines/small") & (frame["epoch"] == 4)].iloc[0]
    values = [100 * value for value in runs[2].top1_accuracies]
    found = (last["mean"], last["low"], last["high"])
    assert found == pytest.approx((np.mean(values), min(values), max(values)))


def test_imported_weights_have_no_curve(runs, monkeypatch):
    monkeypatch.setattr(type(runs[0]), "curves", lambda run, replicate: {})
    assert curve_charts(curve_frame(runs)) == []


def test_the_same_runs_give_the_same_files(runs, vscores, tmp_path):
    for name in ("first", "second", "third"):
        charts = accuracy_charts(accuracy_frame(runs)) + curve_charts(curve_frame(runs))
        charts += vscore_charts(vscore_bars(vscores, normalised=False), "vscores")
        # What was drawn before in the same process must not show.
        for chart in charts[:: -1 if name == "second" else 1]:
            write_chart(chart, tmp_path / name / "figures")
    first = folder_bytes(tmp_path / "first")
    names = ("accuracy", "curves", "vscores")
    kinds = ("figures/{}.png", "vector/{}.svg", "vector/{}.pdf")
    assert sorted(first) == sorted(kind.format(name) for name in names for kind in kinds)
    assert folder_bytes(tmp_path / "second") == first
    assert folder_bytes(tmp_path / "third") == first
    for name, content in first.items():
        assert not any(
            word in content for word in (b"CreationDate", b"ModDate", b"dc:date", b"/ID")
        )
        assert not name.endswith("png") or b"tEXt" not in content


def test_a_chart_is_drawn_again_where_it_has_changed_or_what_is_kept_is_damaged(
    runs, tmp_path, monkeypatch
):
    (chart,) = accuracy_charts(accuracy_frame(runs))
    other = Chart(chart.name, chart.template, chart.rows.iloc[1:])
    for number, drawing in enumerate((chart, other)):
        write_chart(drawing, tmp_path / f"expected-{number}" / "figures")
    expected = [folder_bytes(tmp_path / f"expected-{number}") for number in (0, 1)]
    assert expected[0] != expected[1]
    drawn = []
    monkeypatch.setattr(render, "draw", lambda each: drawn.append(each) or draw(each))
    with remember_in(tmp_path / "kept"):
        for number, times in ((0, 1), (0, 1), (1, 2), (1, 2), (0, 3)):
            write_chart((chart, other)[number], tmp_path / "out" / "figures")
            assert folder_bytes(tmp_path / "out") == expected[number]
            assert len(drawn) == times
        (kept,) = (tmp_path / "kept").iterdir()
        kept.write_bytes(kept.read_bytes()[:-1] + b"?")
        write_chart(chart, tmp_path / "out" / "figures")
        assert folder_bytes(tmp_path / "out") == expected[0]
        assert len(drawn) == 4


def test_confusions_are_counted_by_true_and_predicted_class():
    labels = np.array([0, 0, 1, 2, 2, 2], np.int32)
    predicted = np.array([0, 1, 1, 0, 2, 2])
    assert confusion_matrix(labels, predicted, 3).tolist() == [[1, 1, 0], [0, 1, 0], [1, 0, 2]]


def test_the_first_student_s_confusions_are_shown(runs, tmp_path):
    chosen = shown_run(runs)
    assert chosen is not None
    assert chosen.name == "big-small-kd"
    assert shown_run(runs[:3]) is runs[2]
    assert shown_run([]) is None
    data = sample_data()
    for names in (data.class_names, [f"class {i}" for i in range(30)]):
        frame = confusion_frame(chosen, data.test.labels, names)
        assert frame["images"].sum() == len(data.test.labels)
        assert frame.groupby("actual")["fraction"].sum().tolist() == pytest.approx([1] * 6)
        (chart,) = confusion_charts(frame.assign(network="students/big-small-kd"), names)
        printed = [layer["mark"]["type"] for layer in chart.specification["spec"]["layer"]]
        assert printed == (["rect", "text"] if len(names) < 24 else ["rect"])
        write_chart(chart, tmp_path / "figures")
        assert (tmp_path / "figures" / "confusion.png").stat().st_size > 0


def test_bars_gather_networks_of_one_kind(runs, vscores):
    frame = vscore_bars(vscores, normalised=False)
    shown = frame[frame["panel"] == "similar classes, train set"].set_index(["network", "mixup"])
    kinds = [("resnet20", "no mixup"), ("resnet8", "no mixup")]
    kinds += [(network, "mixup, alpha 1") for network, _ in kinds]
    assert list(shown.index) == kinds
    (alone,) = hard_label_runs(runs)["resnet8", None]
    (own,) = (
        score.v_score
        for score in vscores
        if (score.run, score.group, score.split, score.normalised)
        == (alone, "similar", "train", False)
    )
    assert len(own) == 2
    bar = shown.loc[("resnet8", "no mixup")]
    assert bar["v_score"] == pytest.approx(np.mean(own))
    assert bar["high"] - bar["v_score"] == pytest.approx(np.std(own, ddof=1), abs=1e-12)


def test_v_scores_do_not_depend_on_the_number_of_workers(runs, vscores):
    again = vscore_runs(runs[:3], CLASSES, evaluation_params().vscore, sample_features, 1)
    found = [one for one in vscores if one.run in runs[:3]]
    assert again == found


def test_tsne_shows_the_first_images_of_each_class(runs, tmp_path):
    params = evaluation_params().tsne
    assert params is not None
    panels = tsne_panels(runs, CLASSES["similar"], params, sample_features, 2)
    assert [(p.network, p.alpha, p.split) for p in panels] == [
        (network, alpha, split)
        for network in ("resnet20", "resnet8")
        for alpha in (None, 1.0)
        for split in ("train", "test")
    ]
    _, labels = group_features(sample_features(runs[0], 0), "train", CLASSES["similar"])
    assert (np.bincount(labels)[1:4] > 12).all(), "the sample must be a part"
    for panel in panels:
        assert np.bincount(panel.labels).tolist() == [0, 12, 12, 12]
        assert panel.points.shape == (36, 2)
    for folder in ("first", "second"):
        found = tsne_panels(runs, CLASSES["similar"], params, sample_features, 1)
        (chart,) = tsne_charts(tsne_frame(found, NAMES), list(NAMES.values()), "tsne-similar")
        write_chart(chart, tmp_path / folder / "figures")
    assert folder_bytes(tmp_path / "first") == folder_bytes(tmp_path / "second")


def test_a_network_without_mixup_partner_leaves_its_panel_empty(runs, tmp_path):
    params = evaluation_params().tsne
    assert params is not None
    panels = tsne_panels(runs[:3], CLASSES["similar"], params, sample_features, 2)
    (chart,) = tsne_charts(tsne_frame(panels, NAMES), list(NAMES.values()), "tsne-similar")
    empty = {(row["network"], row["setting"]) for row in rows_of(chart) if row["note"]}
    settings = {f"{split} set, mixup, alpha 1" for split in ("train", "test")}
    assert empty == {("resnet8", setting) for setting in settings}
    json.dumps(chart.specification, allow_nan=False)
    write_chart(chart, tmp_path / "figures")
    assert (tmp_path / "vector/tsne-similar.svg").read_text(encoding="utf-8").count(
        ">not run<"
    ) == 2
