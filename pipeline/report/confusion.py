"""Which classes a network takes for which."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.evaluation.runs import Run


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
