"""Networks built by name: those of `MODELS`, and the user's own, subclasses of `Network` named by path."""

from functools import cache

import torch

from pipeline.core import names
from pipeline.core.errors import DecantError
from pipeline.models.catalogue import MODELS, canonical_name
from pipeline.models.network import Network


class NetworkError(DecantError):
    """A network that cannot be built."""


def build(name: str, num_classes: int) -> Network:
    """Build a network by its name, or by the path of the user's own (`own.networks.module:Class`).

    The weights are drawn from torch's global generator. Raises UnknownNameError for an unknown name (the
    message lists the valid ones), NetworkError for fewer than two classes or if the user's own code does
    not build a `Network` with that many logits.

    >>> network = build("resnet20", 100)
    >>> sum(weight.numel() for weight in network.parameters())
    278324
    >>> [tuple(output.shape) for output in network.forward_features(torch.zeros(2, 3, 32, 32))]
    [(2, 100), (2, 64)]
    """
    builder = names.load(name, MODELS, "network", close=canonical_name(name))
    if num_classes < 2:
        raise NetworkError(f"{name}: num_classes must be 2 or more, found {num_classes}")
    try:
        network = builder(num_classes)
    except Exception as error:
        if name in MODELS:
            raise
        reason = f"{type(error).__name__}: {error}"
        raise NetworkError(
            f"{name}: cannot be built for {num_classes} classes ({reason})"
        ) from error
    if not isinstance(network, Network) or network.num_classes != num_classes:
        raise NetworkError(
            f"{name}: called with {num_classes} it returns {type(network).__name__}, not a "
            f"pipeline.models.network.Network with that many logits"
        )
    return network


def own_code_sha256(name: str) -> str | None:
    """Digest (hex) of the code of the user's own network; None for those of `MODELS`. Raises as `build`."""
    return names.own_code_sha256(name, MODELS, "network")


@cache
def check_image_size(name: str, image_size: int) -> None:
    """Raise `ValueError` if images of this many pixels a side are too small for a network.

    Allocates no weights, so that parameters can be checked before any work starts.

    >>> check_image_size("mobilenetv2", 16)
    Traceback (most recent call last):
    ValueError: MobileNetV2: images of 16x16 pixels are too small; use 32x32 or more, ...
    """
    with torch.device("meta"):
        network = build(name, num_classes=2)
    network.check_image_size(image_size, image_size)
