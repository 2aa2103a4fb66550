"""What a network costs: floating-point operations and bytes, counted before anything runs.

Operations (FLOPs) are those of convolutions and matrix products, two for each multiply-add; the rest
of a network adds a few percent.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import torch
from torch.utils.flop_counter import FlopCounterMode

from pipeline.core.dataset import ImageData
from pipeline.models.network import Network
from pipeline.models.registry import build
from pipeline.training.jobs import Replicate

TRAINING_PASSES = 3  # forward, and twice as much backward


@dataclass(frozen=True)
class NetworkCost:
    """One network: operations of a forward pass of one image, bytes of its weights, feature width."""

    forward_flops: int
    state_bytes: int
    feature_dim: int


@cache
def network_cost(name: str, num_classes: int, image_size: int) -> NetworkCost:
    """Build a network without memory for its weights, and count. Raises ValueError as `build` does."""
    with torch.device("meta"):
        network = build(name, num_classes).eval()
    return NetworkCost(
        forward_flops=count_flops(network, image_size),
        state_bytes=sum(t.numel() * t.element_size() for t in network.state_dict().values()),
        feature_dim=network.feature_dim,
    )


def count_flops(network: Network, image_size: int) -> int:
    """Operations of a forward pass of one image, of a network on the meta device in eval mode."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(torch.empty(1, 3, image_size, image_size, device="meta"))
    return int(counter.get_total_flops())


def relative_costs(replicates: Sequence[Replicate], data: ImageData) -> list[float]:
    """What each replicate costs beside the others: operations where they can be counted, else epochs."""
    classes, size = len(data.class_names), data.train.images.shape[1]
    epochs = [r.job.training.epochs if r.job.weights is None else 1 for r in replicates]
    images = len(data.train.labels)
    try:
        flops = [network_cost(r.job.network, classes, size).forward_flops for r in replicates]
    except Exception:  # a network of the user's, which cannot be run without numbers
        return [float(count) for count in epochs]
    return [
        float(TRAINING_PASSES * count * images * operations)
        for count, operations in zip(epochs, flops, strict=True)
    ]
