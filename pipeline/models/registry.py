"""Networks built by name: those of `MODELS`, and the user's own, subclasses of `Network` named by path."""

from functools import cache

import torch

from pipeline.core import names
from pipeline.core.errors import DecantError
from pipeline.models.catalogue import MODELS, own_name
from pipeline.models.network import Network


class NetworkError(DecantError):
    """A network that cannot be built: unknown, or none of ours."""


def build(name: str, num_classes: int) -> Network:
    """Build the network of a name, or of a path to the user's own (`package.module:Class`).

    Its weights are drawn from torch's global generator. Raises NetworkError for fewer than two classes
    and for a function that builds no `Network` of that many, UnknownNameError for an unknown name (the
    message lists the valid ones).
    """
    builder = names.load(name, MODELS, "network", close=own_name(name))
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
            f"{name}: called with {num_classes} it gives {type(network).__name__}, not a "
            f"pipeline.models.network.Network of so many logits"
        )
    return network


def own_code_sha256(name: str) -> str | None:
    """Digest (hex) of the code of the user's own network; None for those of `MODELS`. Raises as `build`."""
    return names.own_code_sha256(name, MODELS, "network")


@cache
def check_image_size(name: str, image_size: int) -> None:
    """Raise `ValueError` if images of this many pixels a side are too small for a network.

    Needs no weights, so parameters can be checked before any work starts.
    """
    with torch.device("meta"):
        network = build(name, num_classes=2)
    network.check_image_size(image_size, image_size)
