"""The base class of all networks: logits, penultimate features and a smallest image size.

Each network is a stack of convolutions, a global average pooling and a linear classifier, so only
the stack differs between families. Modules are named as in the field's CIFAR zoo (RepDistiller), so
its checkpoints load with `strict=True`. Left out on purpose: intermediate feature maps and
pre-activations, which only methods that run the teacher in the training loop can use.
"""

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d

from pipeline.models.catalogue import check_size


class Network(nn.Module, ABC):
    """An image classifier that also returns its penultimate features."""

    min_image_size: ClassVar[int]
    """Smallest height and width in pixels: twice the stack's total stride.

    The last feature map is then at least 2x2. Around a 1x1 map a 3x3 convolution reads only padding,
    and batch normalisation cannot train on a batch of one image.
    """

    @property
    @abstractmethod
    def head(self) -> nn.Linear:
        """The classifier, whatever its name in the zoo."""

    @abstractmethod
    def feature_map(self, images: Tensor) -> Tensor:
        """The last feature map [B, feature_dim, h, w], after its ReLU, of images [B, 3, H, W]."""

    @property
    def feature_dim(self) -> int:
        """Number of penultimate features."""
        return self.head.in_features

    @property
    def num_classes(self) -> int:
        """Number of logits."""
        return self.head.out_features

    def check_image_size(self, height: int, width: int) -> None:
        """Raise DecantError if images of this size in pixels are too small for the network."""
        check_size(type(self).__name__, self.min_image_size, height, width)

    def forward_features(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Logits [B, num_classes] and penultimate features [B, feature_dim] of images [B, 3, H, W].

        The features are the classifier's input: the last feature map, averaged over height and width.
        Raises DecantError if the images are smaller than `min_image_size`.
        """
        self.check_image_size(*images.shape[-2:])
        features = adaptive_avg_pool2d(self.feature_map(images), 1).flatten(1)
        logits: Tensor = self.head(features)
        return logits, features

    def forward(self, images: Tensor) -> Tensor:
        """Logits [B, num_classes] of images [B, 3, H, W]."""
        return self.forward_features(images)[0]


def conv_bn(
    in_channels: int, out_channels: int, kernel_size: int, stride: int = 1
) -> nn.Sequential:
    """Convolution without bias, padded to keep the size at stride 1, then batch normalisation."""
    return nn.Sequential(
        nn.Conv2d(
            in_channels, out_channels, kernel_size, stride, padding=kernel_size // 2, bias=False
        ),
        nn.BatchNorm2d(out_channels),
    )


def initialize_convolutions(network: nn.Module) -> None:
    """Draw convolutions from Kaiming's normal distribution (He et al., ICCV 2015), fan-out.

    The variance is 2 / (kernel area * output channels), also for grouped convolutions as in the
    zoo. Biases are 0.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def initialize_classifier(head: nn.Linear, std: float) -> None:
    """Draw the classifier's weights from N(0, std^2); its biases are 0."""
    nn.init.normal_(head.weight, std=std)
    nn.init.zeros_(head.bias)
