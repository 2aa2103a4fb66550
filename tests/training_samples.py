"""Small trainings that tests share: real digits and a tiny network, as often as needed from anew."""

from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from pipeline.core.dataset import ImageData
from pipeline.distill.method import DistillationLoss
from pipeline.distill.params import Method
from pipeline.hard_labels.epochs import DrawnEpochs, hard_label_loss
from pipeline.hard_labels.params import Mixup
from pipeline.models.network import Network
from pipeline.training.params import Schedule, TrainingParams
from pipeline.training.ranks import ALONE, PartBatches, Ranks
from pipeline.training.trainer import TestSet, Trainer
from pipeline.views.batches import EpochData, ImageBank, ViewBatches
from pipeline.views.params import Augmentation
from pipeline.views.predict import clean_bank

CPU = torch.device("cpu")
KD = DistillationLoss(Method("kd", "kd", {"temperature": 4.0, "gamma": 0.1, "alpha": 0.9}))
AUGMENTATION = Augmentation(pad=2, flip=False)
PARAMS = TrainingParams(
    epochs=3,
    batch_size=64,
    learning_rate=0.05,
    momentum=0.9,
    weight_decay=5e-4,
    schedule=Schedule(name="one_cycle"),
)


class Setup:
    """Real digits and a tiny network, from which a new trainer can be made again and again."""

    def __init__(
        self,
        data: ImageData,
        build: Callable[..., Network],
        device: torch.device = CPU,
        *,
        by_index: bool | None = None,
    ):
        self.data, self.build, self.device, self.by_index = data, build, device, by_index
        bank = clean_bank(data.test.images, data.mean, data.std, device)
        self.test = TestSet(bank, data.test.labels)

    def batches(self, count: int | None = None, ranks: Ranks = ALONE) -> ViewBatches:
        images, labels = self.data.train.images[:count], self.data.train.labels[:count]
        bank = ImageBank(
            images, self.data.mean, self.data.std, AUGMENTATION, self.device, by_index=self.by_index
        )
        return PartBatches(ranks, bank, labels, 10)

    def trainer(
        self,
        params=PARAMS,
        *,
        loss=hard_label_loss,
        source=None,
        count=None,
        seed=11,
        ranks=ALONE,
        **options,
    ) -> Trainer:
        batches = self.batches(count, ranks)
        drawn = DrawnEpochs(AUGMENTATION, Mixup(alpha=1.0, share=0.5), 7 + seed, batches.count)
        network = self.build(10, seed)
        options |= {"seed": seed, "ranks": ranks}
        return Trainer(network, batches, source or drawn, loss, params, **options)


def taught(count: int, share: float = 0.5, seed: int = 7):
    """Epochs with a random teacher's logits, another one in each epoch."""
    drawn = DrawnEpochs(AUGMENTATION, Mixup(alpha=1.0, share=share) if share else None, seed, count)

    def source(epoch: int) -> EpochData:
        generator = np.random.default_rng(epoch)
        logits = (3 * generator.normal(size=(count, 10))).astype(np.float16)
        return EpochData(drawn(epoch).plan, logits)

    return source


def with_dropout(build: Callable[..., Network]) -> Callable[..., Network]:
    """A builder of the same networks, whose classifier drops half of its features while it is trained."""

    def build_dropping(classes: int, seed: int) -> Network:
        network = build(classes, seed)
        network.fc.register_forward_pre_hook(
            lambda head, inputs: nn.functional.dropout(inputs[0], 0.5, head.training)
        )
        return network

    return build_dropping


def kd_loss(logits, features, batch, epoch):
    """Hinton's."""
    return KD(logits, features, batch, epoch)


def state(trainer: Trainer) -> dict[str, torch.Tensor]:
    """Weights, running statistics and momentum."""
    momentum = {
        f"momentum of {name}": trainer.optimiser.state[parameter]["momentum_buffer"]
        for name, parameter in trainer.network.named_parameters()
        if trainer.params.momentum
    }
    return {**trainer.network.state_dict(), **momentum}


def assert_equal_states(first: Trainer, second: Trainer) -> None:
    """The same bits."""
    ours, theirs = state(first), state(second)
    assert ours.keys() == theirs.keys()
    for name in ours:
        assert torch.equal(ours[name], theirs[name]), name
