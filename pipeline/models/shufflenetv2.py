"""ShuffleNet V2 (Ma et al., ECCV 2018) at width 1, as the field uses it on CIFAR.

Departure from the paper, the zoo's: a 1x1 stem of stride 1 without max pooling.

Initialisation: PyTorch's default throughout (Kaiming uniform, not fan-out normal), as in the zoo.
"""

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import channel_shuffle, relu

from pipeline.models.network import Network

STEM_CHANNELS = 24
STAGES = ((116, 4), (232, 8), (464, 4))  # channels, blocks
LAST_CHANNELS = 1024


def depthwise(channels: int, stride: int) -> nn.Conv2d:
    """3x3 depthwise convolution."""
    return nn.Conv2d(channels, channels, 3, stride, padding=1, groups=channels, bias=False)


def pointwise(in_channels: int, out_channels: int) -> nn.Conv2d:
    """1x1 convolution."""
    return nn.Conv2d(in_channels, out_channels, 1, bias=False)


class BasicUnit(nn.Module):
    """Leaves half of the channels as they are, convolves the other half, then shuffles both."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.conv1 = pointwise(half, half)
        self.bn1 = nn.BatchNorm2d(half)
        self.conv2 = depthwise(half, stride=1)
        self.bn2 = nn.BatchNorm2d(half)
        self.conv3 = pointwise(half, half)
        self.bn3 = nn.BatchNorm2d(half)

    def forward(self, x: Tensor) -> Tensor:
        """Return the shape of the input."""
        untouched, out = x.chunk(2, dim=1)
        out = relu(self.bn1(self.conv1(out)))
        out = self.bn2(self.conv2(out))
        out = relu(self.bn3(self.conv3(out)))
        return channel_shuffle(torch.cat((untouched, out), dim=1), 2)


class DownUnit(nn.Module):
    """Convolves all channels along two branches that halve the size, then shuffles both."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        half = out_channels // 2
        # left branch
        self.conv1 = depthwise(in_channels, stride=2)
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.conv2 = pointwise(in_channels, half)
        self.bn2 = nn.BatchNorm2d(half)
        # right branch
        self.conv3 = pointwise(in_channels, half)
        self.bn3 = nn.BatchNorm2d(half)
        self.conv4 = depthwise(half, stride=2)
        self.bn4 = nn.BatchNorm2d(half)
        self.conv5 = pointwise(half, half)
        self.bn5 = nn.BatchNorm2d(half)

    def forward(self, x: Tensor) -> Tensor:
        """[B, out_channels, H/2, W/2]."""
        left = self.bn1(self.conv1(x))
        left = relu(self.bn2(self.conv2(left)))
        right = relu(self.bn3(self.conv3(x)))
        right = self.bn4(self.conv4(right))
        right = relu(self.bn5(self.conv5(right)))
        return channel_shuffle(torch.cat((left, right), dim=1), 2)


def stage(in_channels: int, channels: int, blocks: int) -> nn.Sequential:
    """One unit that halves the size, then units of the same width."""
    rest = (BasicUnit(channels) for _ in range(blocks - 1))
    return nn.Sequential(DownUnit(in_channels, channels), *rest)


class ShuffleNetV2(Network):
    """A 1x1 convolution, three stages of shuffle units, a 1x1 convolution, and a classifier."""

    min_image_size: ClassVar[int] = 16

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        (width1, blocks1), (width2, blocks2), (width3, blocks3) = STAGES
        self.conv1 = pointwise(3, STEM_CHANNELS)
        self.bn1 = nn.BatchNorm2d(STEM_CHANNELS)
        self.layer1 = stage(STEM_CHANNELS, width1, blocks1)
        self.layer2 = stage(width1, width2, blocks2)
        self.layer3 = stage(width2, width3, blocks3)
        self.conv2 = pointwise(width3, LAST_CHANNELS)
        self.bn2 = nn.BatchNorm2d(LAST_CHANNELS)
        self.linear = nn.Linear(LAST_CHANNELS, num_classes)

    @property
    def head(self) -> nn.Linear:
        """The classifier."""
        return self.linear

    def feature_map(self, images: Tensor) -> Tensor:
        """Last feature map [B, 1024, H/8, W/8]."""
        out: Tensor = relu(self.bn1(self.conv1(images)))
        out = self.layer3(self.layer2(self.layer1(out)))
        return relu(self.bn2(self.conv2(out)))


def shufflenetv2(num_classes: int) -> ShuffleNetV2:
    """Width 1 (the zoo's `ShuffleV2`)."""
    return ShuffleNetV2(num_classes)
