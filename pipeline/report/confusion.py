"""Which classes a network takes for which."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from numpy.typing import NDArray

from pipeline.evaluation.runs import Run
from pipeline.report.style import FAINT, INK, figure, save_figure

MANY_CLASSES = 24  # more than these have no room for their names and counts
WHITE_TO_BLUE = LinearSegmentedColormap.from_list(
    "white_to_blue", ["#ffffff", "#56b4e9", "#00395a"]
)


def shown_run(runs: Sequence[Run]) -> Run | None:
    """The network whose confusions are shown: the first student, else the last network.

    None where there are no logits at hand.
    """
    runs = [run for run in runs if run.kept is None]
    students = [run for run in runs if run.section == "students"]
    if students:
        return students[0]
    return runs[-1] if runs else None


def confusion_matrix(
    labels: NDArray[np.int32], predicted: NDArray[np.int64], classes: int
) -> NDArray[np.int64]:
    """Counts i8 [classes, classes] of images: rows are true classes, columns predicted ones."""
    flat = np.bincount(classes * labels.astype(np.int64) + predicted, minlength=classes**2)
    return flat.reshape(classes, classes)


def confusion_figure(
    run: Run, labels: NDArray[np.int32], class_names: Sequence[str], folder: Path
) -> str:
    """Confusion matrix of a run's first replicate on the test images.

    Shades are fractions of the true class; counts are printed where there is room.
    """
    count = len(class_names)
    counts = confusion_matrix(labels, run.test_logits(0).argmax(axis=1), count)
    fractions = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = 2.2 + 0.42 * count if count <= MANY_CLASSES else 8.0
    with figure(side, side) as drawing:
        axes = drawing.add_subplot()
        axes.imshow(fractions, cmap=WHITE_TO_BLUE, vmin=0, vmax=1, interpolation="nearest")
        axes.set_title(f"{run.section}/{run.name}")
        axes.set_xlabel("predicted class")
        axes.set_ylabel("true class")
        for spine in axes.spines.values():
            spine.set_visible(True)
            spine.set_color(FAINT)
        if count <= MANY_CLASSES:
            _name_classes(axes, class_names)
            _print_counts(axes, counts, fractions)
        return save_figure(drawing, folder, "confusion")


def _name_classes(axes: Axes, class_names: Sequence[str]) -> None:
    long = max(map(len, class_names)) > 3
    axes.set_xticks(range(len(class_names)), class_names, rotation=90 if long else 0)
    axes.set_yticks(range(len(class_names)), class_names)
    axes.tick_params(length=0)


def _print_counts(axes: Axes, counts: NDArray[np.int64], fractions: NDArray[np.float64]) -> None:
    for (row, column), number in np.ndenumerate(counts):
        if number:
            colour = "white" if fractions[row, column] > 0.5 else INK
            axes.text(column, row, str(number), ha="center", va="center", color=colour, fontsize=8)
