"""Wide ResNets (Zagoruyko and Komodakis, BMVC 2016): pre-activation, 6n+4 layers, no dropout.

Initialisation: Kaiming normal, fan-out, for convolutions; PyTorch's default for the classifier's
weights; its biases 0.
"""

from typing import ClassVar

from torch import Tensor, nn
from torch.nn.functional import relu

from pipeline.models.network import Network, initialize_convolutions


class WideBlock(nn.Module):
    """Two 3x3 convolutions, each after batch normalisation and ReLU.

    Where the width changes, the shortcut is a 1x1 convolution of the *activated* input; elsewhere
    it is the input itself.
    """

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        same_width = in_channels == channels
        assert stride == 1 or not same_width, "a block that strides has to change the width"
        self.convShortcut = (  # the zoo's name
            None if same_width else nn.Conv2d(in_channels, channels, 1, stride, bias=False)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Residual + shortcut, not activated."""
        activated = relu(self.bn1(x))
        shortcut = x if self.convShortcut is None else self.convShortcut(activated)
        out: Tensor = relu(self.bn2(self.conv1(activated)))
        out = self.conv2(out)
        return out + shortcut


class Stage(nn.Module):
    """Blocks of one width, under the name `layer` as in the zoo; the first one strides."""

    def __init__(self, in_channels: int, channels: int, blocks: int, stride: int) -> None:
        super().__init__()
        first = WideBlock(in_channels, channels, stride)
        rest = (WideBlock(channels, channels, 1) for _ in range(blocks - 1))
        self.layer = nn.Sequential(first, *rest)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the blocks in turn."""
        out: Tensor = self.layer(x)
        return out


class WideResNet(Network):
    """A 3x3 convolution, stages at 1, 1/2 and 1/4 of the image size, and a classifier."""

    min_image_size: ClassVar[int] = 8

    def __init__(self, depth: int, widen_factor: int, num_classes: int) -> None:
        super().__init__()
        assert (depth - 4) % 6 == 0, f"a wide ResNet has 6n+4 layers, not {depth}"
        blocks = (depth - 4) // 6
        width1, width2, width3 = (widen_factor * width for width in (16, 32, 64))
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.block1 = Stage(16, width1, blocks, stride=1)
        self.block2 = Stage(width1, width2, blocks, stride=2)
        self.block3 = Stage(width2, width3, blocks, stride=2)
        self.bn1 = nn.BatchNorm2d(width3)
        self.fc = nn.Linear(width3, num_classes)
        initialize_convolutions(self)
        nn.init.zeros_(self.fc.bias)

    @property
    def head(self) -> nn.Linear:
        """The classifier."""
        return self.fc

    def feature_map(self, images: Tensor) -> Tensor:
        """Last feature map [B, feature_dim, H/4, W/4], activated."""
        out = self.block3(self.block2(self.block1(self.conv1(images))))
        return relu(self.bn1(out))


def wrn_16_1(num_classes: int) -> WideResNet:
    """16 layers, width 1."""
    return WideResNet(16, 1, num_classes)


def wrn_16_2(num_classes: int) -> WideResNet:
    """16 layers, width 2."""
    return WideResNet(16, 2, num_classes)


def wrn_40_1(num_classes: int) -> WideResNet:
    """40 layers, width 1."""
    return WideResNet(40, 1, num_classes)


def wrn_40_2(num_classes: int) -> WideResNet:
    """40 layers, width 2."""
    return WideResNet(40, 2, num_classes)
