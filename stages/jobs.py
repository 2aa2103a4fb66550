"""What a training stage works on: one entry of params.yaml as a `Job`."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from pipeline.batches import EpochSource
from pipeline.fit import LossFunction, TrainingParams, source_key
from pipeline.params import ParamsError, read
from pipeline.prepared import ImageData
from pipeline.views import Augmentation


@dataclass(frozen=True, kw_only=True)
class Job:
    """One entry of params.yaml that a training stage works on.

    `source` and `loss` make what the replicate of a given number trains with. `inputs` are digests of
    what is read besides the data set; `facts` go into the record. Where `weights` is given nothing is
    trained and these are published.
    """

    kind: str
    name: str
    entry: dict[str, Any]
    network: str
    seed: int
    replicates: int
    training: TrainingParams
    augmentation: Augmentation
    source: Callable[[int], EpochSource]
    loss: LossFunction
    inputs: dict[str, Any] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    weights: dict[str, torch.Tensor] | None = None

    @property
    def precision_key(self) -> str:
        """The key of params.yaml that its precision comes from."""
        return source_key(f"{self.kind}s.{self.name}", self.entry.get("training", {}), "precision")

    def key_facts(self, data: ImageData) -> dict[str, Any]:
        """What a finished replicate depends on besides code and device."""
        counted = ("replicates",)  # more of these reuse what is done
        return {
            "kind": self.kind,
            "entry": {k: v for k, v in self.entry.items() if k not in counted},
            "training": asdict(self.training),
            "augmentation": asdict(self.augmentation),
            "dataset": data.fingerprint,
            "normalisation": [data.mean, data.std],
            "inputs": self.inputs,
        }


def resolve_training(
    content: dict[str, Any], overrides: dict[str, Any], where: str
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
