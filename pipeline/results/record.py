"""What a training stage leaves behind: the record, weights, curves and test logits of its networks.

```
record.json              what was trained and how well it did; the same inputs give the same bytes
replicate-0/ ...         weights.safetensors, curves.csv, test_logits.npy,
                         train_sample.safetensors (logits of some training images)
```
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.core.dataset import ImageData
from pipeline.core.errors import DecantError
from pipeline.results.tensors import save_tensors

RECORD, TIMING = "record.json", "timing.json"
WEIGHTS, CURVES = "weights.safetensors", "curves.csv"
TEST_LOGITS, TRAIN_SAMPLE = "test_logits.npy", "train_sample.safetensors"
TRAIN_SAMPLE_IMAGES = 2000


class ResultsError(DecantError):
    """Results of a stage that are absent or cannot be read."""


def class_rows(labels: NDArray[np.int32], classes: Sequence[int]) -> NDArray[np.int64]:
    """Indices of the images of the given classes, in data-set order: i8 [n]."""
    return np.flatnonzero(np.isin(labels, np.asarray(classes, np.int32)))


def sample_rows(labels: NDArray[np.int32], images: int = TRAIN_SAMPLE_IMAGES) -> NDArray[np.int64]:
    """Indices of a fixed sample of at most `images` images, each class in proportion: i8 [n]."""
    by_class = np.argsort(labels, kind="stable")
    chosen = np.linspace(0, len(labels) - 1, min(images, len(labels))).round().astype(np.int64)
    rows: NDArray[np.int64] = np.sort(by_class[chosen])
    return rows


def save_train_sample(path: Path, logits: NDArray[np.float32], labels: NDArray[np.int32]) -> None:
    """Write logits f4 [n, C] and labels i4 [n] of a sample of training images, atomically."""
    tensors = {"logits": torch.from_numpy(logits), "labels": torch.from_numpy(labels)}
    save_tensors(tensors, path, {})


def dataset_facts(data: ImageData) -> dict[str, Any]:
    """What a record says of the data set."""
    return {
        "name": data.name,
        "fingerprint": data.fingerprint,
        "classes": len(data.class_names),
        "train_images": len(data.train.labels),
        "test_images": len(data.test.labels),
        "evaluated_on": data.evaluated_on,
    }


def timing_file(folder: Path) -> Path:
    """Where the timings of a training stage's folder lie: beside it, since no two runs share them.

    DVC ignores the file (`.dvcignore`): it is no part of the results.
    """
    return folder.with_name(f"{folder.name}.{TIMING}")


def read_record(folder: Path) -> dict[str, Any]:
    """The record of a training stage's folder. Raises ResultsError, saying how to mend it."""
    path = folder / RECORD
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ResultsError(
            f"{folder} holds no {RECORD}: run its stage (`dvc repro`) or pull it (`dvc pull {folder}`)"
        ) from None
    except (ValueError, RecursionError) as error:
        raise ResultsError(f"{path} is not readable: {error}; pull or make it again") from None
    if not is_record(content):
        raise ResultsError(f"{path} is not the record of a training stage; make it again")
    return content


_RECORD = {"name": str, "network": str, "entry": dict, "training": dict, "dataset": dict}
_REPLICATE = {"weights_sha256": str, "seed": int, "top1_accuracy": float}


def is_record(content: Any) -> TypeGuard[dict[str, Any]]:
    """Whether a value is made as a training stage's record is: what everybody reads is there."""
    if not _has(content, _RECORD) or not isinstance(content["dataset"].get("fingerprint"), str):
        return False
    parts = [content.get("method"), content.get("teacher")]
    replicates = content.get("replicates")
    return (
        all(part is None or isinstance(part, dict) for part in parts)
        and isinstance(replicates, list)
        and len(replicates) > 0
        and all(_has(replicate, _REPLICATE) for replicate in replicates)
    )


def _has(value: Any, kinds: Mapping[str, type]) -> TypeGuard[dict[str, Any]]:
    return isinstance(value, dict) and all(isinstance(value.get(k), t) for k, t in kinds.items())
