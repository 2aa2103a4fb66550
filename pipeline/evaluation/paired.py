"""Two networks compared seed by seed where they share seeds, else by their means."""

import math
from dataclasses import dataclass

import pandas as pd
from scipy import stats

from pipeline.evaluation.frame import ORDER

LEVEL = 0.95
HARD_LABELS = "hard labels"
KIND = ["network", "recipe"]


@dataclass(frozen=True)
class Difference:
    """How far a network lies above another, in percentage points of top-1 accuracy.

    Attributes:
        values: of each shared seed, in the order of seeds; empty where no seed is shared.
        low, high: the 95 % t interval of the mean difference; None where no deviation is known.
        runs: how many of either went into it.
    """

    values: tuple[float, ...]
    mean: float
    low: float | None
    high: float | None
    runs: tuple[int, int]

    @property
    def is_shown(self) -> bool | None:
        """Whether the interval excludes zero; None where there is none."""
        if self.low is None or self.high is None:
            return None
        return self.low > 0 or self.high < 0


def accuracies(frame: pd.DataFrame, run: int) -> "pd.Series[float]":
    """Top-1 accuracies (percent) of a run of the frame of all results, by seed."""
    rows = frame.loc[[run]].set_index("seed")
    return 100 * rows["top1_accuracy"].sort_index()


def difference(ours: "pd.Series[float]", theirs: "pd.Series[float]") -> Difference:
    """Ours minus theirs (percent, by seed): paired over the seeds that both have, if they share any.

    Else the interval is Welch's, which lets the two deviations differ.

    >>> difference(pd.Series([3.0, 4.0], [0, 1]), pd.Series([1.0, 2.0], [0, 1])).values
    (2.0, 2.0)
    >>> difference(pd.Series([3.0], [0]), pd.Series([1.0], [7])).is_shown is None
    True
    """
    paired = (ours - theirs).dropna()
    if len(paired):
        spread, freedom = paired.std() / math.sqrt(len(paired)), len(paired) - 1.0
        mean, runs = float(paired.mean()), (len(paired), len(paired))
    else:
        parts = [values.var() / len(values) for values in (ours, theirs)]
        spread, freedom = math.sqrt(sum(parts)), _welch(parts, (len(ours), len(theirs)))
        mean, runs = float(ours.mean() - theirs.mean()), (len(ours), len(theirs))
    if min(runs) < 2:
        return Difference(tuple(paired), mean, None, None, runs)
    half = float(stats.t.ppf((1 + LEVEL) / 2, freedom) * spread) if spread else 0.0
    return Difference(tuple(paired), mean, mean - half, mean + half, runs)


def _welch(parts: list[float], counts: tuple[int, int]) -> float:
    """Degrees of freedom of the difference of two means, of which `parts` are the squared errors."""
    below = sum(part**2 / max(count - 1, 1) for part, count in zip(parts, counts, strict=True))
    return sum(parts) ** 2 / below if below else math.nan


def above_alone(frame: pd.DataFrame, networks: pd.DataFrame) -> dict[int, Difference]:
    """Run -> how far it lies above its architecture alone, where there is such a network (`alone_runs`).

    Args:
        frame: of all results; networks: a row a network of it (`by_run`).
    """
    return {
        run: difference(accuracies(frame, run), accuracies(frame, alone))
        for run, alone in alone_runs(networks).items()
    }


def alone_runs(networks: pd.DataFrame) -> dict[int, int]:
    """Run -> that of its architecture and recipe that was trained on labels, without mixup.

    Those of which there is none are left out, and it itself.

    Args:
        networks: a row a network, as `by_run` gives them. A baseline goes before a teacher.
    """
    plain = (networks["method"] == HARD_LABELS) & (networks["share"] == 0)
    rows = networks[plain & networks["double_of"].isna()]
    rows = rows.loc[rows["section"].map(ORDER).sort_values(kind="stable").index]
    alone: dict[tuple[str, str], int] = {}
    for run, network, recipe in rows[KIND].itertuples():
        alone.setdefault((network, recipe), run)
    return {
        run: alone[network, recipe]
        for run, network, recipe in networks[KIND].itertuples()
        if alone.get((network, recipe), run) != run
    }
