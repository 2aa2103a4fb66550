"""MobileNetV2 (Sandler et al., CVPR 2018) at half width, as the field uses it on CIFAR.

Departures from the paper, all the zoo's: ReLU in place of ReLU6, no stride in the second group of
blocks, and no dropout before the classifier.

Initialisation: Kaiming normal, fan-out, for convolutions; N(0, 0.01^2) for the classifier;
biases 0.
"""

from typing import ClassVar

from torch import Tensor, nn

from pipeline.models.network import Network, initialize_classifier, initialize_convolutions

# expansion, channels at full width, blocks, stride of the first block
GROUPS = (
    (1, 16, 1, 1),
    (6, 24, 2, 1),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
STEM_CHANNELS = 32
LAST_CHANNELS = 1280


def conv_bn_relu(
    in_channels: int, out_channels: int, kernel_size: int, stride: int = 1, groups: int = 1
) -> list[nn.Module]:
    """Convolution without bias that keeps the size at stride 1, batch normalisation, ReLU."""
    padding = kernel_size // 2
    return [
        nn.Conv2d(
            in_channels, out_channels, kernel_size, stride, padding, groups=groups, bias=False
        ),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(),
    ]


class InvertedResidual(nn.Module):
    """1x1 expansion, 3x3 depthwise convolution, 1x1 projection without activation.

    The expansion convolution is there even at expansion 1. Where the shape stays, the input is
    added.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = expansion * in_channels
        self.conv = nn.Sequential(
            *conv_bn_relu(in_channels, hidden, 1),
            *conv_bn_relu(hidden, hidden, 3, stride, groups=hidden),
            nn.Conv2d(hidden, out_channels, 1, bias=False),
            nn.BatchNorm2d(out_channels),
        )
        self.is_residual = stride == 1 and in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        """Projection, plus the input where the shape stays."""
        out: Tensor = self.conv(x)
        return x + out if self.is_residual else out


class MobileNetV2(Network):
    """A 3x3 convolution of stride 2, seven groups of blocks, a 1x1 convolution, a classifier."""

    min_image_size: ClassVar[int] = 32

    def __init__(self, width: float, num_classes: int) -> None:
        super().__init__()
        channels = int(STEM_CHANNELS * width)
        self.conv1 = nn.Sequential(*conv_bn_relu(3, channels, 3, stride=2))
        self.blocks = nn.ModuleList()
        for expansion, full_width, count, stride in GROUPS:
            out_channels = int(full_width * width)
            first = InvertedResidual(channels, out_channels, stride, expansion)
            rest = (
                InvertedResidual(out_channels, out_channels, 1, expansion) for _ in range(count - 1)
            )
            self.blocks.append(nn.Sequential(first, *rest))
            channels = out_channels
        self.conv2 = nn.Sequential(*conv_bn_relu(channels, LAST_CHANNELS, 1))
        self.classifier = nn.Sequential(nn.Linear(LAST_CHANNELS, num_classes))  # the zoo's nesting
        initialize_convolutions(self)
        initialize_classifier(self.head, std=0.01)

    @property
    def head(self) -> nn.Linear:
        """The classifier."""
        head = self.classifier[0]
        assert isinstance(head, nn.Linear)
        return head

    def feature_map(self, images: Tensor) -> Tensor:
        """Last feature map [B, 1280, H/16, W/16]."""
        out: Tensor = self.conv1(images)
        for group in self.blocks:
            out = group(out)
        out = self.conv2(out)
        return out


def mobilenetv2(num_classes: int) -> MobileNetV2:
    """Expansion 6, half width (the zoo's `mobile_half`)."""
    return MobileNetV2(0.5, num_classes)
