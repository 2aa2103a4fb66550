"""How many operations this machine does in a second, measured for a few seconds on a small network.

The training step is the real one, augmentation and optimiser included, and so is the forward pass of
a dump, batch normalisation folded away. Random images do: the time does not depend on what they show.
"""

import time
from dataclasses import dataclass

import numpy as np
import torch

from pipeline.core.errors import DecantError
from pipeline.dump.ready import ready
from pipeline.hard_labels.epochs import DrawnEpochs, hard_label_loss
from pipeline.models.registry import build
from pipeline.training.cost import TRAINING_PASSES, network_cost
from pipeline.training.params import TrainingParams
from pipeline.training.trainer import Trainer
from pipeline.views.batches import ImageBank, ViewBatches
from pipeline.views.params import Augmentation
from pipeline.views.predict import predict

FORWARD_BATCH = 256
WARM_UP_STEPS = 2
STEPS_BETWEEN_LOOKS = 16


@dataclass(frozen=True)
class Rate:
    """Operations in a second (FLOP/s) of one process: in training steps, and in forward passes.

    The images in a second are those of the network that was measured; None where a rate was stated.
    """

    training: float
    forward: float
    images_per_second: float | None = None
    forward_images_per_second: float | None = None


def measure(
    network_name: str,
    training: TrainingParams,
    augmentation: Augmentation,
    num_classes: int,
    image_size: int,
    device: torch.device,
    seconds: float = 1.5,
) -> Rate:
    """Measure a network on random images for `seconds` in training, and as long in forward passes.

    Both are in the precision of `training`. Raises DecantError for a network whose operations cannot be
    counted here.
    """
    flops = network_cost(network_name, num_classes, image_size).forward_flops
    if not flops:
        raise DecantError(
            f"{network_name} does not run on a CPU, where operations are counted: measure another"
        )
    with torch.random.fork_rng(devices=[] if device.type == "cpu" else [device]):
        trainer = _trainer(network_name, training, augmentation, num_classes, image_size, device)
        trained = _training_rate(trainer, seconds)
        forward = _forward_rate(trainer, seconds)
    return Rate(TRAINING_PASSES * flops * trained, flops * forward, trained, forward)


def _trainer(
    network_name: str,
    training: TrainingParams,
    augmentation: Augmentation,
    num_classes: int,
    image_size: int,
    device: torch.device,
) -> Trainer:
    rng = np.random.Generator(np.random.Philox(key=0))
    count = 16 * training.batch_size
    images = rng.integers(0, 256, (count, image_size, image_size, 3), np.uint8)
    labels = rng.integers(0, num_classes, count, np.int32)
    bank = ImageBank(images, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25), augmentation, device)
    torch.manual_seed(0)
    return Trainer(
        build(network_name, num_classes),
        ViewBatches(bank, labels, num_classes),
        DrawnEpochs(augmentation, None, 0, count),
        hard_label_loss,
        training,
        seed=0,
    )


def _training_rate(trainer: Trainer, seconds: float) -> float:
    """Images in a second; ends with the last step that begins in time."""
    batch, steps, began = trainer.params.batch_size, 0, 0.0
    # To look at a GPU's loss is to wait for it, which training hardly does.
    between = 1 if trainer.device.type == "cpu" else STEPS_BETWEEN_LOOKS
    while True:
        for loss in trainer.steps(trainer.source(0)):
            steps += 1
            if steps < WARM_UP_STEPS or (steps - WARM_UP_STEPS) % between:
                continue
            now = _finished(loss)
            began = began or now
            if now - began >= seconds:
                return (steps - WARM_UP_STEPS) * batch / (now - began)


def _forward_rate(trainer: Trainer, seconds: float) -> float:
    """Images in a second; ends with the first batch, on a GPU with the first epoch, that ends late."""
    batches, device = trainer.batches, trainer.device
    size = (batches.bank.height, batches.bank.width)
    network = ready(trainer.network, size, trainer.params.precision)
    batches.start(trainer.source(0))
    # A GPU is waited for at the end of each call.
    count = min(FORWARD_BATCH, batches.count) if device.type == "cpu" else batches.count
    predict(network, batches.images, count, FORWARD_BATCH, device)
    images, began = 0, time.perf_counter()
    while (passed := time.perf_counter() - began) < seconds:
        predict(network, batches.images, count, FORWARD_BATCH, device)
        images += count
    return images / passed


def _finished(loss: torch.Tensor) -> float:
    """The time at which a step has really ended, on a device that works in the background."""
    loss.item()
    return time.perf_counter()
