"""What programs read: metrics.json (`dvc metrics`), details.json, and tables of what the figures show."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.report.chart_data import accuracy_curve
from pipeline.report.confusion import shown_run
from pipeline.report.numbers import deviation, mean
from pipeline.report.runs import Run
from pipeline.report.scores import Scores
from pipeline.report.tables import Value, to_csv
from pipeline.report.vscores import VScores

CURVES = ("network", "epoch", "top1_accuracy")
BARS = ("network", "classes", "v_score", "deviation")
CONFUSION = ("actual", "predicted")


def write_metrics(scores: Sequence[Scores], path: Path) -> None:
    """Top-1 accuracy (fraction) and its standard deviation of every network, by section and name.

    So few that they lie in git, and that tables of experiments can be read.
    """
    content: dict[str, Any] = {}
    for one in scores:
        found = _summary("top1_accuracy", one.get("top1_accuracy"))
        content.setdefault(one.run.section, {})[one.run.name] = found
    _write_json(content, path)


def write_details(scores: Sequence[Scores], vscores: Sequence[VScores], path: Path) -> None:
    """Every number: section, name, score -> mean, and its standard deviation where there is one."""
    content: dict[str, Any] = {}
    for one in scores:
        entry = content.setdefault(one.run.section, {}).setdefault(one.run.name, {})
        for name, values in one.values.items():
            entry |= _summary(name, values)
    for v in vscores:
        entry = content[v.run.section][v.run.name].setdefault("v_score", {})
        features = "l2" if v.normalised else "raw"
        entry |= _summary(f"{v.group}_{v.split}_{features}", v.v_score)
    _write_json(content, path)


def _write_json(content: dict[str, Any], path: Path) -> None:
    text = json.dumps(content, indent=2, sort_keys=True, allow_nan=False)
    path.write_text(text + "\n", encoding="ascii", newline="\n")


def _summary(name: str, values: Sequence[float]) -> dict[str, float]:
    middle, width = mean(values), deviation(values)
    found = {} if middle is None else {name: round(middle, 6)}
    return found if width is None else {**found, f"{name}_deviation": round(width, 6)}


def write_plot_data(
    runs: Sequence[Run],
    vscores: Sequence[VScores],
    labels: NDArray[np.int32],
    class_names: Sequence[str],
    folder: Path,
) -> None:
    """Write curves.csv, vscores.csv and confusion.csv (of the network that `shown_run` chooses).

    Args:
        labels: i4 [N], of the test images.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / "curves.csv", CURVES, [row for run in runs for row in _curve(run)])
    _write(folder / "vscores.csv", BARS, [_bar(one) for one in vscores if not one.normalised])
    chosen = [run for run in (shown_run(runs),) if run is not None]
    rows = [row for run in chosen for row in _confusion(run, labels, class_names)]
    _write(folder / "confusion.csv", CONFUSION, rows)


def _curve(run: Run) -> list[dict[str, Value]]:
    epochs, accuracies = accuracy_curve(run)
    return [
        {
            "network": f"{run.section}/{run.name}",
            "epoch": epoch,
            "top1_accuracy": float(accuracies[:, index].mean()),
        }
        for index, epoch in enumerate(epochs)
    ]


def _bar(one: VScores) -> dict[str, Value]:
    return {
        "network": f"{one.run.section}/{one.run.name}",
        "classes": f"{one.group}, {one.split}",
        "v_score": mean(one.v_score),
        "deviation": deviation(one.v_score),
    }


def _confusion(
    run: Run, labels: NDArray[np.int32], class_names: Sequence[str]
) -> list[dict[str, Value]]:
    predicted = run.test_logits(0).argmax(axis=1)
    return [
        {"actual": class_names[actual], "predicted": class_names[guess]}
        for actual, guess in zip(labels, predicted, strict=True)
    ]


def _write(path: Path, columns: Sequence[str], rows: Sequence[dict[str, Value]]) -> None:
    """Write a table; one without rows has its columns all the same, which plots look for."""
    assert all(list(row) == list(columns) for row in rows)
    text = to_csv(rows) if rows else ",".join(columns) + "\n"
    path.write_text(text, encoding="utf-8", newline="\n")
