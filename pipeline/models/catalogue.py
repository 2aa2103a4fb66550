"""The networks of the field's CIFAR zoo (RepDistiller), by name, and what can be told without building one.

`resnet50`, `mobilenetv2`, `shufflenetv1` and `shufflenetv2` are the zoo's `ResNet50`,
`mobile_half`, `ShuffleV1` and `ShuffleV2`; the `vgg`s are its variants with batch normalisation.
All take images of 32x32 pixels and more, all but `mobilenetv2` also 16x16 (see
`Network.min_image_size`). Nothing here imports torch.
"""

import ast
from functools import cache

from pipeline.core.errors import DecantError
from pipeline.core.names import parsed

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


@cache
def smallest_image(name: str) -> int:
    """`min_image_size` of a network of `MODELS`, in pixels a side, as its module's text has it."""
    (size,) = {
        statement.value.value
        for node in ast.walk(parsed(MODELS[name].partition(":")[0]))
        if isinstance(node, ast.ClassDef)
        for statement in node.body
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.value, ast.Constant)
        if isinstance(statement.target, ast.Name) and statement.target.id == "min_image_size"
    }
    assert isinstance(size, int)
    return size


def check_size(network: str, smallest: int, height: int, width: int) -> None:
    """Raise DecantError if images of this size in pixels are too small for a network."""
    if min(height, width) < smallest:
        raise DecantError(
            f"{network}: images of {height}x{width} pixels are too small; use {smallest}x{smallest} or "
            "more, or a network with fewer strides"
        )
