"""Logits and penultimate features of a whole data set or view."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.models.bfloat16 import fast_bfloat16
from pipeline.models.network import Network
from pipeline.views.batches import EpochData, ImageBank, ViewBatches
from pipeline.views.params import Augmentation

# What is computed at once where nobody says how many images: as many pixels as 500 of CIFAR have.
_MOST_IMAGES, _MOST_PIXELS = 500, 500 * 32 * 32


def place(network: Network, device: torch.device) -> Network:
    """Move a network to a device, and its convolutions to channels-last memory; returns the network."""
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
    """Logits f4 [N, C] and features f4 [N, D] of `count` images, in order, in eval mode.

    Computed in the network's own precision: float32, or that of `pipeline.dump.ready.ready`. Waits for
    a GPU once, at the end.

    Args:
        images_of: rows i8 [B] on the device -> images f4 [B, 3, H, W].
        batch_size: images per batch; another size may change the last bits.
        on_batch: called with the number of images after each batch (on a GPU: when it is queued).
    """
    was_training = network.training
    network.eval()
    on_gpu = device.type == "cuda"
    dtype = next(network.parameters()).dtype
    logits = torch.empty(count, network.num_classes, pin_memory=on_gpu)
    features = torch.empty(count, network.feature_dim, pin_memory=on_gpu)
    for start in range(0, count, batch_size):
        stop = min(start + batch_size, count)
        images = images_of(torch.arange(start, stop, device=device))
        with fast_bfloat16(device, asked=dtype == torch.bfloat16):
            outputs = network.forward_features(images.to(dtype))
        for output, whole in zip(outputs, (logits, features), strict=True):
            whole[start:stop].copy_(output.float(), non_blocking=True)
        on_batch(stop - start)
    network.train(was_training)
    if on_gpu:
        torch.cuda.current_stream(device).synchronize()
    return logits.numpy(), features.numpy()


def predict_epoch(
    network: Network,
    batches: ViewBatches,
    data: EpochData,
    batch_size: int,
    on_batch: Callable[[int], None] = lambda images: None,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Logits f4 [N, C] and features f4 [N, D] of all images, augmented by an epoch's plan."""
    batches.start(data)
    device = batches.bank.device
    return predict(network, batches.images, batches.count, batch_size, device, on_batch)


def clean_bank(
    images: NDArray[np.uint8],
    mean: tuple[float, float, float],
    std: tuple[float, float, float],
    device: torch.device,
) -> ImageBank:
    """An image bank of images u1 [N, H, W, 3] without padding or flips."""
    return ImageBank(images, mean, std, Augmentation(pad=0, flip=False), device)


def predict_clean(
    network: Network,
    bank: ImageBank,
    batch_size: int | None = None,
    on_batch: Callable[[int], None] = lambda images: None,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Logits f4 [N, C] and features f4 [N, D] of a bank's images, unaugmented.

    Args:
        batch_size: None: 500, and fewer of images larger than 32 x 32, whose activations take more memory.
    """
    places = bank.clean_places
    if batch_size is None:
        batch_size = max(1, min(_MOST_IMAGES, _MOST_PIXELS // (bank.height * bank.width)))

    def images_of(rows: Tensor) -> Tensor:
        return bank.normalise(bank.cut(places.index_select(0, rows)))

    return predict(network, images_of, bank.count, batch_size, bank.device, on_batch)
