"""Prepared data in, a trained (or imported) teacher and its record out (`data/teachers/NAME`)."""

from pathlib import Path
from typing import Any

import click
import torch

from pipeline.checkpoints import load_into, load_weights, weights_digest
from pipeline.hard_labels import DrawnEpochs, TeacherParams, hard_label_loss
from pipeline.models import build
from pipeline.params import section
from pipeline.prepared import load_prepared
from pipeline.views import Augmentation
from stages.common import PREPARED, load_machine, load_params, path_option, stage_options
from stages.replicates import Job, resolve_training, train_and_publish, vscore_classes


@click.command()
@click.argument("name")
@path_option("--prepared", PREPARED, "Prepared data set.")
@path_option("--out", None, "Folder to write.  [default: data/teachers/NAME]")
@stage_options
def train_teacher(name: str, params_path: Path, prepared: Path, out: Path | None) -> None:
    """Train the teacher NAME of params.yaml, or read its weights from a file."""
    content = load_params(params_path)
    machine = load_machine(content)
    params = section(content, TeacherParams, "teachers", name)
    augmentation = section(content, Augmentation, "augmentation")
    data = load_prepared(prepared)
    count = len(data.train.labels)
    job = Job(
        kind="teacher",
        name=name,
        entry=content["teachers"][name],
        network=params.network,
        seed=params.seed,
        replicates=1,
        training=resolve_training(content, params.training, f"teachers.{name}"),
        augmentation=augmentation,
        classes=vscore_classes(content, data),
        source=lambda replicate: DrawnEpochs(
            augmentation, params.mixup, params.seed + replicate, count
        ),
        loss=hard_label_loss,
        weights=read_weights(params, len(data.class_names)),
    )
    train_and_publish(job, data, out or Path("data/teachers") / name, machine)


def read_weights(params: TeacherParams, num_classes: int) -> dict[str, Any] | None:
    """The weights that `weights` names, checked; None where the teacher is to be trained."""
    if params.weights is None:
        return None
    network = build(params.network, num_classes)
    load_into(network, load_weights(Path(params.weights.path)))
    state: dict[str, torch.Tensor] = network.state_dict()
    digest = weights_digest(state)
    if digest != params.weights.sha256:
        raise ValueError(
            f"{params.weights.path}: its weights have the digest {digest}, params.yaml says "
            f"{params.weights.sha256}; put the right file there, or mend weights.sha256"
        )
    return state


if __name__ == "__main__":
    train_teacher()
