"""What training a teacher and training a baseline have in common."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.dataset_params import load_dataset
from pipeline.hard_labels import (
    BaselineParams,
    DrawnEpochs,
    TeacherParams,
    hard_label_loss,
    read_weights,
)
from pipeline.models import build
from pipeline.params import section
from pipeline.prepared import ImageData
from pipeline.views import Augmentation
from stages.common import load_machine
from stages.jobs import Job, resolve_training
from stages.training import train_and_publish

ENTRIES: dict[str, type[TeacherParams] | type[BaselineParams]] = {
    "teacher": TeacherParams,
    "baseline": BaselineParams,
}


def train_on_hard_labels(
    kind: str, outputs: Mapping[str, Path], content: dict[str, Any], prepared: Path, *, graph: bool
) -> None:
    """Train (or read the weights of) entries of `teachers` or `baselines` and publish them.

    Args:
        outputs: name -> folder to publish.
        content: the whole parameter file.
        graph: see `Trainer`.
    """
    data = load_dataset(prepared, content)
    jobs = {out: _job(kind, name, content, data) for name, out in outputs.items()}
    train_and_publish(jobs, data, load_machine(content), graph=graph)


def _job(kind: str, name: str, content: dict[str, Any], data: ImageData) -> Job:
    params = section(content, ENTRIES[kind], f"{kind}s", name)
    augmentation = section(content, Augmentation, "augmentation")
    count = len(data.train.labels)
    weights = None
    facts: dict[str, Any] = {}
    if params.weights is not None:
        network = build(params.network, len(data.class_names))
        read_weights(params.weights, network, params.network)
        weights = network.state_dict()
        own = params.weights.normalisation
        if own is not None and own != data.normalisation:
            facts["normalisation"] = own.facts()
    return Job(
        kind=kind,
        name=name,
        entry=content[f"{kind}s"][name],
        network=params.network,
        seed=params.seed,
        replicates=params.replicates,
        training=resolve_training(content, params.training, f"{kind}s.{name}"),
        augmentation=augmentation,
        source=lambda replicate: DrawnEpochs(
            augmentation, params.mixup, params.seed + replicate, count
        ),
        loss=hard_label_loss,
        weights=weights,
        facts=facts,
    )
