"""The files of one trained replicate, in its own folder of the work folder."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipeline.core.dataset import ImageData
from pipeline.core.files import canonical_json, durable_write
from pipeline.models.network import Network
from pipeline.models.weights import save_weights, weights_digest
from pipeline.results.metrics import nll, top1_accuracy, top_k_accuracy
from pipeline.results.record import (
    CURVES,
    RECORD,
    TEST_LOGITS,
    TRAIN_SAMPLE,
    WEIGHTS,
    sample_rows,
    save_train_sample,
)
from pipeline.training.curves import Curves
from pipeline.training.loop import TestSet
from pipeline.views.predict import clean_bank, predict_clean

PREDICT_BATCH = 500
CHECKPOINT = "state.safetensors"


def write_replicate(
    own: Path,
    replicate: int,
    seed: int,
    network: Network,
    curves: Curves,
    data: ImageData,
    test: TestSet,
    on_batch: Callable[[int], None] = lambda images: None,
) -> None:
    """Write all that a replicate leaves; its record comes last, and its checkpoint goes.

    `on_batch` is called with the number of images of each batch that was looked at.
    """
    device = test.bank.device
    _write_train_sample(own, network, data, device, on_batch)
    logits, _ = predict_clean(network, test.bank, PREDICT_BATCH, on_batch)
    save_weights(network, own / WEIGHTS)
    durable_write(own / CURVES, curves.to_csv().encode("ascii"))
    _save_array(own / TEST_LOGITS, logits)
    record = {
        "replicate": replicate,
        "seed": seed,
        "top1_accuracy": top1_accuracy(logits, test.labels),
        "top5_accuracy": top_k_accuracy(logits, test.labels, min(5, logits.shape[1])),
        "nll": nll(logits, test.labels),
        "train_loss": curves.train_loss[-1] if curves.train_loss else None,
        "weights_sha256": weights_digest(network.state_dict()),
    }
    durable_write(own / RECORD, canonical_json(record))
    (own / CHECKPOINT).unlink(missing_ok=True)


def _write_train_sample(
    own: Path,
    network: Network,
    data: ImageData,
    device: torch.device,
    on_batch: Callable[[int], None],
) -> None:
    rows = sample_rows(data.train.labels)
    bank = clean_bank(data.train.images[rows], data.mean, data.std, device)
    logits, _ = predict_clean(network, bank, PREDICT_BATCH, on_batch)
    save_train_sample(own / TRAIN_SAMPLE, logits, data.train.labels[rows])


def _save_array(path: Path, array: Any) -> None:
    temporary = path.with_suffix(".tmp.npy")
    np.save(temporary, array, allow_pickle=False)
    temporary.replace(path)
