"""An entry of params.yaml as the training engine takes it: a `Job`, and its replicates."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

from pipeline.core.dataset import ImageData
from pipeline.core.files import WorkFolder
from pipeline.core.normalisation import Normalisation
from pipeline.core.params import ParamsError, read
from pipeline.models.registry import own_code_sha256
from pipeline.models.weights import weights_digest
from pipeline.results.record import MethodFacts, TeacherFacts
from pipeline.training.params import TrainingParams
from pipeline.views.batches import Batch, EpochSource
from pipeline.views.params import Augmentation


class Epochs(Protocol):
    """The training data of a job: for each replicate a source of epochs."""

    def of(self, replicate: int) -> EpochSource:
        """The epochs of one replicate, by its number."""

    def facts(self) -> dict[str, Any]:
        """Everything that determines them, as JSON: parameters, and digests of the files they read."""


class BatchLoss(Protocol):
    """A loss as the training loop calls it."""

    def __call__(self, logits: Tensor, features: Tensor, batch: Batch, epoch: Tensor) -> Tensor:
        """Student logits [B, C], features [B, D], batch, progress in epochs [] -> scalar, nats."""

    def facts(self) -> dict[str, Any]:
        """Everything that determines it, as JSON: name, hyper-parameters, digest of the user's code."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """One entry of params.yaml to be trained.

    `kind` is teacher, baseline or student. `entry`, `method` and what `teacher` returns are copied into the
    record and change no number; `teacher` is called when that is written, because it may read a store that
    lies elsewhere, which nobody may do before processes are forked. If `weights` is given, nothing is
    trained and these weights are published; `normalisation` is theirs if it differs from the data set's.
    `ranks` is the number of processes that train each of its networks together.
    """

    kind: str
    name: str
    entry: Mapping[str, Any]
    network: str
    seed: int
    replicates: int
    training: TrainingParams
    augmentation: Augmentation
    epochs: Epochs
    loss: BatchLoss
    method: MethodFacts | None = None
    teacher: Callable[[], TeacherFacts] | None = None
    weights: Mapping[str, Tensor] | None = None
    normalisation: Normalisation | None = None
    ranks: int = 1

    def on(self, ranks: int) -> "Job":
        """This job on so many processes; networks that are not trained take none."""
        return self if self.weights is not None else replace(self, ranks=ranks)

    def training_facts(self) -> dict[str, Any]:
        """Its recipe; without `batch_statistics` on one process, where it changes no number.

        Keys and records are thus those of versions that knew one process only.
        """
        facts = asdict(self.training)
        if self.ranks == 1:
            del facts["batch_statistics"]
        return facts

    def key_facts(self, data: ImageData) -> dict[str, Any]:
        """Everything that a finished replicate depends on, besides code, versions and device.

        Left out: names, what only goes into the record, and the number of replicates, so that asking
        for more of them reuses the finished ones.
        """
        normalised = data.normalised(self.normalisation)
        return {
            "network": self.network,
            "own_network": own_code_sha256(self.network),
            "seed": self.seed,
            "training": self.training_facts(),
            "augmentation": asdict(self.augmentation),
            "epochs": self.epochs.facts(),
            "loss": self.loss.facts(),
            "weights": None if self.weights is None else weights_digest(self.weights),
            "dataset": data.fingerprint,
            "normalisation": [normalised.mean, normalised.std],
            **({} if self.ranks == 1 else {"ranks": self.ranks}),
        }


@dataclass(frozen=True)
class Replicate:
    """One network of a job; its files are in its own folder below `work`."""

    job: Job
    number: int
    work: Path

    @property
    def folder(self) -> Path:
        """Folder of its checkpoint and its results."""
        return self.work / f"replicate-{self.number}"

    @property
    def seed(self) -> int:
        """Seed of its weights and of the order of the images."""
        return self.job.seed + self.number

    @property
    def label(self) -> str:
        """Its name in progress messages."""
        return f"{self.job.kind} {self.job.name} #{self.number}"


def replicates_of(job: Job, work: WorkFolder) -> list[Replicate]:
    """All replicates of a job, in its work folder."""
    return [Replicate(job, number, work.path) for number in range(job.replicates)]


def resolve_training(
    content: Mapping[str, Any], overrides: Mapping[str, Any], where: str
) -> TrainingParams:
    """The shared `training` section, with the entry's own values in place of the shared ones.

    A `schedule` is replaced as a whole: milestones of a step schedule mean nothing to a cosine. Raises
    ParamsError; it names the entry if the entry overrides anything.

    >>> shared = dict(epochs=9, batch_size=64, learning_rate=0.1, momentum=0.9, weight_decay=0.0)
    >>> content = {"training": {**shared, "schedule": {"name": "cosine"}}}
    >>> resolve_training(content, {"epochs": 3}, "students.kd").epochs
    3
    """
    problems: list[str] = []
    name = f"{where}.training" if overrides else "training"
    result = read(TrainingParams, {**content.get("training", {}), **overrides}, name, problems)
    if problems:
        raise ParamsError(problems)
    assert isinstance(result, TrainingParams)
    return result
