"""Networks built by name: those of `MODELS`, and the user's own, subclasses of `Network` named by path."""

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import torch

from pipeline.core import names
from pipeline.core.errors import DecantError, mistake_text
from pipeline.core.params import section
from pipeline.models.catalogue import MODELS, canonical_name
from pipeline.models.network import Network

T = TypeVar("T")


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
    builder = _load(name)
    if num_classes < 2:
        raise NetworkError(f"{name}: num_classes must be 2 or more, found {num_classes}")
    try:
        network = builder(num_classes)
        problem = _problem(network, num_classes)
    except Exception as error:
        if name in MODELS:
            raise
        reason = f"{type(error).__name__}: {mistake_text(error)}"
        raise NetworkError(
            f"{name}: cannot be built for {num_classes} classes ({reason})"
        ) from error
    if problem is not None:
        kind = type(network).__name__
        raise NetworkError(f"{name}: called with {num_classes} it returns {kind}, {problem}")
    assert isinstance(network, Network)
    return network


def _load(name: str) -> Callable[[int], Any]:
    return names.load(name, MODELS, "network", close=canonical_name(name))


def _problem(network: object, num_classes: int) -> str | None:
    """What is wrong with what a builder returned; None for nothing."""
    if not isinstance(network, Network):
        return "not a pipeline.models.network.Network"
    if not hasattr(network, "min_image_size"):
        return "which has no min_image_size (pixels a side)"
    head = network.head
    if not (hasattr(head, "in_features") and hasattr(head, "out_features")):
        return f"whose head is {type(head).__name__}, not a linear layer"
    if head.out_features != num_classes:
        return f"whose head has {head.out_features} logits"
    return None


def own_code_sha256(name: str) -> str | None:
    """Digest (hex) of the code of the user's own network; None for those of `MODELS`. Raises as `build`."""
    return names.own_code_sha256(name, MODELS, "network")


def check_asked_for(name: str, content: Mapping[str, Any] | None, source: Path) -> None:
    """Raise NetworkError for a name in somebody's file that neither `MODELS` nor params.yaml has.

    To be asked before such a network is built: any function that is installed can be named, and is called.

    Args:
        content: the whole parameter file, whose `teachers` may name the user's own; None: there is none.
        source: the file or store that holds the name.
    """
    teachers = section({"teachers": {}, **(content or {})}, dict[str, dict[str, Any]], "teachers")
    if name not in MODELS and name not in [entry.get("network") for entry in teachers.values()]:
        raise NetworkError(
            f"{source}: names the network {name[:200]!a}, which is none of Decant's and no teacher's in "
            "params.yaml; code that a file from elsewhere names is not run. If it is your own, write it "
            "there (teachers.NAME.network), or give the parameter file that has it (--params)"
        )


def examine(name: str, num_classes: int, look: Callable[[Network], T]) -> T:
    """What `look` finds in a network that is built on torch's meta device: without memory for its weights.

    One of the user's own may need numbers, which that device has not (`.item()`, `if tensor > 0`): then it
    is built on the CPU. Torch's global generator stays as it is. Raises as `build` and `look` do.
    """
    _load(name)  # first: tensors of the user's module, which is imported once, are to have numbers
    try:
        with torch.device("meta"):
            return look(build(name, num_classes))
    except Exception:
        if name in MODELS:
            raise
    with torch.random.fork_rng(devices=[]):
        return look(build(name, num_classes))


@cache
def check_image_size(name: str, image_size: int) -> None:
    """Raise DecantError if images of this many pixels a side are too small for a network.

    See `examine`: parameters can be checked before any work starts.

    >>> check_image_size("mobilenetv2", 16)
    Traceback (most recent call last):
    pipeline.core.errors.DecantError: MobileNetV2: images of 16x16 pixels are too small; use 32x32 ...
    """
    examine(name, 2, lambda network: network.check_image_size(image_size, image_size))
