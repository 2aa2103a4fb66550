"""Which networks' features are embedded, of which images."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.evaluation.clusters import tsne_embedding
from pipeline.evaluation.configurations import hard_label_runs
from pipeline.evaluation.features import FeaturesOf, class_rows
from pipeline.evaluation.params import TsneParams
from pipeline.evaluation.runs import Run
from pipeline.evaluation.vscores import SPLITS, group_features
from pipeline.evaluation.workers import in_threads


@dataclass(frozen=True)
class Panel:
    """A t-SNE panel: coordinates f4 [n, 2] and class numbers i4 [n] of one network's features."""

    network: str
    alpha: float | None
    split: str
    points: NDArray[np.float32]
    labels: NDArray[np.int32]


def file_names(groups: Iterable[str]) -> dict[str, str]:
    """Group of classes -> what files of its figure are called, whatever it is called itself.

    >>> file_names(["similar", "cats/dogs", "cats dogs"])
    {'similar': 'tsne-similar', 'cats/dogs': 'tsne-cats_dogs', 'cats dogs': 'tsne-cats_dogs_'}
    """
    names: dict[str, str] = {}
    for group in groups:
        name = "tsne-" + re.sub("[^a-z0-9]", "_", group.lower())
        while name in names.values():
            name += "_"
        names[group] = name
    return names


def compared_networks(runs: Sequence[Run]) -> list[Run]:
    """Hard-label runs of networks trained both with and without mixup; all, where there is none."""
    kinds = hard_label_runs(runs)
    both = [network for network, alpha in kinds if alpha is not None and (network, None) in kinds]
    chosen = [run for (network, _), found in kinds.items() for run in found if network in both]
    return chosen or [run for found in kinds.values() for run in found]


def tsne_panels(
    runs: Sequence[Run],
    classes: Sequence[int],
    params: TsneParams,
    features_of: FeaturesOf,
    workers: int,
) -> list[Panel]:
    """Panels of the first replicate of every hard-label network, train and test set, one group."""
    settings = [
        (network, alpha, split, found[0])
        for (network, alpha), found in hard_label_runs(runs).items()
        for split in SPLITS
    ]

    def embed(setting: tuple[str, float | None, str, Run]) -> Panel:
        network, alpha, split, run = setting
        features, labels = group_features(features_of(run, 0), split, classes)
        kept = np.sort(
            np.concatenate([class_rows(labels, [c])[: params.images_per_class] for c in classes])
        )
        points = tsne_embedding(features[kept], perplexity=params.perplexity, seed=params.seed)
        return Panel(network, alpha, split, points, labels[kept])

    return in_threads(embed, settings, workers)
