"""Training on hard labels: teachers and baselines, with or without mixup.

Views are drawn afresh for every epoch, as the field does online; nothing is stored.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor
from torch.nn.functional import cross_entropy

from pipeline.hard_labels.params import Mixup, WeightsFile
from pipeline.models.network import Network
from pipeline.models.weights import load_into, load_weights, weights_digest
from pipeline.views.batches import Batch, EpochData
from pipeline.views.params import Augmentation
from pipeline.views.plans import EpochPlan, ViewRecipe, draw_view, mixed_rows

# Views of training are numbered from here, those of stores from 0: a teacher and its dump of the same
# seed still see different views.
TRAINING_VIEWS = 2**31


@dataclass(frozen=True)
class HardLabels:
    """What networks that are trained on hard labels see, by the number of the replicate.

    `count` is the number of training images; replicate r draws its views with the seed `seed + r`.
    """

    augmentation: Augmentation
    mixup: Mixup | None
    seed: int
    count: int

    def of(self, replicate: int) -> "DrawnEpochs":
        """The epochs of one replicate."""
        return DrawnEpochs(self.augmentation, self.mixup, self.seed + replicate, self.count)

    def facts(self) -> dict[str, Any]:
        """All that they follow from."""
        return asdict(self)


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


class HardLabelLoss:
    """Cross-entropy against the batch's (mixed) targets; nats, mean over the batch."""

    def __call__(self, logits: Tensor, features: Tensor, batch: Batch, epoch: Tensor) -> Tensor:
        """Of logits f4 [B, C]; see `BatchLoss`."""
        return cross_entropy(logits, batch.targets)

    def facts(self) -> dict[str, Any]:
        """It has no choices."""
        return {"loss": "cross-entropy"}


hard_label_loss = HardLabelLoss()


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
