"""Penultimate features of some classes' images: computed from weights once, then read from a cache.

Training keeps none, so that other classes can be looked at without training anything again. A cached
file belongs to weights (their digest, which the record has), images, classes and what computed it; one
that is damaged is made anew.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.core.dataset import ImageData, Split
from pipeline.core.files import work_key
from pipeline.core.normalisation import Channels
from pipeline.evaluation.remembered import read_arrays, write_arrays
from pipeline.evaluation.runs import Run
from pipeline.evaluation.workers import in_threads
from pipeline.models.network import Network
from pipeline.models.registry import build, own_code_sha256
from pipeline.models.weights import CheckpointError, load_into, load_weights, weights_digest
from pipeline.results.record import ResultsError
from pipeline.views.batches import ImageBank
from pipeline.views.predict import clean_bank, place, predict_clean


@dataclass(frozen=True)
class ClassFeatures:
    """Penultimate features of the images of some classes.

    Attributes:
        train_features: f2 [n, D], train_labels: i4 [n]; test_features: f2 [m, D], test_labels: i4 [m].
    """

    train_features: NDArray[np.float16]
    train_labels: NDArray[np.int32]
    test_features: NDArray[np.float16]
    test_labels: NDArray[np.int32]


FeaturesOf = Callable[[Run, int], ClassFeatures]  # run, replicate


@dataclass(frozen=True)
class FeatureCache:
    """Features of the images of `classes` (numbers), for any run and replicate.

    Attributes:
        folder: of the cached files.
        device: on which they are computed.
        computed_by: versions and code; another one's files are not used.
    """

    data: ImageData
    classes: Sequence[int]
    folder: Path
    device: torch.device
    computed_by: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self, run: Run, replicate: int) -> ClassFeatures:
        """The features of a replicate, read where they are cached.

        Raises ResultsError where its weights are not there, or are not those that its record names.
        """
        path = self.path(run, replicate)
        arrays = read_arrays(path)
        if arrays is not None:
            return ClassFeatures(**arrays)
        features = self._compute(run, replicate)
        save(features, path)
        return features

    def fill(self, runs: Iterable[Run], workers: int) -> None:
        """Compute what is not there yet, on a CPU in threads."""
        replicates = [(run, replicate) for run in runs for replicate in range(run.count)]
        lacking = [pair for pair in replicates if not self.path(*pair).exists()]
        in_threads(lambda pair: self(*pair), lacking, 1 if self.device.type == "cuda" else workers)

    def lacking(self, runs: Iterable[Run]) -> list[Run]:
        """Runs of which some features have to be computed."""
        return [
            run for run in runs if any(not self.path(run, r).exists() for r in range(run.count))
        ]

    def path(self, run: Run, replicate: int) -> Path:
        """The cached file of a replicate."""
        facts = {
            "weights": run.record.replicates[replicate].weights_sha256,
            "network": run.network,
            "own_network": own_code_sha256(run.network),
            "dataset": self.data.fingerprint,
            "normalisation": self._channels(run),
            "classes": sorted(self.classes),
            "device": self.device.type,
            **self.computed_by,
        }
        return self.folder / f"{work_key(facts)}.safetensors"

    def _channels(self, run: Run) -> tuple[Channels, Channels]:
        """Mean and standard deviation per channel of the images that the network is given."""
        seen = self.data.normalised(run.record.normalisation)
        return seen.mean, seen.std

    def _compute(self, run: Run, replicate: int) -> ClassFeatures:
        network = place(_load(run, replicate, len(self.data.class_names)), self.device)
        banks = (
            _bank(split, tuple(self.classes), self._channels(run), self.device)
            for split in (self.data.train, self.data.test)
        )
        train, test = (predict_clean(network, bank)[1].astype(np.float16) for bank in banks)
        train_labels, test_labels = (
            split.labels[class_rows(split.labels, self.classes)]
            for split in (self.data.train, self.data.test)
        )
        return ClassFeatures(train, train_labels, test, test_labels)


def class_rows(labels: NDArray[np.int32], classes: Sequence[int]) -> NDArray[np.int64]:
    """Indices of the images of the given classes, in data-set order: i8 [n]."""
    return np.flatnonzero(np.isin(labels, np.asarray(classes, np.int32)))


def save(features: ClassFeatures, path: Path) -> None:
    """Write a cached file, atomically."""
    write_arrays(vars(features), path)


def _load(run: Run, replicate: int, num_classes: int) -> Network:
    path, network = run.weights_file(replicate), build(run.network, num_classes)
    try:
        weights = load_weights(path)
        load_into(network, weights)
    except CheckpointError as error:
        raise ResultsError(f"{error}; pull it (`dvc pull {run.folder}`) or make it again") from None
    if weights_digest(weights) != run.record.replicates[replicate].weights_sha256:
        raise ResultsError(
            f"{path} holds other weights than its record names: run its stage again (`dvc repro`) or "
            f"pull it (`dvc pull {run.folder}`)"
        )
    return network


@lru_cache(maxsize=4)
def _bank(
    split: Split,
    classes: tuple[int, ...],
    channels: tuple[Channels, Channels],
    device: torch.device,
) -> ImageBank:
    """The images of some classes; made once for all networks that are given them alike."""
    return clean_bank(split.images[class_rows(split.labels, classes)], *channels, device)
