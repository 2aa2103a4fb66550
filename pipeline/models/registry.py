"""The networks of the field's CIFAR zoo (RepDistiller), by name.

`resnet50`, `mobilenetv2`, `shufflenetv1` and `shufflenetv2` are the zoo's `ResNet50`, `mobile_half`,
`ShuffleV1` and `ShuffleV2`; each `vgg` is its variant with batch normalisation. All of them take images of
32x32 pixels and larger, all but `mobilenetv2` also 16x16 (see `Network.min_image_size`). A network of the
user's own is a subclass of `Network` and is named by its path.
"""

from functools import cache

import torch

from pipeline.core import names
from pipeline.core.errors import DecantError
from pipeline.models.network import Network

MODELS = {
    "resnet8": "pipeline.models.resnet:resnet8",
    "resnet14": "pipeline.models.resnet:resnet14",
    "resnet20": "pipeline.models.resnet:resnet20",
    "resnet32": "pipeline.models.resnet:resnet32",
    "resnet44": "pipeline.models.resnet:resnet44",
    "resnet56": "pipeline.models.resnet:resnet56",
    "resnet110": "pipeline.models.resnet:resnet110",
    "resnet8x4": "pipeline.models.resnet:resnet8x4",
    "resnet32x4": "pipeline.models.resnet:resnet32x4",
    "wrn_16_1": "pipeline.models.wrn:wrn_16_1",
    "wrn_16_2": "pipeline.models.wrn:wrn_16_2",
    "wrn_40_1": "pipeline.models.wrn:wrn_40_1",
    "wrn_40_2": "pipeline.models.wrn:wrn_40_2",
    "vgg8": "pipeline.models.vgg:vgg8",
    "vgg11": "pipeline.models.vgg:vgg11",
    "vgg13": "pipeline.models.vgg:vgg13",
    "vgg16": "pipeline.models.vgg:vgg16",
    "vgg19": "pipeline.models.vgg:vgg19",
    "resnet50": "pipeline.models.resnet50:resnet50",
    "mobilenetv2": "pipeline.models.mobilenetv2:mobilenetv2",
    "shufflenetv1": "pipeline.models.shufflenetv1:shufflenetv1",
    "shufflenetv2": "pipeline.models.shufflenetv2:shufflenetv2",
}

# Other names in the field, in lower case; names that `canonical_name` derives by rule are not listed.
_OTHER_NAMES = {
    "mobile_half": "mobilenetv2",
    "shufflev1": "shufflenetv1",
    "shufflev2": "shufflenetv2",
    **{f"vgg{depth}_bn": f"vgg{depth}" for depth in (8, 11, 13, 16, 19)},
}


class NetworkError(DecantError):
    """A network that cannot be built."""


def canonical_name(name: str) -> str:
    """The name in `MODELS` of a network, given a name that the field uses for it.

    An unknown name is returned unchanged.

    >>> [canonical_name(name) for name in ("ShuffleV1", "WRN-40-2", "cifar100_vgg8_bn", "mine")]
    ['shufflenetv1', 'wrn_40_2', 'vgg8', 'mine']
    """
    lowered = name.lower().replace("-", "_")
    lowered = lowered.removeprefix("cifar100_").removeprefix("cifar10_")
    lowered = _OTHER_NAMES.get(lowered, lowered)
    return lowered if lowered in MODELS else name


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
