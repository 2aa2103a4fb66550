"""Training data and loss of networks that learn from hard labels, with or without mixup.

A new view is drawn for every epoch, as in online training; nothing is stored.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor
from torch.nn.functional import cross_entropy

from pipeline.core.errors import DecantError
from pipeline.hard_labels.params import Mixup, WeightsFile
from pipeline.models.network import Network
from pipeline.models.weights import load_into, load_weights, weights_digest
from pipeline.views.batches import Batch, EpochData
from pipeline.views.params import Augmentation
from pipeline.views.plans import EpochPlan, ViewRecipe, draw_view, mixed_rows

# The views of training are numbered from here, those of stores from 0: a teacher and its dump with the
# same seed have different views.
TRAINING_VIEWS = 2**31


@dataclass(frozen=True)
class HardLabels:
    """The training data of the replicates of one entry: views of `count` images, drawn in each epoch.

    Replicate r draws its views with the seed `seed + r`.
    """

    augmentation: Augmentation
    mixup: Mixup | None
    seed: int
    count: int

    def of(self, replicate: int) -> "DrawnEpochs":
        """The epochs of one replicate."""
        return DrawnEpochs(self.augmentation, self.mixup, self.seed + replicate, self.count)

    def facts(self) -> dict[str, Any]:
        """Everything that determines them."""
        return asdict(self)


class DrawnEpochs:
    """Epochs of newly drawn views: random crops and flips, and mixup of a share of the images.

    >>> epochs = DrawnEpochs(Augmentation(pad=4, flip=True), Mixup(alpha=1.0, share=0.5), seed=0, count=6)
    >>> int(epochs(0).plan.mixed.sum())
    3
    """

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
        """Cross-entropy of logits f4 [B, C]; see `BatchLoss`."""
        return cross_entropy(logits, batch.targets)

    def facts(self) -> dict[str, Any]:
        """Its name; it has no hyper-parameters."""
        return {"loss": "cross-entropy"}


hard_label_loss = HardLabelLoss()


def read_weights(file: WeightsFile, network: Network, name: str) -> None:
    """Read weights that were trained elsewhere into a network with this name.

    Raises DecantError if they do not fit, or if their digest is not that of the parameters.
    """
    load_into(network, load_weights(Path(file.path)), source=file.path, name=name)
    digest = weights_digest(network)
    if digest != file.sha256:
        raise DecantError(
            f"{file.path}: its weights have the digest {digest}, params.yaml says {file.sha256}; "
            "put the right file there, or correct weights.sha256"
        )
