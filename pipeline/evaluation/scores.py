"""How well every replicate of a run did on the test images: accuracy, agreement, calibration.

All of it is computed from the stored logits of the last epoch; nothing is selected by it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.evaluation.calibration import calibrate, fitted_temperature
from pipeline.evaluation.runs import Run
from pipeline.evaluation.workers import in_threads
from pipeline.results.metrics import agreement, top1_accuracy, top_k_accuracy
from pipeline.results.record import ResultsError

NAMES = (
    "top1_accuracy",
    "top5_accuracy",
    "agreement",
    "nll",
    "ece",
    "kl",
    "temperature",
    "fitted_nll",
    "fitted_ece",
    "fitted_kl",
)


@dataclass(frozen=True)
class Scores:
    """One run's scores: name (of NAMES) -> one value a replicate; none where it does not apply."""

    run: Run
    values: dict[str, tuple[float, ...]]


def score_runs(runs: Sequence[Run], labels: NDArray[np.int32], workers: int = 1) -> list[Scores]:
    """The scores of every run, in order.

    A score that one replicate lacks (a temperature that cannot be fitted) is left out for all, and
    those that compare with a teacher where its logits are not at hand.

    Args:
        labels: i4 [N], of the test images in data-set order.
        workers: computed at the same time; changes no result.

    Raises ResultsError where logits are of another shape, or are not those that the record speaks of.
    """
    teachers = {run.name: run for run in runs if run.section == "teachers" and run.kept is None}
    losses = {(run.teacher, run.loss): teachers.get(run.teacher or "") for run in runs}
    fitted = in_threads(
        lambda item: None if item[1] is None else _temperature(item[1], 0, item[0][1]),
        losses.items(),
        workers,
    )
    temperatures = dict(zip(losses, fitted, strict=True))

    def score(run: Run) -> Scores:
        if run.kept is not None:
            return Scores(run, run.kept.scores)
        teacher = teachers.get(run.teacher or "")
        teacher_temperature = temperatures[run.teacher, run.loss]
        table = pd.DataFrame(
            [
                _replicate(run, replicate, labels, teacher, teacher_temperature)
                for replicate in range(run.count)
            ]
        ).dropna(axis="columns")
        return Scores(run, {name: tuple(table[name].tolist()) for name in NAMES if name in table})

    return in_threads(score, runs, workers)


def _replicate(
    run: Run,
    replicate: int,
    labels: NDArray[np.int32],
    teacher: Run | None,
    teacher_temperature: float | None,
) -> dict[str, float]:
    """Top-1, top-5, agreement and ECE are fractions, NLL and KL are in nats."""
    logits = _logits(run, replicate, labels)
    teacher_logits = None if teacher is None else _logits(teacher, 0, labels)
    scores = {
        "top1_accuracy": top1_accuracy(logits, labels),
        "top5_accuracy": top_k_accuracy(logits, labels, 5),
    }
    if teacher_logits is not None:
        scores["agreement"] = agreement(logits, teacher_logits)
    return scores | calibrate(
        run.loss,
        logits,
        labels,
        teacher=teacher_logits,
        temperature=_temperature(run, replicate, run.loss),
        teacher_temperature=teacher_temperature,
    )


def _temperature(run: Run, replicate: int, loss: str | None) -> float | None:
    return fitted_temperature(loss, run.train_sample(replicate))


def _logits(run: Run, replicate: int, labels: NDArray[np.int32]) -> NDArray[np.float32]:
    logits = run.test_logits(replicate)
    classes = run.record.dataset.classes
    if logits.shape != (len(labels), classes):
        raise ResultsError(
            f"{run.section}.{run.name}: replicate {replicate} has logits of shape {logits.shape}, "
            f"expected {(len(labels), classes)}; run its stage again"
        )
    measured, recorded = top1_accuracy(logits, labels), run.top1_accuracies[replicate]
    if abs(measured - recorded) > 0.5 / len(labels):
        raise ResultsError(
            f"{run.section}.{run.name}: the logits of replicate {replicate} give an accuracy of "
            f"{measured:.4f}, its record says {recorded:.4f}; run its stage again or pull it whole"
        )
    return logits
