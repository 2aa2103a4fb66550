"""Logits of a fixed sample of clean training images, which each replicate leaves beside its test logits.

A temperature is fitted on them, so that none is fitted on the images that are evaluated on.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.results.record import ResultsError
from pipeline.results.tensors import read_tensors, save_tensors

TRAIN_SAMPLE = "train_sample.safetensors"
TRAIN_SAMPLE_IMAGES = 2000


@dataclass(frozen=True)
class TrainSample:
    """Logits f4 [n, C] and labels i4 [n] of some training images."""

    logits: NDArray[np.float32]
    labels: NDArray[np.int32]


def sample_rows(labels: NDArray[np.int32], images: int = TRAIN_SAMPLE_IMAGES) -> NDArray[np.int64]:
    """Indices of a fixed sample of at most `images` images, each class in proportion: i8 [n]."""
    by_class = np.argsort(labels, kind="stable")
    chosen = np.linspace(0, len(labels) - 1, min(images, len(labels))).round().astype(np.int64)
    rows: NDArray[np.int64] = np.sort(by_class[chosen])
    return rows


def save_train_sample(path: Path, sample: TrainSample) -> None:
    """Write a sample, atomically."""
    tensors = {name: torch.from_numpy(array) for name, array in vars(sample).items()}
    save_tensors(tensors, path, {})


def read_train_sample(path: Path) -> TrainSample | None:
    """A sample that was written; None where there is none.

    Raises ResultsError for a file of other arrays, ValueError for a damaged one.
    """
    if not path.exists():
        return None
    tensors, _ = read_tensors(path)
    if tensors.keys() != {"logits", "labels"}:
        raise ResultsError(f"{path} holds {', '.join(tensors)}; pull or make it again")
    return TrainSample(tensors["logits"].numpy(), tensors["labels"].numpy())
