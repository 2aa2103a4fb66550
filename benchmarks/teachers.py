"""Teachers for timing: untrained, but with batch-normalisation statistics that fit their weights."""

import torch
from torch import nn

from benchmarks.setting import BATCH, IMAGE_SIZE
from pipeline.models.network import Network
from pipeline.models.registry import build


def teacher(name: str, classes: int) -> Network:
    """A network in eval mode whose activations are of order one, as a trained one's are.

    With the statistics that a network starts with, a deep residual one would overflow.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = build(name, classes)
        images = torch.randn(BATCH, 3, IMAGE_SIZE, IMAGE_SIZE)
    settle(network, images)
    return network.eval()


@torch.no_grad()
def settle(network: nn.Module, images: torch.Tensor) -> None:
    """Make the running statistics those of a batch of images f4 [B, 3, H, W]."""
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 1.0
    network.train()(images)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
