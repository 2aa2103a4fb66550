"""The networks: sizes, layouts, and outputs compared with functions of the state dict alone."""

import itertools
import math
import re
from collections.abc import Callable
from functools import cache

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.models.catalogue import MODELS, smallest_image
from pipeline.models.network import Network
from pipeline.models.registry import build, check_image_size

torch.set_num_threads(1)

# name: parameters at 100 classes, feature_dim, smallest image
SIZES = {
    "resnet8": (83892, 64, 8),
    "resnet14": (181108, 64, 8),
    "resnet20": (278324, 64, 8),
    "resnet32": (472756, 64, 8),
    "resnet44": (667188, 64, 8),
    "resnet56": (861620, 64, 8),
    "resnet110": (1736564, 64, 8),
    "resnet8x4": (1233540, 256, 8),
    "resnet32x4": (7433860, 256, 8),
    "wrn_16_1": (180916, 64, 8),
    "wrn_16_2": (703284, 128, 8),
    "wrn_40_1": (569780, 64, 8),
    "wrn_40_2": (2255156, 128, 8),
    "vgg8": (3965028, 512, 16),
    "vgg11": (9277284, 512, 16),
    "vgg13": (9462180, 512, 16),
    "vgg16": (14774436, 512, 16),
    "vgg19": (20086692, 512, 16),
    "resnet50": (23705252, 2048, 16),
    "mobilenetv2": (812836, 1280, 32),
    "shufflenetv1": (949258, 960, 16),
    "shufflenetv2": (1355528, 1024, 16),
}
every_network = pytest.mark.parametrize("name", SIZES)

# The zoo's modules, with braces as in a shell: convolutions without bias, batch normalisations, and
# whatever has a weight and a bias.
BLOCKS_OF_MOBILENET = "blocks.{0,6}.0 blocks.1.{0,1} blocks.{2,4,5}.{0,1,2} blocks.3.{0,1,2,3}"
LAYOUTS = {
    "resnet20": (
        "conv1 layer{1,2,3}.{0,1,2}.conv{1,2} layer{2,3}.0.downsample.0",
        "bn1 layer{1,2,3}.{0,1,2}.bn{1,2} layer{2,3}.0.downsample.1",
        "fc",
    ),
    "resnet8x4": (
        "conv1 layer{1,2,3}.0.conv{1,2} layer{1,2,3}.0.downsample.0",
        "bn1 layer{1,2,3}.0.bn{1,2} layer{1,2,3}.0.downsample.1",
        "fc",
    ),
    "resnet50": (
        "conv1 layer{1,2,3,4}.{0,1,2}.conv{1,2,3} layer{2,3}.3.conv{1,2,3} "
        "layer3.{4,5}.conv{1,2,3} layer{1,2,3,4}.0.shortcut.0",
        "bn1 layer{1,2,3,4}.{0,1,2}.bn{1,2,3} layer{2,3}.3.bn{1,2,3} "
        "layer3.{4,5}.bn{1,2,3} layer{1,2,3,4}.0.shortcut.1",
        "linear",
    ),
    "wrn_16_1": (
        "conv1 block{1,2,3}.layer.{0,1}.conv{1,2} block{2,3}.layer.0.convShortcut",
        "block{1,2,3}.layer.{0,1}.bn{1,2} bn1",
        "fc",
    ),
    "wrn_16_2": (
        "conv1 block{1,2,3}.layer.{0,1}.conv{1,2} block{1,2,3}.layer.0.convShortcut",
        "block{1,2,3}.layer.{0,1}.bn{1,2} bn1",
        "fc",
    ),
    "vgg8": ("", "block{0,1,2,3,4}.1", "block{0,1,2,3,4}.0 classifier"),
    "vgg16": (
        "",
        "block{0,1,2,3,4}.{1,4} block{2,3,4}.7",
        "block{0,1,2,3,4}.{0,3} block{2,3,4}.6 classifier",
    ),
    "mobilenetv2": (
        "conv1.0 conv2.0 " + " ".join(f"{b}.conv.{{0,3,6}}" for b in BLOCKS_OF_MOBILENET.split()),
        "conv1.1 conv2.1 " + " ".join(f"{b}.conv.{{1,4,7}}" for b in BLOCKS_OF_MOBILENET.split()),
        "classifier.0",
    ),
    "shufflenetv1": (
        "conv1 layer{1,2,3}.{0,1,2,3}.conv{1,2,3} layer2.{4,5,6,7}.conv{1,2,3}",
        "bn1 layer{1,2,3}.{0,1,2,3}.bn{1,2,3} layer2.{4,5,6,7}.bn{1,2,3}",
        "linear",
    ),
    "shufflenetv2": (
        "conv1 layer{1,2,3}.{0,1,2,3}.conv{1,2,3} layer{1,2,3}.0.conv{4,5} "
        "layer2.{4,5,6,7}.conv{1,2,3} conv2",
        "bn1 layer{1,2,3}.{0,1,2,3}.bn{1,2,3} layer{1,2,3}.0.bn{4,5} "
        "layer2.{4,5,6,7}.bn{1,2,3} bn2",
        "linear",
    ),
}
SHAPES = [
    ("resnet20", "layer2.0.downsample.0.weight", (32, 16, 1, 1)),
    ("resnet32x4", "conv1.weight", (32, 3, 3, 3)),
    ("resnet32x4", "layer1.0.downsample.0.weight", (64, 32, 1, 1)),
    ("resnet50", "layer2.0.conv3.weight", (512, 128, 1, 1)),
    ("resnet50", "layer2.0.shortcut.0.weight", (512, 256, 1, 1)),
    ("wrn_40_2", "block1.layer.0.convShortcut.weight", (32, 16, 1, 1)),
    ("wrn_40_2", "block2.layer.0.bn1.weight", (32,)),
    ("vgg8", "block3.0.weight", (512, 256, 3, 3)),
    ("mobilenetv2", "conv1.0.weight", (16, 3, 3, 3)),
    ("mobilenetv2", "blocks.0.0.conv.0.weight", (16, 16, 1, 1)),
    ("mobilenetv2", "blocks.1.0.conv.3.weight", (48, 1, 3, 3)),
    ("mobilenetv2", "conv2.0.weight", (1280, 160, 1, 1)),
    ("shufflenetv1", "layer1.0.conv1.weight", (54, 24, 1, 1)),
    ("shufflenetv1", "layer1.0.conv3.weight", (216, 18, 1, 1)),
    ("shufflenetv1", "layer1.1.conv1.weight", (60, 80, 1, 1)),
    ("shufflenetv2", "layer1.0.conv2.weight", (58, 24, 1, 1)),
    ("shufflenetv2", "conv2.weight", (1024, 464, 1, 1)),
]


@cache
def network_of(name: str) -> Network:
    """A network for 100 classes in eval mode, shared: tests leave it as it is."""
    torch.manual_seed(0)
    return build(name, 100).eval()


def images_of(count: int, size: int) -> Tensor:
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(1))


def expand(patterns: str) -> list[str]:
    """`a{1,2}.b` -> `a1.b`, `a2.b`; any number of braces, patterns separated by blanks."""
    names = []
    for pattern in patterns.split():
        parts = [part.split(",") for part in re.split(r"[{}]", pattern)]
        names += ["".join(choice) for choice in itertools.product(*parts)]
    return names


def expected_keys(name: str) -> list[str]:
    convolutions, norms, biased = map(expand, LAYOUTS[name])
    statistics = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    return [
        *(f"{module}.weight" for module in convolutions),
        *(f"{module}.{key}" for module in norms for key in statistics),
        *(f"{module}.{key}" for module in biased for key in ("weight", "bias")),
    ]


# ---------------------------------------------------------------- sizes, names, layouts


def test_models_are_the_zoo() -> None:
    assert sorted(MODELS) == sorted(SIZES)
    assert len(MODELS) == 22


@every_network
def test_parameter_count_and_widths(name: str) -> None:
    parameters, feature_dim, _ = SIZES[name]
    network = network_of(name)
    assert sum(parameter.numel() for parameter in network.parameters()) == parameters
    assert network.feature_dim == feature_dim
    assert network.num_classes == 100


@pytest.mark.parametrize("name", LAYOUTS)
def test_state_dict_has_exactly_the_keys_of_the_zoo(name: str) -> None:
    expected = expected_keys(name)
    assert len(set(expected)) == len(expected)
    assert sorted(network_of(name).state_dict()) == sorted(expected)


@pytest.mark.parametrize(("name", "key", "shape"), SHAPES)
def test_shapes_of_the_zoo(name: str, key: str, shape: tuple[int, ...]) -> None:
    assert network_of(name).state_dict()[key].shape == shape


def test_unknown_network_lists_the_valid_ones() -> None:
    with pytest.raises(ValueError, match=r"'resnet21'.*resnet20.*shufflenetv2"):
        build("resnet21", 10)


@pytest.mark.parametrize("num_classes", [-1, 0, 1])
def test_too_few_classes(num_classes: int) -> None:
    with pytest.raises(ValueError, match="num_classes must be 2 or more"):
        build("resnet8", num_classes)


# ---------------------------------------------------------------- outputs


@every_network
def test_forward_agrees_with_features_and_repeats_itself(name: str) -> None:
    network, images = network_of(name), images_of(3, 32)
    with torch.no_grad():
        logits, features = network.forward_features(images)
        assert torch.equal(network(images), logits)
        assert torch.equal(network(images), logits)
        expected = features @ network.head.weight.T + network.head.bias
    assert logits.shape == (3, 100)
    assert features.shape == (3, SIZES[name][1])
    assert torch.isfinite(logits).all()
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-5 * float(logits.abs().max()))


@every_network
def test_an_image_has_the_same_logits_in_any_batch(name: str) -> None:
    network, images = network_of(name), images_of(3, 32)
    with torch.no_grad():
        together = network(images)
        alone = network(images[1:2])
    scale = float(together.abs().max())
    torch.testing.assert_close(together[1:2], alone, rtol=1e-3, atol=1e-4 * scale)


@every_network
def test_channels_last_gives_the_same(name: str) -> None:
    images = images_of(2, 32)
    network = build(name, 100).eval()
    network.load_state_dict(network_of(name).state_dict())
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    with torch.no_grad():
        expected = network_of(name).forward_features(images)
        actual = network.forward_features(images.contiguous(memory_format=torch.channels_last))
    for a, b in zip(actual, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4 * float(b.abs().max()))


@every_network
def test_gradient_reaches_each_parameter(name: str) -> None:
    torch.manual_seed(0)
    network = build(name, 10).train()
    logits = network(images_of(4, 32))
    functional.cross_entropy(logits, torch.arange(4)).backward()  # type: ignore[no-untyped-call]
    for key, parameter in network.named_parameters():
        assert parameter.grad is not None, key
        assert torch.isfinite(parameter.grad).all(), key
        assert parameter.grad.abs().max() > 0, key


@every_network
def test_control_flow_does_not_depend_on_data(name: str) -> None:
    with torch.device("meta"):  # where tensors have no values to depend on
        logits, features = build(name, 10).forward_features(torch.empty(2, 3, 32, 32))
    assert logits.shape == (2, 10)
    assert features.shape == (2, SIZES[name][1])


# ---------------------------------------------------------------- other image sizes


@pytest.mark.parametrize("name", [name for name in SIZES if name != "mobilenetv2"])
def test_small_images_and_few_classes(name: str) -> None:
    check_image_size(name, 16)
    network = build(name, 10)
    for mode in (True, False):
        logits, features = network.train(mode).forward_features(images_of(2, 16))
        assert logits.shape == (2, 10)
        assert features.shape == (2, SIZES[name][1])
        assert torch.isfinite(logits).all()


@every_network
def test_smallest_image(name: str) -> None:
    smallest = SIZES[name][2]
    network = network_of(name)
    with torch.no_grad():
        assert network.feature_map(images_of(1, smallest)).shape[2:] == (2, 2)
    with pytest.raises(ValueError, match=f"use {smallest}x{smallest} or more"):
        network(images_of(1, smallest - 1))
    with pytest.raises(ValueError, match="too small"):
        network(torch.zeros(1, 3, smallest, smallest - 1))
    with pytest.raises(ValueError, match="too small"):
        check_image_size(name, smallest - 1)
    assert smallest_image(name) == smallest


def test_mobilenetv2_refuses_16x16() -> None:
    with pytest.raises(ValueError, match="MobileNetV2: images of 16x16 pixels are too small"):
        check_image_size("mobilenetv2", 16)


def test_checking_a_size_leaves_the_generator_alone() -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    check_image_size("mobilenetv2", 32)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(("size", "map_size"), [(32, 4), (48, 6), (64, 4), (96, 6)])
def test_vgg_pools_large_images_once_more(size: int, map_size: int) -> None:
    with torch.no_grad():
        assert network_of("vgg8").feature_map(images_of(1, size)).shape[2:] == (map_size, map_size)


# ---------------------------------------------------------------- initial weights


@pytest.mark.parametrize(
    ("name", "key", "fan_out"),
    [
        ("resnet32x4", "layer3.1.conv1.weight", 9 * 256),
        ("resnet32x4", "layer3.0.downsample.0.weight", 256),
        ("resnet50", "layer4.0.conv1.weight", 512),
        ("wrn_40_2", "block3.layer.1.conv2.weight", 9 * 128),
        ("vgg13", "block4.3.weight", 9 * 512),
        ("mobilenetv2", "blocks.6.0.conv.6.weight", 160),
        ("mobilenetv2", "blocks.6.0.conv.3.weight", 9 * 480),  # depthwise
    ],
)
def test_kaiming_fan_out(name: str, key: str, fan_out: int) -> None:
    weight = network_of(name).state_dict()[key]
    error = 4 / math.sqrt(2 * weight.numel())  # four standard deviations of a standard deviation
    assert float(weight.std()) == pytest.approx(math.sqrt(2 / fan_out), rel=error)
    assert float(weight.abs().max()) > 3 * math.sqrt(2 / fan_out)  # normal, not uniform


@pytest.mark.parametrize("name", ["shufflenetv1", "shufflenetv2"])
def test_shufflenets_start_from_the_default_of_torch(name: str) -> None:
    weight = network_of(name).state_dict()["layer3.1.conv1.weight"]
    bound = 1 / math.sqrt(weight[0].numel())  # of a uniform distribution; fan-in
    assert 0.99 * bound < float(weight.abs().max()) <= bound


@pytest.mark.parametrize("name", ["vgg8", "mobilenetv2"])
def test_small_classifier_weights(name: str) -> None:
    head = network_of(name).head
    assert float(head.weight.detach().std()) == pytest.approx(0.01, rel=0.02)
    assert not head.bias.any()


def test_biases_that_start_at_zero() -> None:
    assert not network_of("wrn_16_2").head.bias.any()
    state = network_of("vgg13").state_dict()
    assert not any(state[f"{module}.bias"].any() for module in expand("block{0,1,2,3,4}.{0,3}"))
    assert network_of("resnet8").head.bias.any()  # the default of torch


def test_one_seed_gives_one_network() -> None:
    states = []
    for seed in (5, 5, 6):
        torch.manual_seed(seed)
        states.append(build("resnet8", 10).state_dict()["conv1.weight"])
    assert torch.equal(states[0], states[1])
    assert not torch.equal(states[0], states[2])


# ---------------------------------------------------------------- reference


class Reference:
    """The zoo's networks as functions of a state dict, in float64: no modules, no shared code."""

    def __init__(self, state: dict[str, Tensor]) -> None:
        self.state = state

    def has(self, module: str) -> bool:
        return f"{module}.weight" in self.state

    def count(self, pattern: str) -> int:
        """How many of `pattern`'s modules there are, its {} being 0, 1, 2, ..."""
        return next(i for i in itertools.count() if not self.has(pattern.format(i)))

    def conv(self, module: str, x: Tensor, stride: int = 1) -> Tensor:
        weight, bias = self.state[f"{module}.weight"], self.state.get(f"{module}.bias")
        groups, padding = x.shape[1] // weight.shape[1], weight.shape[2] // 2
        return functional.conv2d(x, weight, bias, stride, padding, groups=groups)

    def norm(self, module: str, x: Tensor) -> Tensor:
        mean, var, weight, bias = (
            self.state[f"{module}.{key}"][:, None, None]
            for key in ("running_mean", "running_var", "weight", "bias")
        )
        return (x - mean) / torch.sqrt(var + 1e-5) * weight + bias

    def conv_norm(self, prefix: str, number: int, x: Tensor, stride: int = 1) -> Tensor:
        """`conv3`, then `bn3`."""
        return self.norm(f"{prefix}bn{number}", self.conv(f"{prefix}conv{number}", x, stride))

    def resnet(self, images: Tensor, convolutions: int, shortcut: str, strided: int) -> Tensor:
        """Residual blocks of two or three convolutions; convolution `strided` strides."""
        x = self.conv_norm("", 1, images).relu()
        for layer in range(1, 5):
            for block in range(self.count(f"layer{layer}.{{}}.conv1")):
                prefix = f"layer{layer}.{block}."
                stride = 2 if layer > 1 and block == 0 else 1
                out = x  # not negative: another ReLU leaves it as it is
                for i in range(1, convolutions + 1):
                    out = self.conv_norm(prefix, i, out.relu(), stride if i == strided else 1)
                if self.has(f"{prefix}{shortcut}.0"):
                    x = self.conv(f"{prefix}{shortcut}.0", x, stride)
                    x = self.norm(f"{prefix}{shortcut}.1", x)
                x = (x + out).relu()
        return x

    def wrn(self, images: Tensor) -> Tensor:
        x = self.conv("conv1", images)
        for stage in range(1, 4):
            for block in range(self.count(f"block{stage}.layer.{{}}.conv1")):
                prefix = f"block{stage}.layer.{block}."
                stride = 2 if stage > 1 and block == 0 else 1
                active = self.norm(f"{prefix}bn1", x).relu()
                out = self.norm(f"{prefix}bn2", self.conv(f"{prefix}conv1", active, stride)).relu()
                out = self.conv(f"{prefix}conv2", out)
                if self.has(f"{prefix}convShortcut"):
                    x = self.conv(f"{prefix}convShortcut", active, stride)
                x = x + out
        return self.norm("bn1", x).relu()

    def vgg(self, images: Tensor) -> Tensor:
        x = images
        for block in range(5):
            for i in range(0, 12, 3):  # convolution, normalisation, ReLU
                if self.has(f"block{block}.{i}"):
                    x = self.conv(f"block{block}.{i}", x)
                    x = self.norm(f"block{block}.{i + 1}", x).relu()
            if block < 3:
                x = functional.max_pool2d(x, 2)
        return x

    def mobilenetv2(self, images: Tensor) -> Tensor:
        x = self.norm("conv1.1", self.conv("conv1.0", images, 2)).relu()
        for group, group_stride in enumerate((1, 1, 2, 2, 1, 2, 1)):
            for block in range(self.count(f"blocks.{group}.{{}}.conv.0")):
                prefix = f"blocks.{group}.{block}.conv."
                stride = group_stride if block == 0 else 1
                out = self.norm(f"{prefix}1", self.conv(f"{prefix}0", x)).relu()
                out = self.norm(f"{prefix}4", self.conv(f"{prefix}3", out, stride)).relu()
                out = self.norm(f"{prefix}7", self.conv(f"{prefix}6", out))
                x = x + out if x.shape == out.shape else out
        return self.norm("conv2.1", self.conv("conv2.0", x)).relu()

    @staticmethod
    def shuffle(x: Tensor, groups: int) -> Tensor:
        """First channel of each group, then the second of each, and so on."""
        width = x.shape[1] // groups
        return x[:, [group * width + i for i in range(width) for group in range(groups)]]

    def shufflenetv1(self, images: Tensor) -> Tensor:
        x = self.conv_norm("", 1, images).relu()
        for layer in (1, 2, 3):
            for block in range(self.count(f"layer{layer}.{{}}.conv1")):
                prefix = f"layer{layer}.{block}."
                groups = 1 if layer == 1 and block == 0 else 3
                stride = 2 if block == 0 else 1
                out = self.shuffle(self.conv_norm(prefix, 1, x).relu(), groups)
                out = self.conv_norm(prefix, 2, out, stride).relu()
                out = self.conv_norm(prefix, 3, out)
                if block == 0:  # padding counts in the mean
                    window = functional.unfold(x, 3, padding=1, stride=2)
                    mean = window.reshape(len(x), x.shape[1], 9, -1).mean(2)
                    mean = mean.reshape(len(x), x.shape[1], *out.shape[2:])
                    x = torch.cat((out, mean), 1).relu()
                else:
                    x = (out + x).relu()
        return x

    def shufflenetv2(self, images: Tensor) -> Tensor:
        x = self.conv_norm("", 1, images).relu()
        for layer in (1, 2, 3):
            for block in range(self.count(f"layer{layer}.{{}}.conv1")):
                prefix = f"layer{layer}.{block}."
                if block == 0:
                    left = self.conv_norm(prefix, 2, self.conv_norm(prefix, 1, x, 2)).relu()
                    right = self.conv_norm(prefix, 4, self.conv_norm(prefix, 3, x).relu(), 2)
                    right = self.conv_norm(prefix, 5, right).relu()
                else:
                    half = x.shape[1] // 2
                    left, right = x[:, :half], x[:, half:]
                    right = self.conv_norm(prefix, 2, self.conv_norm(prefix, 1, right).relu())
                    right = self.conv_norm(prefix, 3, right).relu()
                x = self.shuffle(torch.cat((left, right), 1), 2)
        return self.conv_norm("", 2, x).relu()


REFERENCES: dict[str, Callable[[Reference, Tensor], Tensor]] = {
    "resnet50": lambda reference, images: reference.resnet(images, 3, "shortcut", 2),
    "resnet": lambda reference, images: reference.resnet(images, 2, "downsample", 1),
    "wrn": Reference.wrn,
    "vgg": Reference.vgg,
    "mobilenetv2": Reference.mobilenetv2,
    "shufflenetv1": Reference.shufflenetv1,
    "shufflenetv2": Reference.shufflenetv2,
}


def randomize_norms(network: nn.Module) -> None:
    """Statistics and scales as after training, so that the place of each operation matters."""
    generator = torch.Generator().manual_seed(2)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.2, generator=generator)  # type: ignore[arg-type]
            nn.init.uniform_(module.running_var, 0.5, 2, generator=generator)  # type: ignore[arg-type]
            nn.init.uniform_(module.weight, 0.5, 1.5, generator=generator)
            nn.init.normal_(module.bias, std=3, generator=generator)


@every_network
def test_outputs_equal_the_reference(name: str) -> None:
    torch.manual_seed(4)
    network = build(name, 10).eval().double()
    randomize_norms(network)
    images = images_of(2, 32).double()
    family = next(family for family in REFERENCES if name.startswith(family))
    with torch.no_grad():
        logits, features = network.forward_features(images)
        last_map = REFERENCES[family](Reference(network.state_dict()), images)
        expected = last_map.mean((2, 3))
        expected_logits = expected @ network.head.weight.T + network.head.bias
    assert float(expected.std()) > 0
    torch.testing.assert_close(features, expected, rtol=1e-9, atol=1e-9 * float(expected.max()))
    scale = float(expected_logits.abs().max())
    torch.testing.assert_close(logits, expected_logits, rtol=1e-9, atol=1e-9 * scale)
