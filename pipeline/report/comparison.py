"""Methods compared on the pairs that they share: mean difference with a bootstrap interval."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.report.configurations import Configuration, Options, Results
from pipeline.report.numbers import MISSING, fixed, mean, signed
from pipeline.report.runs import share_text
from pipeline.report.tables import Cell, Table, Value

DRAWS = 10_000
LEVEL = 0.95
SEED = 0

Kind = tuple[str | None, Options, float, float | None]  # loss, options, share, alpha


@dataclass(frozen=True)
class Interval:
    """Mean of paired differences, and the bootstrap interval of it; None with fewer than two pairs."""

    differences: tuple[float, ...]
    low: float | None
    high: float | None

    @property
    def mean(self) -> float:
        """Mean difference."""
        middle = mean(self.differences)
        assert middle is not None
        return middle

    @property
    def excludes_zero(self) -> bool:
        """Whether the interval lies on one side of zero."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)


def bootstrap(differences: Sequence[float]) -> Interval:
    """Percentile interval (95 %) of the mean, from 10,000 resamples of the pairs.

    The generator is seeded: the same differences give the same interval. With few pairs such an
    interval is too narrow; the number of pairs is always printed beside it.

    Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13.
    """
    values = np.asarray(differences, np.float64)
    if len(values) < 2:
        return Interval(tuple(differences), None, None)
    generator = np.random.Generator(np.random.Philox(SEED))
    rows = generator.integers(0, len(values), (DRAWS, len(values)))
    low, high = np.quantile(values[rows].mean(axis=1), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(tuple(differences), float(low), float(high))


def paired(
    results: Results, pairs: Sequence[tuple[Configuration, Configuration]]
) -> list[tuple[Configuration, float]]:
    """Differences (percentage points) of mean accuracies, first minus second, where both were run."""
    found = []
    for one, other in pairs:
        first, second = mean(results.accuracies(one)), mean(results.accuracies(other))
        if first is not None and second is not None:
            found.append((one, first - second))
    return found


@dataclass(frozen=True)
class Comparison:
    """One method against another over the pairs that both were run on."""

    method: str
    against: str
    interval: Interval


def comparisons(results: Results) -> list[Comparison]:
    """Each method against `kd` without mixup, and each use of mixup against the same without."""
    names = method_names(results)
    kinds = list(dict.fromkeys(kind_of(one) for one in results.runs))
    found = []
    for kind in kinds:
        ours = [one for one in results.runs if kind_of(one) == kind]
        for reference in _references(results, kind):
            pairs = [(one, _replaced(one, reference)) for one in ours]
            differences = [difference for _, difference in paired(results, pairs)]
            if differences:
                found.append(
                    Comparison(
                        kind_text(kind, names), kind_text(reference, names), bootstrap(differences)
                    )
                )
    return found


def kind_of(one: Configuration) -> Kind:
    """Method and mixup, whatever the networks."""
    return one.loss, one.options, one.share, one.alpha


def _references(results: Results, kind: Kind) -> list[Kind]:
    loss, options, share, _ = kind
    plain_kd = [kind_of(one) for one in results.runs if one.loss == "kd" and one.share == 0]
    references: list[Kind] = [(loss, options, 0.0, None)] if share else []
    if loss is not None:
        references += [one for one in dict.fromkeys(plain_kd) if one not in references]
    return [one for one in references if one != kind]


def _replaced(one: Configuration, kind: Kind) -> Configuration:
    loss, options, share, alpha = kind
    return Configuration(
        network=one.network,
        loss=loss,
        options=options,
        share=share,
        alpha=alpha,
        teacher=one.teacher,
        teacher_alpha=one.teacher_alpha,
    )


def method_names(results: Results) -> dict[tuple[str | None, Options], str]:
    """(loss, options) -> the name that params.yaml gives the method."""
    names: dict[tuple[str | None, Options], str] = {(None, ()): "hard labels"}
    for one, run in results.runs.items():
        names.setdefault((one.loss, one.options), run.method)
    return names


def kind_text(kind: Kind, names: dict[tuple[str | None, Options], str]) -> str:
    """A method and its mixup in words."""
    loss, options, share, alpha = kind
    text = names[loss, options]
    if not share:
        return text
    part = "all" if share == 1 else share_text(share)
    return f"{text}, {part} mixed" + ("" if alpha is None else f" (alpha {alpha:g})")


def comparison_table(found: Sequence[Comparison], said: str) -> Table:
    """A row for each comparison; bold where the interval excludes zero."""
    return Table(
        name="comparison",
        title="Methods compared on the pairs that they share",
        caption=f"{said} Difference of mean top-1 accuracies in percentage points, its mean over pairs "
        "of teacher and student (networks, for hard labels), and the 95 % percentile interval of "
        "10,000 bootstrap resamples of the pairs; bold: the interval excludes zero. Better: pairs with "
        "a positive difference. Few pairs make the interval too narrow.",
        header=("Method", "Against", "Pairs", "Better", "Difference", "95 % interval"),
        rows=tuple(_row(one) for one in found),
        data=tuple(_data(one) for one in found),
        labels=2,
    )


def _row(one: Comparison) -> tuple[Cell, ...]:
    interval = one.interval
    low, high = interval.low, interval.high
    shown = MISSING if low is None or high is None else f"{signed(low)} to {signed(high)}"
    return (
        Cell(one.method),
        Cell(one.against),
        Cell(str(len(interval.differences))),
        Cell(str(_better(interval))),
        Cell(signed(interval.mean), bold=interval.excludes_zero),
        Cell(shown),
    )


def _better(interval: Interval) -> int:
    return sum(float(fixed(difference, 2)) > 0 for difference in interval.differences)


def _data(one: Comparison) -> dict[str, Value]:
    return {
        "method": one.method,
        "against": one.against,
        "pairs": len(one.interval.differences),
        "better": _better(one.interval),
        "difference": one.interval.mean,
        "low": one.interval.low,
        "high": one.interval.high,
    }
