"""What training a teacher and training a baseline have in common."""

from pathlib import Path

from pipeline.hard_labels import (
    BaselineParams,
    DrawnEpochs,
    TeacherParams,
    hard_label_loss,
    read_weights,
)
from pipeline.models import build
from pipeline.params import section
from pipeline.prepared import load_prepared
from pipeline.views import Augmentation
from stages.common import load_machine, load_params
from stages.replicates import Job, resolve_training, train_and_publish, vscore_classes

ENTRIES: dict[str, type[TeacherParams] | type[BaselineParams]] = {
    "teacher": TeacherParams,
    "baseline": BaselineParams,
}


def train_on_hard_labels(
    kind: str, name: str, params_path: Path, prepared: Path, out: Path, *, graph: bool
) -> None:
    """Train (or read the weights of) one entry of `teachers` or `baselines` and publish it.

    `graph`: see `Trainer`.
    """
    content = load_params(params_path)
    params = section(content, ENTRIES[kind], f"{kind}s", name)
    augmentation = section(content, Augmentation, "augmentation")
    data = load_prepared(prepared)
    count = len(data.train.labels)
    weights = None
    if params.weights is not None:
        network = build(params.network, len(data.class_names))
        read_weights(params.weights, network)
        weights = network.state_dict()
    job = Job(
        kind=kind,
        name=name,
        entry=content[f"{kind}s"][name],
        network=params.network,
        seed=params.seed,
        replicates=params.replicates,
        training=resolve_training(content, params.training, f"{kind}s.{name}"),
        augmentation=augmentation,
        classes=vscore_classes(content, data),
        source=lambda replicate: DrawnEpochs(
            augmentation, params.mixup, params.seed + replicate, count
        ),
        loss=hard_label_loss,
        weights=weights,
    )
    train_and_publish(job, data, out, load_machine(content), graph=graph)
