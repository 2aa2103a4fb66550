"""The networks of the field's CIFAR zoo (RepDistiller), by name.

`resnet50`, `mobilenetv2`, `shufflenetv1` and `shufflenetv2` are the zoo's `ResNet50`,
`mobile_half`, `ShuffleV1` and `ShuffleV2`; the `vgg`s are its variants with batch normalisation.
All take images of 32x32 pixels and more, all but `mobilenetv2` also 16x16 (see
`Network.min_image_size`).
"""

from collections.abc import Callable
from difflib import get_close_matches
from functools import cache

import torch

from pipeline.models.mobilenetv2 import mobilenetv2
from pipeline.models.network import Network
from pipeline.models.resnet import (
    resnet8,
    resnet8x4,
    resnet14,
    resnet20,
    resnet32,
    resnet32x4,
    resnet44,
    resnet56,
    resnet110,
)
from pipeline.models.resnet50 import resnet50
from pipeline.models.shufflenetv1 import shufflenetv1
from pipeline.models.shufflenetv2 import shufflenetv2
from pipeline.models.vgg import vgg8, vgg11, vgg13, vgg16, vgg19
from pipeline.models.wrn import wrn_16_1, wrn_16_2, wrn_40_1, wrn_40_2

__all__ = ["MODELS", "Network", "build", "check_image_size", "own_name"]

MODELS: dict[str, Callable[[int], Network]] = {
    "resnet8": resnet8,
    "resnet14": resnet14,
    "resnet20": resnet20,
    "resnet32": resnet32,
    "resnet44": resnet44,
    "resnet56": resnet56,
    "resnet110": resnet110,
    "resnet8x4": resnet8x4,
    "resnet32x4": resnet32x4,
    "wrn_16_1": wrn_16_1,
    "wrn_16_2": wrn_16_2,
    "wrn_40_1": wrn_40_1,
    "wrn_40_2": wrn_40_2,
    "vgg8": vgg8,
    "vgg11": vgg11,
    "vgg13": vgg13,
    "vgg16": vgg16,
    "vgg19": vgg19,
    "resnet50": resnet50,
    "mobilenetv2": mobilenetv2,
    "shufflenetv1": shufflenetv1,
    "shufflenetv2": shufflenetv2,
}


# Other names that the field has for them, in lower case; what follows from rules is not listed.
_OTHER_NAMES = {
    "mobile_half": "mobilenetv2",
    "shufflev1": "shufflenetv1",
    "shufflev2": "shufflenetv2",
    **{f"vgg{depth}_bn": f"vgg{depth}" for depth in (8, 11, 13, 16, 19)},
}


def own_name(name: str) -> str:
    """The project's name of a network that the field calls so: `ShuffleV1`, `WRN-40-2`, `vgg8_bn`.

    An unknown name is returned as it is.
    """
    plain = name.lower().replace("-", "_")
    plain = plain.removeprefix("cifar100_").removeprefix("cifar10_")
    plain = _OTHER_NAMES.get(plain, plain)
    return plain if plain in MODELS else name


def build(name: str, num_classes: int) -> Network:
    """Build the network of that name; its weights are drawn from torch's global generator.

    Raises `ValueError` for an unknown name (the message lists the valid ones) and for fewer than
    two classes.
    """
    if name not in MODELS:
        close = [own_name(name)] if own_name(name) in MODELS else get_close_matches(name, MODELS, 1)
        hint = f"did you mean {close[0]}? Choose" if close else "choose"
        raise ValueError(f"unknown network {name!r}; {hint} one of: {', '.join(MODELS)}")
    if num_classes < 2:
        raise ValueError(f"{name}: num_classes must be 2 or more, found {num_classes}")
    return MODELS[name](num_classes)


@cache
def check_image_size(name: str, image_size: int) -> None:
    """Raise `ValueError` if images of this many pixels a side are too small for a network.

    Needs no weights, so parameters can be checked before any work starts.
    """
    with torch.device("meta"):
        network = build(name, num_classes=2)
    network.check_image_size(image_size, image_size)
