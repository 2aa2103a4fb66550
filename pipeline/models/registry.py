"""The networks of the field's CIFAR zoo (RepDistiller), by name.

`resnet50`, `mobilenetv2`, `shufflenetv1` and `shufflenetv2` are the zoo's `ResNet50`,
`mobile_half`, `ShuffleV1` and `ShuffleV2`; the `vgg`s are its variants with batch normalisation.
All take images of 32x32 pixels and more, all but `mobilenetv2` also 16x16 (see
`Network.min_image_size`). A network of the user's own is a subclass of `Network`, named by its path.
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


# Other names that the field has for them, in lower case; what follows from rules is not listed.
_OTHER_NAMES = {
    "mobile_half": "mobilenetv2",
    "shufflev1": "shufflenetv1",
    "shufflev2": "shufflenetv2",
    **{f"vgg{depth}_bn": f"vgg{depth}" for depth in (8, 11, 13, 16, 19)},
}


class NetworkError(DecantError):
    """A network that cannot be built: unknown, or none of ours."""


def own_name(name: str) -> str:
    """The project's name of a network that the field calls so: `ShuffleV1`, `WRN-40-2`, `vgg8_bn`.

    An unknown name is returned as it is.
    """
    plain = name.lower().replace("-", "_")
    plain = plain.removeprefix("cifar100_").removeprefix("cifar10_")
    plain = _OTHER_NAMES.get(plain, plain)
    return plain if plain in MODELS else name


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
