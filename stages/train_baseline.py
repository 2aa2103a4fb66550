"""Prepared data in, networks trained alone on hard labels out (`data/baselines/NAME`)."""

from pathlib import Path

import click

from pipeline.hard_labels import BaselineParams, DrawnEpochs, hard_label_loss
from pipeline.params import section
from pipeline.prepared import load_prepared
from pipeline.views import Augmentation
from stages.common import PREPARED, load_machine, load_params, path_option, stage_options
from stages.replicates import Job, resolve_training, train_and_publish, vscore_classes


@click.command()
@click.argument("name")
@path_option("--prepared", PREPARED, "Prepared data set.")
@path_option("--out", None, "Folder to write.  [default: data/baselines/NAME]")
@stage_options
def train_baseline(name: str, params_path: Path, prepared: Path, out: Path | None) -> None:
    """Train the replicates of the baseline NAME of params.yaml."""
    content = load_params(params_path)
    machine = load_machine(content)
    params = section(content, BaselineParams, "baselines", name)
    augmentation = section(content, Augmentation, "augmentation")
    data = load_prepared(prepared)
    count = len(data.train.labels)
    job = Job(
        kind="baseline",
        name=name,
        entry=content["baselines"][name],
        network=params.network,
        seed=params.seed,
        replicates=params.replicates,
        training=resolve_training(content, params.training, f"baselines.{name}"),
        augmentation=augmentation,
        classes=vscore_classes(content, data),
        source=lambda replicate: DrawnEpochs(
            augmentation, params.mixup, params.seed + replicate, count
        ),
        loss=hard_label_loss,
    )
    train_and_publish(job, data, out or Path("data/baselines") / name, machine)


if __name__ == "__main__":
    train_baseline()
