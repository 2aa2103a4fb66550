"""ResNet-50 (He et al., CVPR 2016) for small images: a 3x3 stem of stride 1 and no max pooling.

Initialisation: Kaiming normal, fan-out, for convolutions; PyTorch's default for the classifier.
"""

from typing import ClassVar

from torch import Tensor, nn
from torch.nn.functional import relu

from pipeline.models.network import Network, conv_bn, initialize_convolutions

EXPANSION = 4


class Bottleneck(nn.Module):
    """1x1, 3x3 (which strides) and 1x1 convolutions beside the input or its 1x1 convolution."""

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        out_channels = EXPANSION * channels
        self.conv1 = nn.Conv2d(in_channels, channels, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv3 = nn.Conv2d(channels, out_channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)
        same_shape = stride == 1 and in_channels == out_channels
        self.shortcut = (
            nn.Identity() if same_shape else conv_bn(in_channels, out_channels, 1, stride)
        )

    def forward(self, x: Tensor) -> Tensor:
        """ReLU(residual + shortcut)."""
        out = relu(self.bn1(self.conv1(x)))
        out = relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        return relu(out + self.shortcut(x))


def stage(in_channels: int, channels: int, blocks: int, stride: int) -> nn.Sequential:
    """Bottlenecks with `4 * channels` outputs; the first one strides."""
    first = Bottleneck(in_channels, channels, stride)
    rest = (Bottleneck(EXPANSION * channels, channels, 1) for _ in range(blocks - 1))
    return nn.Sequential(first, *rest)


class ResNet50(Network):
    """A 3x3 convolution, four stages of 3, 4, 6 and 3 bottlenecks, and a classifier."""

    min_image_size: ClassVar[int] = 16

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.layer1 = stage(64, 64, 3, stride=1)
        self.layer2 = stage(256, 128, 4, stride=2)
        self.layer3 = stage(512, 256, 6, stride=2)
        self.layer4 = stage(1024, 512, 3, stride=2)
        self.linear = nn.Linear(2048, num_classes)
        initialize_convolutions(self)

    @property
    def head(self) -> nn.Linear:
        """The classifier."""
        return self.linear

    def feature_map(self, images: Tensor) -> Tensor:
        """Last feature map [B, 2048, H/8, W/8]."""
        out: Tensor = relu(self.bn1(self.conv1(images)))
        out = self.layer4(self.layer3(self.layer2(self.layer1(out))))
        return out


def resnet50(num_classes: int) -> ResNet50:
    """50 layers."""
    return ResNet50(num_classes)
