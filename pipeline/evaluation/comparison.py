"""Methods compared on the pairs that they share, and students of few views with those of all views."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from pipeline.evaluation.frame import Results
from pipeline.evaluation.numbers import mean, printed
from pipeline.evaluation.runs import share_text, views_text

DRAWS = 10_000
LEVEL = 0.95
SEED = 0
MIN_PAIRS = 5  # with fewer, resampling them says little of how they scatter
PAIR = ["teacher_network", "teacher_mixup_alpha", "network"]


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
    (scipy's `bootstrap` draws from another stream: the published intervals would be others.)

    Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13.
    """
    values = np.asarray(differences, np.float64)
    if len(values) < MIN_PAIRS:
        return Interval(tuple(differences), None, None)
    generator = np.random.Generator(np.random.Philox(SEED))
    rows = generator.integers(0, len(values), (DRAWS, len(values)))
    low, high = np.quantile(values[rows].mean(axis=1), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(tuple(differences), float(low), float(high))


def comparisons(results: Results) -> pd.DataFrame:
    """Each method against `kd` without mixup, and each use of mixup against the same without.

    Columns: method, against, pairs, better (pairs with a difference above zero as printed), difference
    (percentage points of mean accuracy, mean over the pairs), low and high of its interval (NaN with
    few pairs), and `interval` itself.
    """
    runs = with_kinds(results)
    kinds = runs.drop_duplicates("kind").set_index("kind", drop=False)
    means = {
        kind: of.groupby("pair", sort=False)["top1"].last() for kind, of in runs.groupby("kind")
    }
    rows = []
    for kind in kinds.index:
        for against in _references(kinds.loc[kind], kinds):
            shared = (means[kind] - means[against].reindex(means[kind].index)).dropna()
            if len(shared):
                interval = bootstrap(shared.tolist())
                better = sum(printed(value) > 0 for value in shared)
                numbers = (len(shared), better, interval.mean, interval.low, interval.high)
                rows.append((kind, against, *numbers, interval))
    columns = ["method", "against", "pairs", "better", "difference", "low", "high", "interval"]
    return pd.DataFrame(rows, columns=columns).astype({"low": float, "high": float})


def with_kinds(results: Results) -> pd.DataFrame:
    """The configurations with their `pair` and their `kind`: what is compared, whatever the networks.

    Hyper-parameters are part of a kind, and it has the name of its method; but where a loss has one
    setting a pair (authors may tune one to each), all of them are one kind, under the name of the loss.
    `kind_of_all_views` and `usual_kind` are it without its limit of views, and without its variant.
    """
    runs = results.configurations
    settings = runs.groupby("loss", dropna=False)["options"].transform("nunique")
    of_pair = runs.groupby(["loss", *PAIR], dropna=False)["options"].transform("nunique")
    most = of_pair.groupby(runs["loss"], dropna=False).transform("max")
    method = runs["method"].where((settings <= 1) | (most > 1), runs["loss"])
    pairs = [" | ".join(map(str, pair)) for pair in runs[PAIR].itertuples(index=False)]
    runs = runs.assign(method=method, pair=pairs)
    facts = [runs[name] for name in ("method", "share", "mixup_alpha", "views", "variant")]
    of_all_views, usual = pd.Series(np.nan, runs.index), pd.Series("", runs.index)
    return runs.assign(
        kind=list(map(kind_text, *facts)),
        kind_of_all_views=list(map(kind_text, *facts[:3], of_all_views, facts[4])),
        usual_kind=list(map(kind_text, *facts[:4], usual)),
    )


def kind_text(method: str, share: float, alpha: float, views: float, variant: str) -> str:
    """A kind in words: `ours, 50 % mixed (alpha 1), 4 views, epochs 9`; NaN: no mixup, all views."""
    part = "all" if share == 1 else share_text(share)
    shown_alpha = f" (alpha {alpha:g})" if alpha > 0 else ""
    mixed = f", {part} mixed{shown_alpha}" if share else ""
    limit = views_text(None if np.isnan(views) else int(views))
    return method + mixed + limit + (f", {variant}" if variant else "")


def _references(kind: pd.Series, kinds: pd.DataFrame) -> list[str]:
    """What a kind is compared with: itself without mixup, then kd without mixup, both of all views.

    These are of the same variant. A variant is compared with the usual one too.
    """
    plain = (kinds["share"] == 0) & kinds["views"].isna() & (kinds["variant"] == kind["variant"])
    chosen = [
        kinds.index == kind["usual_kind"],
        plain & (kinds["method"] == kind["method"]),
        plain & (kinds["loss"] == "kd") & pd.notna(kind["loss"]),
    ]
    names = [name for mask in chosen for name in kinds.index[mask]]
    return [name for name in dict.fromkeys(names) if name != kind["kind"]]


def views_compared(results: Results) -> pd.DataFrame:
    """Students of limited views and their twins of all views, the fewest views first.

    Columns: teacher, student, method, views (read), top1, top1_deviation, difference (from the twin of
    all views, percentage points, NaN where there is none, and of it), all (whether it reads all views).
    """
    runs = with_kinds(results)
    limited = runs["views"].notna()
    runs = runs[limited.groupby(runs["all_views_twin"]).transform("any")]
    unlimited = runs["views"].isna()
    reference = runs["top1"].where(unlimited).groupby(runs["all_views_twin"]).transform("max")
    first_seen = {key: place for place, key in enumerate(dict.fromkeys(runs["all_views_twin"]))}
    order = runs.assign(place=runs["all_views_twin"].map(first_seen), all=unlimited)
    columns = {
        "teacher_network": "teacher",
        "network": "student",
        "kind_of_all_views": "method",
        "views_read": "views",
        "top1": "top1",
        "deviation": "top1_deviation",
    }
    chosen = order.sort_values(["place", "views_read", "all"], kind="stable")
    difference = (runs["top1"] - reference).where(~unlimited)
    table = chosen[list(columns)].rename(columns=columns).astype({"views": int})
    return table.assign(difference=difference, all=unlimited)
