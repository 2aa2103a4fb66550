"""What a training stage hands to the engine: one entry of params.yaml as a `Job`, and its replicates."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

from pipeline.core.dataset import ImageData, Normalisation
from pipeline.core.files import WorkFolder
from pipeline.core.params import ParamsError, read
from pipeline.models.registry import own_code_sha256
from pipeline.models.weights import weights_digest
from pipeline.results.record import MethodFacts, TeacherFacts
from pipeline.training.params import TrainingParams, source_key
from pipeline.views.batches import Batch, EpochSource
from pipeline.views.params import Augmentation


class Epochs(Protocol):
    """What the replicates of a job learn from."""

    def of(self, replicate: int) -> EpochSource:
        """The epochs of the replicate of a number."""

    def facts(self) -> dict[str, Any]:
        """All that they follow from, as JSON: parameters, and digests of what is read."""


class BatchLoss(Protocol):
    """A loss as the training loop calls it."""

    def __call__(self, logits: Tensor, features: Tensor, batch: Batch, epoch: Tensor) -> Tensor:
        """Student logits [B, C], features [B, D], batch, progress in epochs [] -> scalar, nats."""

    def facts(self) -> dict[str, Any]:
        """Name, hyper-parameters and, of the user's own code, a digest; as JSON."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """One entry of params.yaml that the engine trains.

    `entry`, `method` and `teacher` go into the record and change no number. Where `weights` is given
    nothing is trained and these are published; `normalisation` is then the one of their images, where
    that is not the data set's own.
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
    teacher: TeacherFacts | None = None
    weights: Mapping[str, Tensor] | None = None
    normalisation: Normalisation | None = None

    @property
    def precision_key(self) -> str:
        """The key of params.yaml that its precision comes from."""
        return source_key(f"{self.kind}s.{self.name}", self.entry.get("training", {}), "precision")

    def key_facts(self, data: ImageData) -> dict[str, Any]:
        """All that a finished replicate depends on besides code, versions and device.

        That is everything but names, what only the record tells, and the number of replicates: more of
        them reuse what is done.
        """
        seen = data.normalised(self.normalisation)
        return {
            "network": self.network,
            "own_network": own_code_sha256(self.network),
            "seed": self.seed,
            "training": asdict(self.training),
            "augmentation": asdict(self.augmentation),
            "epochs": self.epochs.facts(),
            "loss": self.loss.facts(),
            "weights": None if self.weights is None else weights_digest(self.weights),
            "dataset": data.fingerprint,
            "normalisation": [seen.mean, seen.std],
        }


@dataclass(frozen=True)
class Replicate:
    """One network of a job; its files lie in a folder of its own below `work`."""

    job: Job
    number: int
    work: Path

    @property
    def folder(self) -> Path:
        """Where it keeps its checkpoint, and what it leaves."""
        return self.work / f"replicate-{self.number}"

    @property
    def seed(self) -> int:
        """Of its weights and of the order of the images."""
        return self.job.seed + self.number

    @property
    def label(self) -> str:
        """What progress calls it."""
        return f"{self.job.name} #{self.number}"


def replicates_of(job: Job, work: WorkFolder) -> list[Replicate]:
    """All networks of a job, in its work folder."""
    return [Replicate(job, number, work.path) for number in range(job.replicates)]


def resolve_training(
    content: Mapping[str, Any], overrides: Mapping[str, Any], where: str
) -> TrainingParams:
    """The shared `training` section with an entry's own values in place of the shared ones.

    A `schedule` is replaced whole: a step schedule's milestones mean nothing to a cosine. Raises
    ParamsError, naming the entry where it overrides anything.
    """
    problems: list[str] = []
    name = f"{where}.training" if overrides else "training"
    result = read(TrainingParams, {**content.get("training", {}), **overrides}, name, problems)
    if problems:
        raise ParamsError(problems)
    assert isinstance(result, TrainingParams)
    return result
