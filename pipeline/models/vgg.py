"""VGG (Simonyan and Zisserman, ICLR 2015) with batch normalisation and one linear classifier.

Initialisation: Kaiming normal, fan-out, for convolutions; N(0, 0.01^2) for the classifier;
biases 0.
"""

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor, nn
from torch.nn.functional import max_pool2d, relu

from pipeline.models.network import Network, initialize_classifier, initialize_convolutions

WIDTHS = (64, 128, 256, 512, 512)


def conv_block(in_channels: int, channels: int, convolutions: int) -> nn.Sequential:
    """3x3 convolutions, each with batch normalisation, and ReLUs between them.

    As in the zoo, the last ReLU stands outside the block, and convolutions keep their bias although
    batch normalisation makes it redundant.
    """
    layers: list[nn.Module] = []
    for _ in range(convolutions):
        layers += [nn.Conv2d(in_channels, channels, 3, padding=1), nn.BatchNorm2d(channels)]
        layers += [nn.ReLU()]
        in_channels = channels
    return nn.Sequential(*layers[:-1])


class VGG(Network):
    """Five blocks, max pooling after each of the first three, and a classifier.

    The last two blocks share one size, which suits images of 32x32. Images of 64x64 and more are
    pooled once more, before the last block, as the zoo does for 64x64.
    """

    min_image_size: ClassVar[int] = 16

    def __init__(self, convolutions: Sequence[int], num_classes: int) -> None:
        super().__init__()
        self.block0 = conv_block(3, WIDTHS[0], convolutions[0])
        self.block1 = conv_block(WIDTHS[0], WIDTHS[1], convolutions[1])
        self.block2 = conv_block(WIDTHS[1], WIDTHS[2], convolutions[2])
        self.block3 = conv_block(WIDTHS[2], WIDTHS[3], convolutions[3])
        self.block4 = conv_block(WIDTHS[3], WIDTHS[4], convolutions[4])
        self.classifier = nn.Linear(WIDTHS[4], num_classes)
        initialize_convolutions(self)
        initialize_classifier(self.classifier, std=0.01)

    @property
    def head(self) -> nn.Linear:
        """The classifier."""
        return self.classifier

    def feature_map(self, images: Tensor) -> Tensor:
        """Last feature map [B, 512, H/8, W/8] (from 64x64 pixels on: H/16, W/16)."""
        out = images
        for block in (self.block0, self.block1, self.block2):
            out = max_pool2d(relu(block(out)), 2)
        out = relu(self.block3(out))
        if min(images.shape[-2:]) >= 64:
            out = max_pool2d(out, 2)
        return relu(self.block4(out))


def vgg8(num_classes: int) -> VGG:
    """5 convolutions."""
    return VGG((1, 1, 1, 1, 1), num_classes)


def vgg11(num_classes: int) -> VGG:
    """8 convolutions."""
    return VGG((1, 1, 2, 2, 2), num_classes)


def vgg13(num_classes: int) -> VGG:
    """10 convolutions."""
    return VGG((2, 2, 2, 2, 2), num_classes)


def vgg16(num_classes: int) -> VGG:
    """13 convolutions."""
    return VGG((2, 2, 3, 3, 3), num_classes)


def vgg19(num_classes: int) -> VGG:
    """16 convolutions."""
    return VGG((2, 2, 4, 4, 4), num_classes)
