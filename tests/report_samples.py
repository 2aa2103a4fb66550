"""A small project's results, made up: what training stages would leave behind, for tests of the report."""

import hashlib
import math
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.core.dataset import ImageData, Split, fingerprint, load_prepared, save_prepared
from pipeline.core.files import durable_write
from pipeline.core.machine import load_machine
from pipeline.core.params import section
from pipeline.evaluation.features import ClassFeatures, class_rows, save
from pipeline.evaluation.frame import Results, results_frame
from pipeline.evaluation.networks import feature_cache
from pipeline.evaluation.params import EvaluationParams
from pipeline.evaluation.runs import Run
from pipeline.results.record import (
    CURVES,
    RECORD,
    TEST_LOGITS,
    WEIGHTS,
    DatasetFacts,
    Record,
    ResultsError,
    read_record,
)
from pipeline.results.tensors import read_tensors
from pipeline.training.trainer import Curves

NAMES = ("zero", "one", "two", "three", "four", "five")
GROUPS = {"similar": ["one", "two", "three"], "different": ["zero", "four", "five"]}
EVALUATION = {
    "vscore": {"groups": GROUPS, "seed": 0, "n_init": 2},
    "tsne": {"images_per_class": 12, "perplexity": 5.0, "seed": 0},
    "floors": {"teachers": 0.9, "baselines": None, "students": 0.8},
    "paper_tables": False,
}
TRAINING = {
    "epochs": 4,
    "batch_size": 64,
    "learning_rate": 0.05,
    "momentum": 0.9,
    "weight_decay": 5e-4,
    "schedule": {"name": "cosine", "milestones": [], "factor": 0.1, "warmup": 0.25},
    "evaluate_every": 2,
    "precision": "float32",
}
TEST_IMAGES = 200
DATASET = {
    "name": "digits",
    "image_size": 8,
    "test_fraction": 0.625,
    "mean": [0.5, 0.5, 0.5],
    "std": [0.5, 0.5, 0.5],
}
FEATURES = "sample_features.safetensors"


def sample_data(test_images: int = TEST_IMAGES, names: tuple[str, ...] = NAMES) -> ImageData:
    """A data set of noise: its labels are what the report reads."""
    rng = np.random.default_rng(0)

    def split(count: int) -> Split:
        labels = (np.arange(count) % len(names)).astype(np.int32)
        return Split(rng.integers(0, 256, (count, 8, 8, 3)).astype(np.uint8), labels)

    train, test = split(20 * len(names)), split(test_images)
    digest = fingerprint(train, test, names)
    channels = (0.5, 0.5, 0.5)
    notes = {"image_size": 8, "seed": 0, "test": {"fraction": DATASET["test_fraction"]}}
    return ImageData("digits", train, test, names, channels, channels, digest, "test", notes)


def sample_logits(
    labels: np.ndarray, classes: int, accuracy: float, rng: np.random.Generator
) -> np.ndarray:
    """Logits f4 [N, C] of which exactly round(accuracy * N) are right."""
    logits = rng.normal(size=(len(labels), classes)).astype(np.float32)
    right = np.zeros(len(labels), bool)
    right[rng.permutation(len(labels))[: round(accuracy * len(labels))]] = True
    chosen = np.where(right, labels, (labels + 1) % classes)
    logits[np.arange(len(labels)), chosen] = logits.max(axis=1) + rng.uniform(0.5, 3, len(labels))
    return logits


def write_run(
    root: Path,
    data: ImageData,
    section: str,
    name: str,
    *,
    network: str = "resnet8",
    accuracies: tuple[float, ...] = (0.95,),
    mixup: dict[str, float] | None = None,
    teacher: dict[str, Any] | None = None,
    method: dict[str, Any] | None = None,
    share: float = 0.0,
    spread: float = 0.5,
    seed: int = 0,
    epochs: int = 4,
) -> dict[str, Any]:
    """Write ROOT/SECTION/NAME as a training stage would; returns its entry of params.yaml.

    `spread` is the deviation of a class's features around its centre.
    """
    folder = root / section / name
    entry: dict[str, Any] = {"network": network, "seed": seed}
    if section == "students":
        assert teacher is not None
        assert method is not None
        group = {0.0: "/plain", 1.0: "/mixed"}.get(share, "")
        entry |= {
            "store": f"{teacher['name']}.zarr{group}",
            "method": method["name"],
            "share": share,
        }
    else:
        entry["mixup"] = mixup
    replicates = []
    for replicate, accuracy in enumerate(accuracies):
        rng = np.random.default_rng([seed, replicate, *name.encode()])
        own = folder / f"replicate-{replicate}"
        own.mkdir(parents=True)
        given = f"{section}/{name}/{replicate}"
        replicates.append(_write_replicate(own, given, data, accuracy, spread, epochs, rng))
        replicates[-1] |= {"replicate": replicate, "seed": seed + replicate}
    record = sample_record(
        replicates,
        kind=section.removesuffix("s"),
        name=name,
        network=network,
        entry=entry,
        training={**TRAINING, "epochs": epochs},
        dataset=vars(DatasetFacts.of(data)),
        method=method,
        teacher=teacher,
    )
    durable_write(folder / RECORD, record.to_json())
    return entry


def sample_record(replicates: list[dict[str, Any]], **parts: Any) -> Record:
    """A record, all parts of which but these are made up; replicates need no more than an accuracy."""
    given = {"top5_accuracy": 1.0, "nll": 0.1, "train_loss": 0.1, "weights_sha256": "0" * 64}
    content = {
        "kind": "made up",
        "name": "made up",
        "parameters": 83892,
        "feature_dim": 8,
        "training": TRAINING,
        "augmentation": {"pad": 2, "flip": False},
        "dataset": vars(DatasetFacts.of(sample_data())),
        "replicates": [
            {"replicate": number, "seed": number, **given, **replicate}
            for number, replicate in enumerate(replicates)
        ],
        **parts,
    }
    return Record.parse(content, Path("made up"))


def sample_run(
    section: str,
    network: str,
    accuracies: tuple[float, ...],
    *,
    mixup: dict[str, float] | None = None,
    teacher: dict[str, Any] | None = None,
    method: dict[str, Any] | None = None,
    share: float = 0.0,
    name: str = "",
    **own: Any,
) -> Run:
    """A run with a record and no files, for what needs no more than its facts and accuracies.

    `own` is what else its entry says.
    """
    entry = (
        {"network": network, "share": share} if teacher else {"network": network, "mixup": mixup}
    ) | own
    record = sample_record(
        [{"top1_accuracy": accuracy} for accuracy in accuracies],
        network=network,
        entry=entry,
        training=TRAINING | own.get("training", {}),
        method=method,
        teacher=teacher,
    )
    return Run(section, name or f"{network}-{share}-{mixup}", Path("absent"), record)


def gather(runs: list[Run]) -> Results:
    """The results of runs of which no more than records is at hand."""
    return Results(results_frame(runs))


def _write_replicate(
    own: Path,
    name: str,
    data: ImageData,
    accuracy: float,
    spread: float,
    epochs: int,
    rng: np.random.Generator,
) -> dict[str, Any]:
    labels, classes = data.test.labels, len(data.class_names)
    logits = sample_logits(labels, classes, accuracy, rng)
    np.save(own / TEST_LOGITS, logits)
    rise = [accuracy * (1 - math.exp(-3 * (e + 1) / epochs)) for e in range(epochs)]
    rise[-1] = accuracy
    seen = [
        value if (e + 1) % 2 == 0 or e + 1 == epochs else math.nan for e, value in enumerate(rise)
    ]
    curves = Curves([0.05] * epochs, [1.0 - value / 2 for value in rise], seen, [1.0] * epochs)
    durable_write(own / CURVES, curves.to_csv().encode("ascii"))
    centres = 3 * np.eye(len(data.class_names), 8)
    arrays: list[np.ndarray] = []
    for split in (data.train, data.test):
        noise = rng.normal(scale=spread, size=(len(split.labels), 8))
        arrays += [np.maximum(centres[split.labels] + noise, 0).astype(np.float16), split.labels]
    save(ClassFeatures(*arrays), own / FEATURES)
    (own / WEIGHTS).write_bytes(name.encode())  # never read: features come from a cache
    return {
        "top1_accuracy": float((logits.argmax(axis=1) == labels).mean()),
        "weights_sha256": hashlib.sha256(name.encode()).hexdigest(),
    }


def sample_features(run: Run, replicate: int) -> ClassFeatures:
    """The features that a sample run is given."""
    tensors, _ = read_tensors(run.folder / f"replicate-{replicate}" / FEATURES)
    return ClassFeatures(**{name: tensor.numpy() for name, tensor in tensors.items()})


def cache_features(root: Path, content: dict[str, Any]) -> Path:
    """Write ROOT/features: the cache in which `evaluate` finds the features of all sample runs."""
    params = section(content, EvaluationParams, "evaluation")
    data, folder = load_prepared(root / "prepared"), root / "features"
    cache = feature_cache(load_machine(content), params, data, folder)
    for path in root.glob("*/*/record.json"):
        try:
            record = read_record(path.parent)
        except ResultsError:
            continue  # a test's damage
        run = Run(path.parent.parent.name, path.parent.name, path.parent, record)
        for replicate in range(run.count):
            whole = sample_features(run, replicate)
            chosen = []
            for split in ("train", "test"):
                labels = getattr(whole, f"{split}_labels")
                rows = class_rows(labels, cache.classes)
                chosen += [getattr(whole, f"{split}_features")[rows], labels[rows]]
            save(ClassFeatures(*chosen), cache.path(run, replicate))
    return folder


def teacher_facts(name: str, network: str, alpha: float | None = None) -> dict[str, Any]:
    """What a student's record says of its teacher."""
    return {
        "name": name,
        "network": network,
        "mixup_alpha": alpha,
        "weights_sha256": hashlib.sha256(f"teachers/{name}/0".encode()).hexdigest(),
        "top1_accuracy": 0.95,
        "views": {
            "plain": {"views": 8, "draw": "stratified", "alpha": None},
            "mixed": {"views": 8, "draw": "stratified", "alpha": 1.0},
        },
        "store": {"plain": "1" * 64, "mixed": "2" * 64},
    }


KD = {"name": "kd", "loss": "kd", "temperature": 4.0, "gamma": 0.1, "alpha": 0.9}
RESCALED = {"name": "rescaled", "loss": "rescaled", "gamma": 0.1, "alpha": 0.9}


def seen_facts(group: str = "mixed", images: int = 3) -> dict[str, Any]:
    """What a student's record says of a few images of the sample data."""
    first = [0, 30, 60, 90][:images]
    return {
        "group": group,
        "view": 0,
        "images": [
            {
                "image": {"index": index, "crop_yx": [place, 3], "flip": False},
                "partner": None
                if group == "plain"
                else {"index": index + 7, "crop_yx": [0, place], "flip": False},
                "lam": None if group == "plain" else 0.25 + 0.125 * place,
                "likely": [[(index + step) % 6, 0.5 - step / 10] for step in range(5)],
            }
            for place, index in enumerate(first)
        ],
    }


def sample_project(root: Path) -> dict[str, Any]:
    """Prepared data and eight networks below ROOT; returns the content of a params.yaml."""
    data = sample_data()
    save_prepared(data, root / "prepared")
    mixup = {"alpha": 1.0, "share": 1.0}
    plain = teacher_facts("big", "resnet20")
    teachers = {
        "big": write_run(root, data, "teachers", "big", network="resnet20"),
        "big-mixup": write_run(
            root, data, "teachers", "big-mixup", network="resnet20", mixup=mixup, spread=1.5
        ),
    }
    pair = (0.92, 0.95)
    baselines = {
        "small": write_run(root, data, "baselines", "small", accuracies=pair),
        "small-mixup": write_run(
            root, data, "baselines", "small-mixup", accuracies=(0.9, 0.94), mixup=mixup, spread=1.5
        ),
    }
    students = {
        f"big-small-{name}": write_run(
            root,
            data,
            "students",
            f"big-small-{name}",
            accuracies=(0.93 + step, 0.95 + step),
            teacher={**plain, "seen": seen_facts("mixed" if share else "plain")},
            method=method,
            share=share,
            seed=index,
        )
        for index, (name, method, share, step) in enumerate(
            (
                ("kd", KD, 0.0, 0.0),
                ("rescaled", RESCALED, 0.0, 0.01),
                ("rescaled-pmu10", RESCALED, 0.1, 0.02),
                ("rescaled-fmu", RESCALED, 1.0, 0.03),
            )
        )
    }
    return {
        "machine": {"data_root": "data/raw"},
        "dataset": DATASET,
        "teachers": teachers,
        "baselines": baselines,
        "students": students,
        "evaluation": EVALUATION,
    }


def evaluation_params(**changes: Any) -> EvaluationParams:
    """The evaluation section of the sample project."""
    content = {"evaluation": {**EVALUATION, **changes}}
    return section(content, EvaluationParams, "evaluation")


def folder_bytes(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, by its path inside."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}
