"""Decant's own training loop in its three guises: from a store, on hard labels, with a live teacher."""

from collections.abc import Iterator
from typing import Any, Literal

import torch
from torch import Tensor

from benchmarks.setting import AUGMENTATION, BATCH, Setting
from benchmarks.teachers import teacher
from pipeline.distill.epochs import StoredEpochs
from pipeline.distill.method import DistillationLoss
from pipeline.distill.params import Method
from pipeline.hard_labels.epochs import DrawnEpochs, hard_label_loss
from pipeline.models.registry import build
from pipeline.store.read import Store
from pipeline.training.params import Schedule, TrainingParams
from pipeline.training.trainer import LossFunction, Trainer
from pipeline.views.batches import Batch, EpochSource, ImageBank, ViewBatches
from pipeline.views.predict import place

STUDENT = "resnet20"
KD: dict[str, Any] = {"loss": "kd", "temperature": 4.0, "gamma": 0.1, "alpha": 0.9}


def training(precision: str) -> TrainingParams:
    """The field's recipe."""
    assert precision in ("float32", "bfloat16")
    kind: Literal["float32", "bfloat16"] = "bfloat16" if precision == "bfloat16" else "float32"
    return TrainingParams(
        epochs=240,
        batch_size=BATCH,
        learning_rate=0.05,
        momentum=0.9,
        weight_decay=5e-4,
        schedule=Schedule(name="step", milestones=(150, 180, 210)),
        precision=kind,
    )


def kd_loss() -> LossFunction:
    """Hinton's loss against the teacher's logits of the batch."""
    return DistillationLoss(Method.parse("kd", KD))


class LiveTeacher:
    """Hinton's loss against a teacher that runs in the step, in eval mode and without gradients.

    It sees the student's batch, in the same memory layout and precision.
    """

    def __init__(self, name: str, classes: int, precision: str, device: torch.device) -> None:
        self.network = place(teacher(name, classes), device)
        self.lower = precision == "bfloat16"
        self._loss = kd_loss()

    def logits(self, images: Tensor) -> Tensor:
        """f4 [B, C] of images f4 [B, 3, H, W]."""
        with torch.no_grad(), torch.autocast(images.device.type, torch.bfloat16, self.lower):
            return self.network(images).float()  # type: ignore[no-any-return]

    def repeat(self, images: Tensor, times: int) -> None:
        """Nothing but the forward pass of a batch, some times over."""
        for _ in range(times):
            self.logits(images)

    def __call__(self, logits: Tensor, features: Tensor, batch: Batch, epoch: Tensor) -> Tensor:
        """The loss, as the training loop calls it."""
        online = Batch(batch.images, batch.targets, self.logits(batch.images), None)
        return self._loss(logits, features, online, epoch)


class Run:
    """An endless training of a student: `steps` takes some of its steps.

    `precision` is the setting's where none is given; `options` are the `Trainer`'s.
    """

    def __init__(
        self,
        setting: Setting,
        bank: ImageBank,
        source: EpochSource,
        loss: LossFunction,
        *,
        precision: str | None = None,
        **options: Any,
    ) -> None:
        data = setting.data
        batches = ViewBatches(bank, data.train.labels, len(data.class_names))
        params = training(precision or setting.precision)
        network = build(STUDENT, len(data.class_names))
        self.trainer = Trainer(network, batches, source, loss, params, seed=0, **options)
        self._steps = self._train()

    def steps(self, count: int) -> None:
        """Take some steps; those of an epoch follow each other, the first one begins it."""
        for _ in range(count):
            next(self._steps)

    def start_epoch(self) -> None:
        """What an epoch costs besides its steps: read the view, make it current."""
        self.trainer.batches.start(self.trainer.source(self.trainer.epoch))

    def _train(self) -> Iterator[Tensor]:
        while True:
            yield from self.trainer.steps(self.trainer.source(self.trainer.epoch))


def image_bank(setting: Setting) -> ImageBank:
    """The training images, padded and flipped."""
    data = setting.data
    return ImageBank(data.train.images, data.mean, data.std, AUGMENTATION, setting.device)


def stored(store: Store, share: float = 0.0) -> StoredEpochs:
    """Epochs from the store."""
    return StoredEpochs(store, share, replicate=0, seed=0)


def drawn(setting: Setting) -> DrawnEpochs:
    """Epochs of fresh views, without a teacher."""
    return DrawnEpochs(AUGMENTATION, None, 0, len(setting.data.train.labels))


def cached_run(
    setting: Setting, bank: ImageBank, precision: str | None = None, **options: Any
) -> Run:
    """Distillation from the store; arguments as for `Run`."""
    source = stored(setting.store)
    return Run(setting, bank, source, kd_loss(), precision=precision, **options)


def plain_run(setting: Setting, bank: ImageBank, precision: str | None = None) -> Run:
    """Cross-entropy on hard labels."""
    return Run(setting, bank, drawn(setting), hard_label_loss, precision=precision)


def online_run(
    setting: Setting, bank: ImageBank, teacher: str, precision: str | None = None
) -> tuple[Run, LiveTeacher]:
    """Distillation from a live teacher, and that teacher."""
    lower = precision or setting.precision
    live = LiveTeacher(teacher, len(setting.data.class_names), lower, setting.device)
    return Run(setting, bank, drawn(setting), live, precision=lower), live
