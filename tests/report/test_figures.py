"""Pictures: how runs are arranged in them, and that the same data give the same bytes."""

import matplotlib
import numpy as np
import pytest
from report_samples import (
    evaluation_params,
    folder_bytes,
    sample_data,
    sample_features,
    sample_project,
)

from pipeline.evaluation.configurations import hard_label_runs
from pipeline.evaluation.runs import SECTIONS, describe, load_runs
from pipeline.evaluation.vscores import group_features, vscore_runs
from pipeline.report.cluster_figures import (
    tsne_figure,
    tsne_panels,
    vscore_figures,
    vscore_samples,
)
from pipeline.report.confusion import confusion_figure, confusion_matrix, shown_run
from pipeline.report.figures import (
    accuracy_curve,
    accuracy_figures,
    curve_figures,
    grouped,
    pages,
)
from pipeline.report.style import figure, save_figure

CLASSES = {"similar": (1, 2, 3), "different": (0, 4, 5)}


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


def test_runs_are_grouped_by_what_they_can_be_compared_with(runs):
    groups = {title: [run.name for run in found] for title, found in grouped(runs).items()}
    assert groups == {
        "Teachers": ["big", "big-mixup"],
        "Networks alone": ["small", "small-mixup"],
        "resnet20 → resnet8": [run.name for run in runs if run.section == "students"],
    }


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


def test_curves_hold_the_evaluated_epochs(runs):
    epochs, accuracies = accuracy_curve(runs[2])
    assert epochs == [2, 4]
    assert accuracies.shape == (2, 2)
    assert accuracies[:, -1] == pytest.approx(runs[2].top1_accuracies)


def test_imported_weights_have_no_curve(runs, tmp_path, monkeypatch):
    monkeypatch.setattr(type(runs[0]), "curves", lambda run, replicate: {})
    assert curve_figures(runs, tmp_path) == []


def test_the_same_runs_give_the_same_pictures(runs, vscores, tmp_path):
    for name in ("first", "second"):
        # A user's own settings of matplotlib must not show.
        with matplotlib.rc_context({"font.size": 20, "axes.facecolor": "red"}):
            folder = tmp_path / name / "figures"
            accuracy_figures(runs, folder)
            curve_figures(runs, folder)
            vscore_figures(vscores, folder, "vscores", normalised=False)
    first = folder_bytes(tmp_path / "first")
    names = ("accuracy", "curves", "vscores")
    files = [f for name in names for f in (f"figures/{name}.png", f"vector/{name}.svg")]
    assert sorted(first) == sorted(files)
    assert folder_bytes(tmp_path / "second") == first


def test_pictures_carry_no_date_and_no_version(tmp_path):
    with figure(2, 1) as drawing:
        drawing.add_subplot().plot([0, 1])
        save_figure(drawing, tmp_path / "figures", "line")
    files = folder_bytes(tmp_path)
    assert b"date>" not in files["vector/line.svg"]
    assert b"Matplotlib" not in files["figures/line.png"]
    assert b"tEXt" not in files["figures/line.png"]


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
        confusion_figure(chosen, data.test.labels, names, tmp_path / "figures")
        assert (tmp_path / "figures" / "confusion.png").stat().st_size > 0


def test_bars_gather_networks_of_one_kind(runs, vscores):
    samples = vscore_samples(vscores, "similar", "train", normalised=False)
    assert list(samples) == [
        ("resnet20", None),
        ("resnet20", 1.0),
        ("resnet8", None),
        ("resnet8", 1.0),
    ]
    assert len(samples["resnet8", None]) == 2
    assert list(hard_label_runs(runs)) == list(samples)


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
    names = {1: "one", 2: "two", 3: "three"}
    for folder in ("first", "second"):
        found = tsne_panels(runs, CLASSES["similar"], params, sample_features, 1)
        assert (
            tsne_figure(found, names, tmp_path / folder / "figures", "tsne-similar")
            == "tsne-similar"
        )
    assert folder_bytes(tmp_path / "first") == folder_bytes(tmp_path / "second")


def test_a_network_without_mixup_partner_leaves_its_panel_empty(runs, tmp_path):
    params = evaluation_params().tsne
    assert params is not None
    panels = tsne_panels(runs[:3], CLASSES["similar"], params, sample_features, 2)
    tsne_figure(panels, {1: "one", 2: "two", 3: "three"}, tmp_path, "tsne-similar")
    assert (tmp_path / "tsne-similar.png").stat().st_size > 0
