"""Entries of `teachers` and `baselines` as jobs: networks that learn from hard labels."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from pipeline.core.asked_dataset import load_dataset
from pipeline.core.dataset import ImageData
from pipeline.core.machine import load_machine
from pipeline.core.params import section
from pipeline.core.progress import Display
from pipeline.hard_labels.epochs import HardLabels, hard_label_loss, read_weights
from pipeline.hard_labels.params import BaselineParams, TeacherParams
from pipeline.models.registry import build
from pipeline.training.jobs import Job, resolve_training
from pipeline.training.work import train_and_publish
from pipeline.views.params import Augmentation

ENTRIES: dict[str, type[TeacherParams] | type[BaselineParams]] = {
    "teacher": TeacherParams,
    "baseline": BaselineParams,
}


def train_on_hard_labels(
    kind: str,
    outputs: Mapping[str, Path],
    content: dict[str, Any],
    prepared: Path,
    display: Display,
    *,
    graph: bool,
) -> None:
    """Train entries of `teachers` or `baselines` (or read their weights), and publish them.

    `outputs` maps names to the folders to publish, `content` is the whole parameter file; `graph`: see
    `Trainer`.
    """
    data = load_dataset(prepared, content)
    torch.set_num_threads(1)  # weights are looked at, and processes forked: see `run_in_processes`
    jobs = {out: hard_label_job(kind, name, content, data) for name, out in outputs.items()}
    train_and_publish(jobs, data, load_machine(content), display, graph=graph)


def hard_label_job(kind: str, name: str, content: dict[str, Any], data: ImageData) -> Job:
    """An entry of `teachers` or `baselines` as the training engine takes it."""
    params = section(content, ENTRIES[kind], f"{kind}s", name)
    augmentation = section(content, Augmentation, "augmentation")
    weights, normalisation = None, None
    if params.weights is not None:
        network = build(params.network, len(data.class_names))
        read_weights(params.weights, network, params.network)
        weights = network.state_dict()
        if params.weights.normalisation not in (None, data.normalisation):
            normalisation = params.weights.normalisation
    return Job(
        kind=kind,
        name=name,
        entry=content[f"{kind}s"][name],
        network=params.network,
        seed=params.seed,
        replicates=params.replicates,
        training=resolve_training(content, params.training, f"{kind}s.{name}"),
        augmentation=augmentation,
        epochs=HardLabels(augmentation, params.mixup, params.seed, len(data.train.labels)),
        loss=hard_label_loss,
        weights=weights,
        normalisation=normalisation,
    )
