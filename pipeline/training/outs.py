"""The results of training: the files of each replicate, and the folder that a stage publishes.

```
record.json              what was trained, and its accuracy
replicate-0/ ...         weights.safetensors, curves.csv, test_logits.npy, train_sample.safetensors
                         (logits of some training images)
```

The same inputs give the same bytes; durations and the machine are written to a file beside the folder.
Finished replicates also stay in a work folder whose key does not contain their number, so that asking for
one more trains one more.
"""

import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.core.dataset import ImageData
from pipeline.core.files import WorkFolder, canonical_json, durable_write
from pipeline.models.network import Network
from pipeline.models.registry import build
from pipeline.models.weights import save_weights, weights_digest
from pipeline.results.metrics import nll, top1_accuracy, top_k_accuracy
from pipeline.results.record import (
    CURVES,
    RECORD,
    TEST_LOGITS,
    TIMING,
    WEIGHTS,
    DatasetFacts,
    Record,
    ReplicateRecord,
    timing_file,
)
from pipeline.results.samples import TRAIN_SAMPLE, TrainSample, sample_rows, save_train_sample
from pipeline.training.jobs import Job, Replicate, replicates_of
from pipeline.training.trainer import Curves, TestSet
from pipeline.views.predict import clean_bank, predict_clean

CHECKPOINT = "state.safetensors"


def write_replicate(
    replicate: Replicate,
    network: Network,
    curves: Curves,
    timing: Mapping[str, Any],
    data: ImageData,
    test: TestSet,
    on_batch: Callable[[int], None] = lambda images: None,
) -> None:
    """Write a replicate's results, its record last, and remove its checkpoint.

    `on_batch` is called with the number of images after each batch of predictions.
    """
    folder, device = replicate.folder, test.bank.device
    durable_write(folder / TIMING, canonical_json(timing))
    _write_train_sample(folder, network, data, device, on_batch)
    logits, _ = predict_clean(network, test.bank, on_batch=on_batch)
    save_weights(network, folder / WEIGHTS)
    durable_write(folder / CURVES, curves.to_csv().encode("ascii"))
    durable_write(folder / TEST_LOGITS, _npy(logits))
    record = ReplicateRecord(
        replicate=replicate.number,
        seed=replicate.seed,
        top1_accuracy=top1_accuracy(logits, test.labels),
        top5_accuracy=top_k_accuracy(logits, test.labels, 5),
        nll=nll(logits, test.labels),
        train_loss=curves.train_loss[-1] if curves.train_loss else None,
        weights_sha256=weights_digest(network.state_dict()),
    )
    durable_write(folder / RECORD, canonical_json(asdict(record)))
    (folder / CHECKPOINT).unlink(missing_ok=True)


def _write_train_sample(
    folder: Path,
    network: Network,
    data: ImageData,
    device: torch.device,
    on_batch: Callable[[int], None],
) -> None:
    rows = sample_rows(data.train.labels)
    bank = clean_bank(data.train.images[rows], data.mean, data.std, device)
    logits, _ = predict_clean(network, bank, on_batch=on_batch)
    save_train_sample(folder / TRAIN_SAMPLE, TrainSample(logits, data.train.labels[rows]))


def _npy(array: NDArray[Any]) -> bytes:
    content = io.BytesIO()
    np.save(content, array, allow_pickle=False)
    return content.getvalue()


def publish(job: Job, work: WorkFolder, data: ImageData, out: Path) -> str:
    """Write a job's record, publish its folder, and return one line with the accuracies."""
    normalised = data.normalised(job.normalisation)
    folders = [replicate.folder for replicate in replicates_of(job, work)]
    replicates = [
        ReplicateRecord.parse(json.loads((folder / RECORD).read_text()), folder / RECORD)
        for folder in folders
    ]
    timings = [json.loads((folder / TIMING).read_text()) for folder in folders]
    durable_write(work.path / RECORD, _record(job, data, replicates).to_json())
    files = {RECORD: work.path / RECORD}
    for folder in folders:
        for name in (WEIGHTS, CURVES, TEST_LOGITS, TRAIN_SAMPLE):
            files[f"{folder.name}/{name}"] = folder / name
    work.publish(files, out)
    durable_write(timing_file(out), canonical_json({"replicates": timings}))
    accuracies = ", ".join(f"{record.top1_accuracy:.2%}" for record in replicates)
    return f"{job.kind} {job.name}: {accuracies} on the {data.evaluated_on} set of {normalised} -> {out}"


def _record(job: Job, data: ImageData, replicates: Sequence[ReplicateRecord]) -> Record:
    network = build(job.network, len(data.class_names))
    return Record(
        kind=job.kind,
        name=job.name,
        network=job.network,
        parameters=sum(p.numel() for p in network.parameters()),
        feature_dim=network.feature_dim,
        entry=job.entry,
        training=job.training_facts(),
        augmentation=asdict(job.augmentation),
        dataset=DatasetFacts.of(data),
        method=job.method,
        teacher=None if job.teacher is None else job.teacher(),
        normalisation=job.normalisation,
        ranks=job.ranks,
        replicates=tuple(replicates),
    )
