"""Methods compared on the pairs that they share: mean difference with a bootstrap interval."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from pipeline.report.configurations import Configuration, Options, Results
from pipeline.report.numbers import MISSING, fixed, mean, signed
from pipeline.report.runs import share_text, views_text
from pipeline.report.tables import Cell, Table, Value

DRAWS = 10_000
LEVEL = 0.95
SEED = 0
MIN_PAIRS = 5  # with fewer, resampling them says little of how they scatter

Pair = tuple[str | None, float | None, str]  # teacher, its mixup, student


@dataclass(frozen=True)
class Interval:
    """Mean of paired differences, and the bootstrap interval of it; None with few pairs."""

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
    interval is too narrow: with less than MIN_PAIRS there is none, and their number stands beside it.

    Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13.
    """
    values = np.asarray(differences, np.float64)
    if len(values) < MIN_PAIRS:
        return Interval(tuple(differences), None, None)
    generator = np.random.Generator(np.random.Philox(SEED))
    rows = generator.integers(0, len(values), (DRAWS, len(values)))
    low, high = np.quantile(values[rows].mean(axis=1), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(tuple(differences), float(low), float(high))


@dataclass(frozen=True)
class Comparison:
    """One method against another over the pairs that both were run on."""

    method: str
    against: str
    interval: Interval


@dataclass(frozen=True)
class Kind:
    """A method, its mixup and a limit of its views, whatever the networks: what is compared."""

    method: str
    loss: str | None
    share: float
    alpha: float | None
    views: int | None = None
    variant: str = ""

    def __str__(self) -> str:
        part = "all" if self.share == 1 else share_text(self.share)
        alpha = f" (alpha {self.alpha:g})" if self.alpha else ""
        mixed = f", {part} mixed{alpha}" if self.share else ""
        own = f", {self.variant}" if self.variant else ""
        return self.method + mixed + views_text(self.views) + own


def comparisons(results: Results) -> list[Comparison]:
    """Each method against `kd` without mixup, and each use of mixup against the same without.

    Differences are in percentage points of mean accuracy.
    """
    means: dict[Kind, dict[Pair, float]] = {}
    for one, kind in kinds(results).items():
        value = mean(results.accuracies(one))
        if value is not None:
            means.setdefault(kind, {})[one.pair] = value
    found = []
    for kind, ours in means.items():
        for reference in _references(kind, list(means)):
            theirs = means[reference]
            differences = [value - theirs[pair] for pair, value in ours.items() if pair in theirs]
            if differences:
                found.append(Comparison(str(kind), str(reference), bootstrap(differences)))
    return found


def kinds(results: Results) -> dict[Configuration, Kind]:
    """Configuration -> kind, for every run.

    Hyper-parameters are part of a kind, and it has the name of its method; but where a loss has one
    setting a pair (authors may tune one to each), all of them are one kind, under the name of the loss.
    """
    settings: dict[str | None, set[Options]] = {}
    used: dict[tuple[str | None, Pair], set[Options]] = {}
    for one in results.runs:
        settings.setdefault(one.loss, set()).add(one.options)
        used.setdefault((one.loss, one.pair), set()).add(one.options)
    several = {loss for (loss, _), found in used.items() if len(found) > 1}
    return {
        one: Kind(
            str(one.loss)
            if len(settings[one.loss]) > 1 and one.loss not in several
            else run.method,
            one.loss,
            one.share,
            one.alpha,
            one.views,
            one.variant,
        )
        for one, run in results.runs.items()
    }


def _references(kind: Kind, others: Sequence[Kind]) -> list[Kind]:
    """What a kind is compared with: itself without mixup, then kd without mixup, both of all views.

    A variant is compared with the usual one, where it has that one's mixup too.
    """
    usual = [one for one in others if one.share == 0 and one.views is None and not one.variant]
    found = [replace(kind, variant="")] if replace(kind, variant="") in others else []
    found += [one for one in usual if one.method == kind.method]
    if kind.loss is not None:
        found += [one for one in usual if one.loss == "kd"]
    return [one for one in dict.fromkeys(found) if one != kind]


def comparison_table(found: Sequence[Comparison], setting: str) -> Table:
    """A row for each comparison; bold where the interval excludes zero."""
    return Table(
        name="comparison",
        title="Methods compared on the pairs that they share",
        caption=f"{setting} Difference of mean top-1 accuracies in percentage points, its mean over pairs "
        "of teacher and student (networks, for hard labels), and the 95 % percentile interval of "
        "10,000 bootstrap resamples of the pairs; bold: the interval excludes zero. Better: pairs with "
        "a positive difference. Few pairs make the interval too narrow; fewer than "
        f"{MIN_PAIRS} have none.",
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
