"""V-scores of every network: do the penultimate features of a group of classes form clusters?"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.report.clusters import v_score
from pipeline.report.features import ClassFeatures, FeaturesOf, class_rows
from pipeline.report.numbers import deviation, mean, spread
from pipeline.report.params import VScoreParams
from pipeline.report.runs import Run, describe
from pipeline.report.tables import Table, Value, cells
from pipeline.report.workers import in_threads
from pipeline.results.record import ResultsError

SPLITS = ("train", "test")
MEASURES = ("homogeneity", "completeness", "v_score")


@dataclass(frozen=True)
class VScores:
    """Scores (fractions) of one run's features of a group of classes, one a replicate."""

    run: Run
    group: str
    split: str
    normalised: bool
    homogeneity: tuple[float, ...]
    completeness: tuple[float, ...]
    v_score: tuple[float, ...]


def vscore_runs(
    runs: Sequence[Run],
    groups: Mapping[str, Collection[int]],
    params: VScoreParams,
    features: FeaturesOf,
    workers: int,
) -> list[VScores]:
    """V-scores of every run, split and group of classes, of raw and L2-normalised features.

    Args:
        groups: name -> class numbers.
        features: of all classes of the groups; not asked for kept runs.
        workers: computed at the same time, each on one thread, so that the results do not depend on it.
    """
    settings = [
        (run, group, split, normalised)
        for run in runs
        for group in groups
        for split in SPLITS
        for normalised in (False, True)
    ]
    return in_threads(
        lambda setting: _vscores(*setting, groups[setting[1]], params, features), settings, workers
    )


def _vscores(
    run: Run,
    group: str,
    split: str,
    normalised: bool,
    classes: Collection[int],
    params: VScoreParams,
    features: FeaturesOf,
) -> VScores:
    if run.kept is not None:
        return _kept_vscores(run, group, split, normalised)
    found = [
        v_score(
            *group_features(features(run, replicate), split, classes),
            normalise=normalised,
            seed=params.seed,
            n_init=params.n_init,
        )
        for replicate in range(run.count)
    ]
    return VScores(
        run,
        group,
        split,
        normalised,
        homogeneity=tuple(one.homogeneity for one in found),
        completeness=tuple(one.completeness for one in found),
        v_score=tuple(one.v_score for one in found),
    )


def _kept_vscores(run: Run, group: str, split: str, normalised: bool) -> VScores:
    assert run.kept is not None
    for kept in run.kept.v_scores:
        if (kept.group, kept.split, kept.normalised) == (group, split, normalised):
            return VScores(run, **vars(kept))
    raise ResultsError(f"{run.folder} has no V-scores of the group {group} ({split} set)")


def group_features(
    stored: ClassFeatures, split: str, classes: Collection[int]
) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Features f4 [n, D] and labels i4 [n] of one group's images in the `train` or `test` split."""
    features = stored.train_features if split == "train" else stored.test_features
    labels = stored.train_labels if split == "train" else stored.test_labels
    rows = class_rows(labels, list(classes))
    return features[rows].astype(np.float32), labels[rows]


def vscore_table(scores: Sequence[VScores], caption: str) -> Table:
    """All V-scores: a row for each run, group and kind of features."""
    groups = list(dict.fromkeys(one.group for one in scores))
    by_key = {(s.run.section, s.run.name, s.group, s.split, s.normalised): s for s in scores}
    runs = list({(s.run.section, s.run.name): s.run for s in scores}.values())
    rows = []
    for run in runs:
        for group in groups:
            for normalised in (False, True):
                texts = [run.name, describe(run), group, "L2" if normalised else "raw"]
                for split in SPLITS:
                    one = by_key[run.section, run.name, group, split, normalised]
                    texts += [spread(getattr(one, name), 3) for name in MEASURES]
                rows.append(cells(*texts))
    return Table(
        name="vscores",
        title="V-scores of the penultimate features",
        caption=f"{caption} k-means with as many clusters as classes; h homogeneity, c completeness, "
        "V their harmonic mean (1: clusters are classes, 0: they say nothing of them). Mean ± sample "
        "deviation over the replicates.",
        header=(
            "Name",
            "Trained with",
            "Classes",
            "Features",
            *(f"{split} {letter}" for split in SPLITS for letter in "hcV"),
        ),
        rows=tuple(rows),
        data=tuple(map(_data, scores)),
        labels=4,
    )


def _data(one: VScores) -> dict[str, Value]:
    facts: dict[str, Value] = {
        "section": one.run.section,
        "name": one.run.name,
        "network": one.run.network,
        "method": one.run.method,
        "share": one.run.share,
        "mixup_alpha": one.run.mixup_alpha,
        "classes": one.group,
        "split": one.split,
        "features": "l2" if one.normalised else "raw",
        "replicates": one.run.count,
    }
    for name in MEASURES:
        values = getattr(one, name)
        facts |= {name: mean(values), f"{name}_deviation": deviation(values)}
    return facts


def short_vscore_table(scores: Sequence[VScores]) -> Table:
    """V-scores of the hard-label networks' raw features: what fits on a terminal."""
    groups = list(dict.fromkeys(one.group for one in scores))
    chosen = [one for one in scores if not one.normalised and one.run.section != "students"]
    by_key = {(s.run.section, s.run.name, s.group, s.split): s for s in chosen}
    runs = list({(s.run.section, s.run.name): s.run for s in chosen}.values())
    return Table(
        name="vscores",
        title="V-scores of hard-label networks (raw features)",
        caption="mean ± sample deviation over the runs; 1: clusters are classes",
        header=("Name", "Mixup", *(f"{group} {split}" for group in groups for split in SPLITS)),
        rows=tuple(
            cells(
                run.name,
                "no" if run.mixup_alpha is None else f"alpha {run.mixup_alpha:g}",
                *(
                    spread(by_key[run.section, run.name, group, split].v_score, 3)
                    for group in groups
                    for split in SPLITS
                ),
            )
            for run in runs
        ),
        data=(),
        labels=2,
    )
