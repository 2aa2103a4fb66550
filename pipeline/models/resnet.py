"""CIFAR ResNets (He et al., CVPR 2016): 6n+2 layers in three stages, and their x4 wide variants.

Initialisation: Kaiming normal, fan-out, for convolutions; PyTorch's default for the classifier.
"""

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor, nn
from torch.nn.functional import relu

from pipeline.models.network import Network, conv_bn, initialize_convolutions


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside the input, or its 1x1 convolution where the shape changes."""

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        same_shape = stride == 1 and in_channels == channels
        self.downsample = nn.Identity() if same_shape else conv_bn(in_channels, channels, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        """ReLU(residual + shortcut)."""
        out = relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        return relu(out + self.downsample(x))


def stage(in_channels: int, channels: int, blocks: int, stride: int) -> nn.Sequential:
    """Blocks of one width; the first one strides."""
    first = BasicBlock(in_channels, channels, stride)
    return nn.Sequential(first, *(BasicBlock(channels, channels, 1) for _ in range(blocks - 1)))


class ResNet(Network):
    """A 3x3 convolution, three stages at 1, 1/2 and 1/4 of the image size, and a classifier."""

    min_image_size: ClassVar[int] = 8

    def __init__(self, depth: int, widths: Sequence[int], num_classes: int) -> None:
        super().__init__()
        assert (depth - 2) % 6 == 0, f"a basic-block ResNet has 6n+2 layers, not {depth}"
        blocks = (depth - 2) // 6
        stem, width1, width2, width3 = widths
        self.conv1 = nn.Conv2d(3, stem, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(stem)
        self.layer1 = stage(stem, width1, blocks, stride=1)
        self.layer2 = stage(width1, width2, blocks, stride=2)
        self.layer3 = stage(width2, width3, blocks, stride=2)
        self.fc = nn.Linear(width3, num_classes)
        initialize_convolutions(self)

    @property
    def head(self) -> nn.Linear:
        """The classifier."""
        return self.fc

    def feature_map(self, images: Tensor) -> Tensor:
        """Last feature map [B, feature_dim, H/4, W/4]."""
        out: Tensor = relu(self.bn1(self.conv1(images)))
        out = self.layer3(self.layer2(self.layer1(out)))
        return out


NARROW = (16, 16, 32, 64)
WIDE_X4 = (32, 64, 128, 256)


def resnet8(num_classes: int) -> ResNet:
    """8 layers."""
    return ResNet(8, NARROW, num_classes)


def resnet14(num_classes: int) -> ResNet:
    """14 layers."""
    return ResNet(14, NARROW, num_classes)


def resnet20(num_classes: int) -> ResNet:
    """20 layers."""
    return ResNet(20, NARROW, num_classes)


def resnet32(num_classes: int) -> ResNet:
    """32 layers."""
    return ResNet(32, NARROW, num_classes)


def resnet44(num_classes: int) -> ResNet:
    """44 layers."""
    return ResNet(44, NARROW, num_classes)


def resnet56(num_classes: int) -> ResNet:
    """56 layers."""
    return ResNet(56, NARROW, num_classes)


def resnet110(num_classes: int) -> ResNet:
    """110 layers."""
    return ResNet(110, NARROW, num_classes)


def resnet8x4(num_classes: int) -> ResNet:
    """8 layers, four times as wide (the stem: twice)."""
    return ResNet(8, WIDE_X4, num_classes)


def resnet32x4(num_classes: int) -> ResNet:
    """32 layers, four times as wide (the stem: twice)."""
    return ResNet(32, WIDE_X4, num_classes)
