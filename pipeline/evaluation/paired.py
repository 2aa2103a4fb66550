"""Two networks compared seed by seed where they share seeds, else by their means."""

import math
from dataclasses import dataclass

import pandas as pd
from scipy import stats

from pipeline.evaluation.frame import ORDER

LEVEL = 0.95
HARD_LABELS = "hard labels"


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


def alone_runs(networks: pd.DataFrame) -> dict[str, int]:
    """Architecture -> the run of the usual network of it that was trained on labels, without mixup.

    Args:
        networks: a row a network, as `by_run` gives them. A baseline goes before a teacher.
    """
    usual = (networks["variant"] == "") & networks["double_of"].isna()
    rows = networks[usual & (networks["method"] == HARD_LABELS) & (networks["share"] == 0)]
    rows = rows.loc[rows["section"].map(ORDER).sort_values(kind="stable").index]
    return {str(name): int(of.index[0]) for name, of in rows.groupby("network", sort=False)}
