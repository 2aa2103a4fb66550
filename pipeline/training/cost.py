"""What a network costs: floating-point operations and bytes, counted before anything runs.

Operations (FLOPs) are those of convolutions and matrix products, two for each multiply-add; the rest
of a network adds a few percent.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, partial

import torch
from torch.utils.flop_counter import FlopCounterMode

from pipeline.core.dataset import ImageData
from pipeline.core.errors import DecantError
from pipeline.models.catalogue import MODELS
from pipeline.models.network import Network
from pipeline.models.registry import examine
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
    """Build a network, if possible without memory for its weights, and count.

    The operations of one of the user's own that does not run on a CPU are 0. Raises as `build`.
    """
    count = partial(_cost, image_size=image_size)
    try:
        return examine(name, num_classes, count)
    except DecantError:
        raise
    except Exception:  # whatever the user's code raises
        if name in MODELS:
            raise
        return examine(name, num_classes, partial(_cost, image_size=None))


def _cost(network: Network, image_size: int | None) -> NetworkCost:
    """What a network costs; without an image size its operations are not counted."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        if image_size is not None:
            network.eval()(torch.zeros(1, 3, image_size, image_size))
    return NetworkCost(
        forward_flops=int(counter.get_total_flops()),
        state_bytes=sum(t.numel() * t.element_size() for t in network.state_dict().values()),
        feature_dim=network.feature_dim,
    )


def relative_costs(replicates: Sequence[Replicate], data: ImageData) -> list[int]:
    """What each replicate costs beside the others, in operations of its training steps.

    Only the order of trainings and the time left hang on it: where a network cannot be counted, as one that
    runs on a GPU alone, all count alike.
    """
    classes, size = len(data.class_names), data.train.images.shape[1]
    try:
        flops = [network_cost(r.job.network, classes, size).forward_flops for r in replicates]
    except DecantError:  # its training will say it
        flops = [0]
    if not all(flops):
        flops = [1] * len(replicates)
    epochs = [1 if r.job.weights is not None else r.job.training.epochs for r in replicates]
    return [
        TRAINING_PASSES * count * len(data.train.labels) * each
        for count, each in zip(epochs, flops, strict=True)
    ]
