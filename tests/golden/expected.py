"""What the present code reads in a folder of golden files, as numbers and digests for `expected.json`."""

import hashlib
import json
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipeline.core.dataset import load_prepared
from pipeline.core.files import canonical_json
from pipeline.core.params import load_yaml
from pipeline.evaluation.kept import load_kept
from pipeline.models.registry import build
from pipeline.models.weights import load_into, load_weights, weights_digest
from pipeline.results.record import read_record
from pipeline.store.read import open_store
from pipeline.tools.foreign import read_foreign
from pipeline.views.predict import clean_bank, predict_clean

SECTIONS = ("teachers", "baselines", "students")
GROUPS = ("clean", "plain", "mixed")
Facts = dict[str, Any]


def describe(folder: Path) -> Facts:
    """All that is read, ready for JSON."""
    return {
        "prepared": prepared_facts(folder / "prepared"),
        "stores": {
            path.stem: store_facts(path) for path in sorted((folder / "stores").glob("*.zarr"))
        },
        "records": {
            f"{section}/{path.name}": record_facts(path)
            for section in SECTIONS
            for path in sorted((folder / section).iterdir())
        },
        "kept": kept_facts(folder),
        "checkpoint": checkpoint_facts(folder),
    }


def array_facts(array: np.ndarray) -> Facts:
    """Shape, type and digest of an array, and its first number to look at."""
    data = np.ascontiguousarray(array)
    little = data.astype(data.dtype.newbyteorder("<"))
    return {
        "dtype": little.dtype.str,
        "shape": list(little.shape),
        "sha256": hashlib.sha256(little.tobytes()).hexdigest(),
        "first": little.ravel()[0].item(),
    }


def prepared_facts(folder: Path) -> Facts:
    data = load_prepared(folder)
    splits = {"train": data.train, "test": data.test}
    return {
        "name": data.name,
        "class_names": list(data.class_names),
        "mean": list(data.mean),
        "std": list(data.std),
        "fingerprint": data.fingerprint,
        "evaluated_on": data.evaluated_on,
        "images": {name: array_facts(split.images) for name, split in splits.items()},
        "labels": {name: array_facts(split.labels) for name, split in splits.items()},
    }


def store_facts(path: Path) -> Facts:
    """Every number of a store that a student can read."""
    store = open_store(path, groups=GROUPS)
    arrays: Facts = {}
    for split in ("train", "test"):
        for name in ("logits", "features", "labels"):
            arrays[f"clean/{split}/{name}"] = array_facts(getattr(store.clean, name)(split))
    for name in GROUPS[1:]:
        group = store.group(name)
        plans = group.plan_arrays()
        arrays |= {f"{name}/{array}": array_facts(values) for array, values in plans.items()}
        reads = ["logits"] if group.feature_dim is None else ["logits", "features"]
        for v in range(group.views):
            assert all(np.array_equal(plans[k][v], a) for k, a in group.plan(v).arrays().items())
            arrays |= {f"{name}/{read}/{v}": array_facts(getattr(group, read)(v)) for read in reads}
    return arrays


def record_facts(folder: Path) -> Facts:
    record = read_record(folder)
    return {
        "network": record.network,
        "fingerprint": record.dataset.fingerprint,
        "replicates": [
            {name: getattr(replicate, name) for name in ("seed", "top1_accuracy", "weights_sha256")}
            for replicate in record.replicates
        ],
    }


def kept_facts(folder: Path) -> Facts:
    """What `evaluate --kept` reads of each network."""
    params, data = load_yaml(folder / "params.yaml"), load_prepared(folder / "prepared")
    read = partial(load_kept, folder / "kept", params=params, fingerprint=data.fingerprint)
    runs = {
        f"{section}/{name}": read(section, name) for section in SECTIONS for name in params[section]
    }
    return {name: kept_numbers(run) for name, run in runs.items()}


def kept_numbers(run: Any) -> Facts:
    lists = json.loads(canonical_json(asdict(run.kept)))
    return {
        "scores": lists["scores"],
        "v_scores": lists["v_scores"],
        "accuracies": list(run.top1_accuracies),
        "last_epoch": [run.curves(replicate)["epoch"][-1] for replicate in range(run.count)],
    }


def checkpoint_facts(folder: Path) -> Facts:
    imported = folder / "imported"
    states = {
        "pth": foreign_weights(imported / "resnet8.pth", folder),
        "safetensors": load_weights(imported / "resnet8.safetensors"),
    }
    return {
        name: {
            "weights_sha256": weights_digest(state),
            "logits": [
                [float(f"{value:.6g}") for value in row] for row in logits_of(folder, state)[:4]
            ],
        }
        for name, state in states.items()
    }


def foreign_weights(path: Path, folder: Path) -> dict[str, torch.Tensor]:
    """The weights of a checkpoint in somebody's wrapping."""
    network = build("resnet8", len(load_prepared(folder / "prepared").class_names))
    return dict(read_foreign(path, network, name="resnet8").state)


def logits_of(folder: Path, state: dict[str, torch.Tensor]) -> np.ndarray:
    """The clean test logits, f4 [n, C], of a network that has these weights."""
    data = load_prepared(folder / "prepared")
    network = build("resnet8", len(data.class_names))
    load_into(network, state)
    bank = clean_bank(data.test.images, data.mean, data.std, torch.device("cpu"))
    return predict_clean(network, bank, 500)[0]
