"""How far each student lies above its baseline: the picture of the first screen, drawn by the page."""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from pipeline.evaluation.frame import rows_of
from pipeline.evaluation.numbers import signed
from pipeline.evaluation.paired import Difference, above_alone
from pipeline.report.page_tables import interval_text
from pipeline.report.tables import distinct
from pipeline.report.theme import method_colour

ROWS = 12


@dataclass(frozen=True)
class Gain:
    """A student: `mean`, `low` and `high` are places on the track, in percent of its length.

    `low` and `high` are cut at its ends, and None where no deviation is known.
    """

    label: str
    colour: str
    value: str
    interval: str
    mean: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Gains:
    """The students that gained most; `zero`: the place of no difference on the track, in percent."""

    rows: tuple[Gain, ...]
    zero: float
    caption: str


def gains(frame: pd.DataFrame, networks: pd.DataFrame) -> Gains | None:
    """Those of the students that have a baseline; None where there are fewer than two.

    Args:
        frame: of all results; networks: a row a network of it (`by_run`).
    """
    above = above_alone(frame, networks)
    students = networks[networks["section"] == "students"]
    labels = students["teacher"] + " → " + students["network"] + ", " + students["trained_with"]
    longer = labels + " (" + students["name"] + ")"
    students = students.assign(label=distinct(labels.tolist(), longer.tolist()))
    found = [(above[row.Index], row) for row in rows_of(students) if row.Index in above]
    found.sort(key=lambda pair: -pair[0].mean)
    if len(found) < 2:
        return None
    shown = found[:ROWS]
    place = _Scale([value for value, _ in shown])
    rows = tuple(
        Gain(
            label=row.label,
            colour=method_colour(row.loss),
            value=signed(value.mean),
            interval=interval_text(value),
            mean=place(value.mean),
            low=None if value.low is None else place(value.low),
            high=None if value.high is None else place(value.high),
        )
        for value, row in shown
    )
    which = f"the {len(shown)} of {len(found)} that gain most" if len(found) > len(shown) else "all"
    caption = (
        f"Top-1 of students minus that of their baseline, percentage points, {which}: mean "
        "(dot) and 95 % interval (line, cut at the edge; none with one run). One that crosses zero shows no "
        "difference; that of two runs may be short by chance."
    )
    return Gains(rows, place(0.0), caption)


class _Scale:
    """Percentage points -> a place on the track, in percent: all means, zero, a margin for intervals."""

    def __init__(self, values: Sequence[Difference]) -> None:
        means = [0.0, *(value.mean for value in values)]
        margin = 0.35 * (max(means) - min(means)) or 1.0
        self._low, self._high = min(means) - margin, max(means) + margin

    def __call__(self, value: float) -> float:
        place = 100 * (value - self._low) / (self._high - self._low)
        return round(min(100.0, max(0.0, place)), 2)
