"""V-scores of every network: do the penultimate features of a group of classes form clusters?"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.evaluation.clusters import v_score
from pipeline.evaluation.features import ClassFeatures, FeaturesOf, class_rows
from pipeline.evaluation.params import VScoreParams
from pipeline.evaluation.runs import Run
from pipeline.evaluation.workers import in_threads
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

    @property
    def features(self) -> str:
        """`raw` or `l2` (each image's divided by their norm)."""
        return "l2" if self.normalised else "raw"


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
    replicates = [
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
        **{name: tuple(getattr(score, name) for score in replicates) for name in MEASURES},
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
