"""A network's answers to a whole data set or view: logits and penultimate features."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.batches import EpochData, ImageBank, ViewBatches, clean_epoch
from pipeline.models.network import Network
from pipeline.views import Augmentation


def place(network: Network, device: torch.device) -> Network:
    """Move a network to a device, its convolutions to channels-last memory; returns it."""
    for parameter in network.parameters():
        if parameter.dim() == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    return network.to(device)


@torch.inference_mode()
def predict(
    network: Network,
    images_of: Callable[[Tensor], Tensor],
    count: int,
    batch_size: int,
    device: torch.device,
    on_batch: Callable[[int], None] = lambda images: None,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Logits f4 [N, C] and features f4 [N, D] of `count` images, in order, in eval mode and float32.

    Args:
        images_of: rows i8 [B] on the device -> images f4 [B, 3, H, W].
        batch_size: images a batch; another size may change the last bits.
        on_batch: called with the number of images of each finished batch.
    """
    training = network.training
    network.eval()
    logits = np.empty((count, network.num_classes), np.float32)
    features = np.empty((count, network.feature_dim), np.float32)
    for start in range(0, count, batch_size):
        stop = min(start + batch_size, count)
        images = images_of(torch.arange(start, stop, device=device))
        batch_logits, batch_features = network.forward_features(images)
        logits[start:stop] = batch_logits.float().cpu().numpy()
        features[start:stop] = batch_features.float().cpu().numpy()
        on_batch(stop - start)
    network.train(training)
    return logits, features


def predict_epoch(
    network: Network,
    batches: ViewBatches,
    data: EpochData,
    batch_size: int,
    on_batch: Callable[[int], None] = lambda images: None,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Logits f4 [N, C] and features f4 [N, D] of all images as an epoch's plan shows them."""
    batches.start(data)
    device = batches.bank.device
    return predict(network, batches.images, batches.count, batch_size, device, on_batch)


def clean_bank(
    images: NDArray[np.uint8],
    mean: tuple[float, float, float],
    std: tuple[float, float, float],
    device: torch.device,
) -> ImageBank:
    """An image bank that shows images u1 [N, H, W, 3] as they are: no padding, no flips."""
    return ImageBank(images, mean, std, Augmentation(pad=0, flip=False), device)


def predict_clean(
    network: Network, bank: ImageBank, batch_size: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Logits f4 [N, C] and features f4 [N, D] of a bank's images as they are."""
    labels = np.zeros(bank.count, np.int32)  # images need none
    batches = ViewBatches(bank, labels, network.num_classes)
    return predict_epoch(network, batches, clean_epoch(bank.count, bank.pad), batch_size)
