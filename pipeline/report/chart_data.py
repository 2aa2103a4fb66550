"""What charts show, as small tables: everything that they take of networks passes through here."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from math import inf
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pandas import DataFrame

from pipeline.evaluation.configurations import Configuration, hard_label_runs, in_words, told_apart
from pipeline.evaluation.numbers import deviation, mean, percent
from pipeline.evaluation.runs import Run
from pipeline.evaluation.vscores import SPLITS, VScores
from pipeline.report.confusion import confusion_matrix
from pipeline.report.tables import distinct
from pipeline.report.theme import HARD_LABELS
from pipeline.report.tsne import Panel

Alpha = float | None
ACCURACY = (
    *("group", "name", "network", "loss", "share", "replicate", "accuracy"),
    *("mean", "low", "high", "printed"),
)
CURVES = (
    *("group", "name", "network", "architecture", "loss", "share", "alpha", "paleness"),
    *("epoch", "mean", "low", "high"),
)


def grouped(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """Runs that belong beside each other: teachers, baselines, students of one kind of teacher."""
    groups: dict[str, list[Run]] = {}
    titles = {"teachers": "Teachers", "baselines": "Baselines"}
    for run in runs:
        if (teacher := run.record.teacher) is not None:
            alpha = teacher.mixup_alpha
            mixup = "" if alpha is None else f" (mixup alpha {alpha:g})"
            title = f"{teacher.network}{mixup} → {run.network}"
        else:
            title = titles[run.section]
        groups.setdefault(title, []).append(run)
    return groups


class Labelled(NamedTuple):
    """A run in a chart: what it is called there, and how pale its line is (0 to 0.7; 1 would be white)."""

    run: Run
    label: str
    paleness: float


def labelled(runs: Sequence[Run]) -> dict[str, list[Labelled]]:
    """The runs of each group, labels with their names where others there are called alike."""
    keys = {id(run): key for run, key, _ in told_apart(runs)}
    by_group = {}
    for group, members in grouped(runs).items():
        own = [_label(run, in_words(run, keys[id(run)].variant)) for run in members]
        longer = [f"{label} ({run.name})" for run, label in zip(members, own, strict=True)]
        pale = _paleness([keys[id(run)] for run in members])
        by_group[group] = list(map(Labelled, members, distinct(own, longer), pale))
    return by_group


def _paleness(keys: Sequence[Configuration]) -> list[float]:
    """Of each network of a group: the fewer views the paler, and paler of an unusual recipe (`variant`)."""
    levels = [(key.variant, -inf if key.views is None else -key.views) for key in keys]
    known = sorted(set(levels))
    return [0.7 * known.index(level) / max(len(known) - 1, 1) for level in levels]


def _label(run: Run, words: str) -> str:
    if run.section == "students":
        return words
    _, comma, rest = words.partition(", ")
    return run.network + comma + rest


def accuracy_frame(runs: Sequence[Run]) -> DataFrame:
    """Top-1 accuracies in percent, a row a replicate: `accuracy`, and of all replicates the `mean`.

    `low` and `high` are a sample deviation away from it (NaN of one replicate), `printed` says both;
    `network` is unique in its `group`, `name` everywhere. `loss` may be HARD_LABELS.
    """
    rows = []
    for group, members in labelled(runs).items():
        for run, label, _ in members:
            facts = (group, f"{run.section}/{run.name}", label, run.loss or HARD_LABELS, run.share)
            values = [100 * value for value in run.top1_accuracies]
            summary = (*_middle_and_ends(values), percent(run.top1_accuracies))
            rows += [(*facts, i, value, *summary) for i, value in enumerate(values)]
    return DataFrame(rows, columns=ACCURACY)


def _middle_and_ends(values: Sequence[float]) -> tuple[float | None, float | None, float | None]:
    """Mean, and what lies a sample deviation below and above it; None where there is none."""
    middle, width = mean(values), deviation(values)
    if middle is None or width is None:
        return middle, None, None
    return middle, middle - width, middle + width


def accuracy_curve(run: Run) -> tuple[list[int], NDArray[np.float64]]:
    """Evaluated epochs, and accuracies (fractions) f8 [replicates, evaluated epochs]."""
    curves = [run.curves(replicate) for replicate in range(run.count)]
    if not curves or not curves[0]:
        return [], np.empty((run.count, 0))
    accuracies = np.asarray([curve["test_top1_accuracy"] for curve in curves])
    seen = ~np.isnan(accuracies[0])
    return np.asarray(curves[0]["epoch"])[seen].astype(int).tolist(), accuracies[:, seen]


def curve_frame(runs: Sequence[Run]) -> DataFrame:
    """Top-1 accuracies in percent over training, a row a network and evaluated epoch.

    `mean`, `low` and `high` are of the replicates; `share` and `alpha` say what of the images is mixed
    and how (NaN: not said). The rest is as in `accuracy_frame`.
    """
    curves = {id(run): accuracy_curve(run) for run in runs}
    rows = []
    for group, members in labelled([run for run in runs if curves[id(run)][0]]).items():
        for run, label, paleness in members:
            names = (group, f"{run.section}/{run.name}", label, run.network)
            style = (run.loss or HARD_LABELS, run.share, run.mixup_alpha, paleness)
            epochs, accuracies = curves[id(run)]
            summaries = (100 * f(accuracies, axis=0) for f in (np.mean, np.min, np.max))
            rows += [(*names, *style, *row) for row in zip(epochs, *summaries, strict=True)]
    return DataFrame(rows, columns=CURVES)


def confusion_frame(run: Run, labels: NDArray[np.int32], class_names: Sequence[str]) -> DataFrame:
    """How many images of the class `actual` the first replicate takes for `predicted`: where any.

    `images` is their count, `fraction` their part of the actual class.
    """
    counts = confusion_matrix(labels, run.test_logits(0).argmax(axis=1), len(class_names))
    fractions = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    rows = [
        (class_names[i], class_names[j], int(counts[i, j]), fractions[i, j])
        for i, j in np.argwhere(counts)
    ]
    return DataFrame(rows, columns=("actual", "predicted", "images", "fraction"))


def mixup_text(alpha: Alpha) -> str:
    """`no mixup` or `mixup` with its alpha."""
    return "no mixup" if alpha is None else f"mixup, alpha {alpha:g}"


def _sorted_alphas(alphas: Iterable[Alpha]) -> list[Alpha]:
    return sorted(set(alphas), key=lambda alpha: (alpha is not None, alpha or 0))


def vscore_bars(scores: Sequence[VScores], *, normalised: bool) -> DataFrame:
    """V-scores of hard-label networks of a kind, a row a bar: architecture, mixup, classes and split.

    `v_score` is the mean over all networks and replicates of that kind, `low` and `high` a sample
    deviation away from it (NaN of one); `alpha` is that of `mixup` (NaN: none).
    """
    chosen = [score for score in scores if score.normalised == normalised]
    kinds = hard_label_runs(
        {(score.run.section, score.run.name): score.run for score in chosen}.values()
    )
    by_key = {
        (score.run.section, score.run.name, score.group, score.split): score.v_score
        for score in chosen
    }
    networks = list(dict.fromkeys(network for network, _ in kinds))
    rows = []
    for group, split in product(dict.fromkeys(score.group for score in chosen), SPLITS):
        for alpha, network in product(_sorted_alphas(alpha for _, alpha in kinds), networks):
            values = [
                value
                for run in kinds.get((network, alpha), ())
                for value in by_key[run.section, run.name, group, split]
            ]
            if values:
                panel = f"{group} classes, {split} set"
                row = (panel, network, mixup_text(alpha), alpha, *_middle_and_ends(values))
                rows.append(row)
    columns = ("panel", "network", "mixup", "alpha", "v_score", "low", "high")
    return DataFrame(rows, columns=columns).astype({"alpha": float, "low": float, "high": float})


def tsne_frame(panels: Sequence[Panel], names: Mapping[int, str]) -> DataFrame:
    """t-SNE embeddings, a row an image: the panel's `network` and `setting`, `class`, `x` and `y`.

    Each panel's coordinates are scaled to [0, 1]; a panel that lacks has one row, with the `note`
    `not run` and no coordinates. Rows are ordered by network, then setting.
    """
    by_key = {(panel.network, panel.split, panel.alpha): panel for panel in panels}
    alphas = _sorted_alphas(panel.alpha for panel in panels)
    rows = []
    for network in dict.fromkeys(panel.network for panel in panels):
        for split in SPLITS:
            for alpha in alphas:
                facts = (network, f"{split} set, {mixup_text(alpha)}")
                rows += _points(facts, by_key.get((network, split, alpha)), names)
    return DataFrame(rows, columns=("network", "setting", "class", "x", "y", "note"))


def _points(
    facts: tuple[str, str], panel: Panel | None, names: Mapping[int, str]
) -> list[tuple[object, ...]]:
    if panel is None:
        return [(*facts, None, None, None, "not run")]
    low, high = panel.points.min(axis=0), panel.points.max(axis=0)
    points = ((panel.points - low) / np.maximum(high - low, 1e-12)).astype(np.float64).round(4)
    return [
        (*facts, names[int(label)], x, y, None)
        for label, (x, y) in zip(panel.labels, points.tolist(), strict=True)
    ]
