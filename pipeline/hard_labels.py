"""Training on hard labels: teachers and baselines, with or without mixup.

Views are drawn afresh for every epoch, as the field does online; nothing is stored.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from torch import Tensor
from torch.nn.functional import cross_entropy

from pipeline.batches import Batch, EpochData
from pipeline.checkpoints import load_into, load_weights, weights_digest
from pipeline.models.network import Network
from pipeline.params import Above, AtLeast, Between, Seed
from pipeline.prepared import Channels, Normalisation, normalisation_problems
from pipeline.views import Augmentation, EpochPlan, ViewRecipe, draw_view, mixed_rows


@dataclass(frozen=True, kw_only=True)
class Mixup:
    """Mixup of a hard-label run: Beta(alpha, alpha) per image, on a share of the images."""

    alpha: Annotated[float, Above(0)]
    share: Annotated[float, Between(0, 1)] = 1.0


@dataclass(frozen=True, kw_only=True)
class WeightsFile:
    """Weights that were trained elsewhere: a safetensors file and the digest of its weights.

    `mean` and `std` are of the normalisation that they were trained under; both null: the data set's.
    """

    path: str
    sha256: str
    mean: Channels | None = None
    std: Channels | None = None

    def __post_init__(self) -> None:
        problems = normalisation_problems(self.mean, self.std)
        if (self.mean is None) != (self.std is None):
            problems["std" if self.std is None else "mean"] = "mean and std go together, give both"
        if problems:
            raise ValueError("; ".join(f"{key}: {text}" for key, text in problems.items()))

    @property
    def normalisation(self) -> Normalisation | None:
        """The weights' own normalisation, if one is given."""
        if self.mean is None or self.std is None:
            return None
        return Normalisation(self.mean, self.std)


@dataclass(frozen=True, kw_only=True)
class TeacherParams:
    """One entry of `teachers`: a network that is trained, or read from `weights`, to be dumped.

    `training` overrides keys of the shared `training` section.
    """

    network: str
    seed: Seed
    mixup: Mixup | None = None
    weights: WeightsFile | None = None
    training: dict[str, Any] = field(default_factory=dict)
    replicates: int = field(default=1, init=False)


@dataclass(frozen=True, kw_only=True)
class BaselineParams:
    """One entry of `baselines`: a network trained alone; replicate r has the seed `seed + r`."""

    network: str
    seed: Seed
    replicates: Annotated[int, AtLeast(1)]
    mixup: Mixup | None = None
    training: dict[str, Any] = field(default_factory=dict)
    weights: None = field(default=None, init=False)


# Views of training are numbered from here, those of stores from 0: a teacher and its dump of the same
# seed still see different views.
TRAINING_VIEWS = 2**31


class DrawnEpochs:
    """Epochs of fresh random views: crops and flips, and mixup of a share of the images."""

    def __init__(
        self, augmentation: Augmentation, mixup: Mixup | None, seed: int, count: int
    ) -> None:
        self.recipe = ViewRecipe(
            pad=augmentation.pad,
            flip=augmentation.flip,
            draw="random",
            alpha=mixup.alpha if mixup else None,
            seed=seed,
        )
        self.share = mixup.share if mixup else 0.0
        self.count = count

    def __call__(self, epoch: int) -> EpochData:
        """Draw the plan of an epoch."""
        if self.share == 0:
            mixed = np.zeros(self.count, np.bool_)
            view = draw_view("plain", self.recipe, TRAINING_VIEWS + epoch, self.count)
        else:
            view = draw_view("mixed", self.recipe, TRAINING_VIEWS + epoch, self.count)
            assert view.mix_rank is not None
            mixed = mixed_rows(view.mix_rank, self.share)
        plan = EpochPlan.blank(mixed)
        plan.fill(view.unmixed(), ~mixed)
        plan.fill(view, mixed)
        return EpochData(plan)


def hard_label_loss(logits: Tensor, features: Tensor, batch: Batch, epoch: Tensor) -> Tensor:
    """Cross-entropy against the batch's (mixed) targets; nats, mean over the batch."""
    return cross_entropy(logits, batch.targets)


def read_weights(file: WeightsFile, network: Network, name: str) -> None:
    """Read weights that were trained elsewhere into a network; `name` is the network's.

    Raises ValueError where they do not fit, or are not the ones that the parameters name.
    """
    load_into(network, load_weights(Path(file.path)), source=file.path, name=name)
    digest = weights_digest(network)
    if digest != file.sha256:
        raise ValueError(
            f"{file.path}: its weights have the digest {digest}, params.yaml says {file.sha256}; "
            "put the right file there, or mend weights.sha256"
        )
