"""ShuffleNet (Zhang et al., CVPR 2018) with 3 groups, as the field uses it on CIFAR.

Departures from the paper, all the zoo's: a 1x1 stem of stride 1 without max pooling, and a ReLU
after the depthwise convolution.

Initialisation: PyTorch's default throughout (Kaiming uniform, not fan-out normal), as in the zoo.
"""

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, channel_shuffle, relu

from pipeline.models.network import Network

STEM_CHANNELS = 24
GROUPS = 3
STAGES = ((240, 4), (480, 8), (960, 4))  # channels, blocks


class ShuffleUnit(nn.Module):
    """Grouped 1x1 convolution, shuffle, 3x3 depthwise convolution, grouped 1x1 convolution.

    At stride 1 the input is added. At stride 2 the averaged input is concatenated and brings its
    own channels to the output. The hidden width is a quarter of what the convolutions put out.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        branch = out_channels - in_channels if stride == 2 else out_channels
        hidden = branch // 4
        # The stem's output is too narrow to be split into groups.
        self.groups = 1 if in_channels == STEM_CHANNELS else GROUPS
        self.stride = stride
        self.conv1 = nn.Conv2d(in_channels, hidden, 1, groups=self.groups, bias=False)
        self.bn1 = nn.BatchNorm2d(hidden)
        self.conv2 = nn.Conv2d(hidden, hidden, 3, stride, padding=1, groups=hidden, bias=False)
        self.bn2 = nn.BatchNorm2d(hidden)
        self.conv3 = nn.Conv2d(hidden, branch, 1, groups=GROUPS, bias=False)
        self.bn3 = nn.BatchNorm2d(branch)

    def forward(self, x: Tensor) -> Tensor:
        """ReLU(residual + input), or ReLU(residual beside averaged input) at stride 2."""
        out = relu(self.bn1(self.conv1(x)))
        out = channel_shuffle(out, self.groups)
        out = relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        if self.stride == 2:
            shortcut = avg_pool2d(x, 3, stride=2, padding=1)
            return relu(torch.cat((out, shortcut), dim=1))
        return relu(out + x)


def stage(in_channels: int, channels: int, blocks: int) -> nn.Sequential:
    """Units of one width; the first one halves the size."""
    first = ShuffleUnit(in_channels, channels, stride=2)
    return nn.Sequential(first, *(ShuffleUnit(channels, channels, 1) for _ in range(blocks - 1)))


class ShuffleNetV1(Network):
    """A 1x1 convolution, three stages of shuffle units, and a classifier."""

    min_image_size: ClassVar[int] = 16

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        (width1, blocks1), (width2, blocks2), (width3, blocks3) = STAGES
        self.conv1 = nn.Conv2d(3, STEM_CHANNELS, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(STEM_CHANNELS)
        self.layer1 = stage(STEM_CHANNELS, width1, blocks1)
        self.layer2 = stage(width1, width2, blocks2)
        self.layer3 = stage(width2, width3, blocks3)
        self.linear = nn.Linear(width3, num_classes)

    @property
    def head(self) -> nn.Linear:
        """The classifier."""
        return self.linear

    def feature_map(self, images: Tensor) -> Tensor:
        """Last feature map [B, 960, H/8, W/8]."""
        out: Tensor = relu(self.bn1(self.conv1(images)))
        out = self.layer3(self.layer2(self.layer1(out)))
        return out


def shufflenetv1(num_classes: int) -> ShuffleNetV1:
    """3 groups, width 1 (the zoo's `ShuffleV1`)."""
    return ShuffleNetV1(num_classes)
