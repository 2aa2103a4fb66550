"""Folded networks answer as the others do; in bfloat16 about so."""

import copy

import numpy as np
import pytest
import torch
from convolutions import Convolutions
from torch import Tensor, nn
from torch.nn.functional import relu
from torch.nn.utils import parametrizations

from pipeline.dump.ready import folded, ready
from pipeline.models.catalogue import MODELS
from pipeline.models.network import Network
from pipeline.models.registry import build
from pipeline.views.predict import clean_bank, place, predict_clean

CPU = torch.device("cpu")


def used(name: str, size: int = 32) -> Network:
    """A network in eval mode whose norms have seen images, and weights and shifts of their own."""
    torch.manual_seed(0)
    network = build(name, 10)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.5, 0.5)
            module.momentum = 1.0
    with torch.no_grad():
        network.train()(torch.randn(16, 3, size, size))
    return place(network, CPU).eval()


def norms(network: nn.Module) -> int:
    return sum(isinstance(module, nn.BatchNorm2d) for module in network.modules())


@pytest.mark.parametrize("name", [n for n in MODELS if n not in ("resnet110", "vgg19", "wrn_40_1")])
def test_folded_networks_answer_the_same(name):
    network = used(name)
    before = copy.deepcopy(network.state_dict())
    made = folded(network, (32, 32))
    images = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = network.forward_features(images)
        found = made.forward_features(images)
    for ours, theirs in zip(found, expected, strict=True):
        scale = theirs.abs().max().item()
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4 * scale)
    assert norms(made) < norms(network)
    for key, value in network.state_dict().items():  # which is left as it was
        assert torch.equal(value, before[key]), key
    for module in made.modules():
        if isinstance(module, nn.Conv2d):
            assert module.weight.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("name", ["resnet8", "vgg8", "mobilenetv2", "shufflenetv1", "resnet50"])
def test_no_norm_is_left_where_each_follows_a_convolution(name):
    assert norms(folded(used(name), (32, 32))) == 0


def test_a_network_in_training_mode_is_folded_for_eval():
    network = used("resnet8").train()
    made = folded(network, (16, 16))
    assert network.training
    assert not made.training
    images = torch.randn(4, 3, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(made(images), network.eval()(images), rtol=0, atol=1e-4)


class Shared(Network):
    """Beside the norm a shortcut reads what the first convolution wrote, and two norms the second's."""

    min_image_size = 4

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.conv2, self.bn2 = nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.bn3, self.conv3, self.bn4 = nn.BatchNorm2d(8), nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8)
        self.fc = nn.Linear(8, 5)

    @property
    def head(self) -> nn.Linear:
        return self.fc

    def feature_map(self, images: Tensor) -> Tensor:
        first = self.conv1(images)
        out = self.conv2(relu(self.bn1(first)))
        out = relu(self.bn2(out)) + relu(self.bn3(out)) + first
        return relu(self.bn4(self.conv3(out)))


def test_outputs_that_others_read_too_are_left_alone():
    torch.manual_seed(0)
    network = Shared()
    network(torch.randn(8, 3, 8, 8))
    network.eval()
    made = folded(network, (8, 8))
    assert norms(made) == 3  # only the last one is folded
    images = torch.randn(4, 3, 8, 8)
    with torch.no_grad():
        torch.testing.assert_close(made(images), network(images), rtol=0, atol=1e-5)


class Reused(Network):
    """A convolution or a norm, or both, that an image passes twice; the last pair once."""

    min_image_size = 4

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.conv1, self.conv2, self.conv3 = (
            nn.Conv2d(3, 8, 1),
            nn.Conv2d(8, 8, 1),
            nn.Conv2d(8, 8, 1),
        )
        self.bn1, self.bn2, self.bn3 = nn.BatchNorm2d(8), nn.BatchNorm2d(8), nn.BatchNorm2d(8)
        self.fc = nn.Linear(8, 5)

    @property
    def head(self) -> nn.Linear:
        return self.fc

    def feature_map(self, images: Tensor) -> Tensor:
        out = relu(self.conv1(images))
        if self.kind == "both twice":
            out = relu(self.bn1(self.conv2(relu(self.bn1(self.conv2(out))))))
        elif self.kind == "one convolution, two norms":
            out = relu(self.bn2(self.conv2(relu(self.bn1(self.conv2(out))))))
        else:
            out = relu(self.bn1(self.conv2(out)))
            out = relu(self.bn1(out + 1))
        return relu(self.bn3(self.conv3(out)))


@pytest.mark.parametrize(
    "kind", ["both twice", "one convolution, two norms", "a norm that also reads a sum"]
)
def test_what_is_used_twice_is_left_alone(kind):
    torch.manual_seed(0)
    network = Reused(kind)
    for norm in (network.bn1, network.bn2):
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.uniform_(norm.bias, -0.5, 0.5)
    network(torch.randn(8, 3, 8, 8))
    network.eval()
    made = folded(network, (8, 8))
    assert norms(made) == 2
    images = torch.randn(4, 3, 8, 8)
    with torch.no_grad():
        torch.testing.assert_close(made(images), network(images), rtol=0, atol=1e-5)


class Standardised(nn.Conv2d):
    """Weights of mean 0 and variance 1, made at each call: a scale folded into them is lost."""

    def forward(self, input: Tensor) -> Tensor:
        weight = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        return self._conv_forward(input, weight / weight.std((1, 2, 3), keepdim=True), self.bias)


def _with_hook(convolution: nn.Conv2d) -> nn.Conv2d:
    convolution.register_forward_hook(lambda module, args, output: output.relu())
    return convolution


class Pair(Network):
    """One convolution and one norm."""

    min_image_size = 4

    def __init__(self, convolution: nn.Module, norm: nn.Module) -> None:
        super().__init__()
        self.conv, self.bn, self.fc = convolution, norm, nn.Linear(8, 5)

    @property
    def head(self) -> nn.Linear:
        return self.fc

    def feature_map(self, images: Tensor) -> Tensor:
        return relu(self.bn(self.conv(images)))


class Aliased(Pair):
    """The same norm under two names, and in a list."""

    def __init__(self) -> None:
        super().__init__(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8))
        self.stem = nn.Sequential(self.conv, self.bn)
        self.steps = [self.bn, relu]

    def feature_map(self, images: Tensor) -> Tensor:
        out = self.stem[0](images)
        for step in self.steps:
            out = step(out)
        return out


def test_a_norm_of_several_names_is_folded_once():
    torch.manual_seed(0)
    network = Aliased()
    nn.init.uniform_(network.bn.weight, 2.0, 3.0)
    nn.init.uniform_(network.bn.bias, 1.0, 2.0)
    for _ in range(20):
        network(torch.randn(8, 3, 8, 8))
    network.eval()
    made = folded(network, (8, 8))
    assert norms(made) == 0
    images = torch.randn(4, 3, 8, 8)
    with torch.no_grad():
        torch.testing.assert_close(made(images), network(images), rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("convolution", "norm"),
    [
        (Standardised(3, 8, 3), nn.BatchNorm2d(8)),
        (parametrizations.weight_norm(nn.Conv2d(3, 8, 3)), nn.BatchNorm2d(8)),
        (parametrizations.spectral_norm(nn.Conv2d(3, 8, 3)), nn.BatchNorm2d(8)),
        (_with_hook(nn.Conv2d(3, 8, 3)), nn.BatchNorm2d(8)),
        (nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8, affine=False)),
        (nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8, track_running_stats=False)),
    ],
    ids=["standardised", "weight norm", "spectral norm", "hook", "no affine", "no statistics"],
)
def test_what_does_more_than_torchs_own_is_left_alone(convolution, norm):
    torch.manual_seed(0)
    network = Pair(convolution, norm)
    if norm.affine:
        nn.init.uniform_(norm.weight, 2.0, 3.0)
        nn.init.uniform_(norm.bias, 1.0, 2.0)
    for _ in range(20):
        network(torch.randn(8, 3, 8, 8))
    network.eval()
    images = torch.randn(4, 3, 8, 8)
    with torch.no_grad():
        found, expected = folded(network, (8, 8))(images), network(images)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


class Tied(Reused):
    """Two convolutions with one weight, a norm after each."""

    def __init__(self) -> None:
        super().__init__("tied")
        self.conv2.weight = nn.Parameter(torch.randn(8, 8, 1, 1))
        self.conv3.weight = self.conv2.weight

    def feature_map(self, images: Tensor) -> Tensor:
        out = relu(self.bn1(self.conv1(images)))
        return relu(self.bn3(self.conv3(relu(self.bn2(self.conv2(out))))))


def test_tied_weights_are_left_alone():
    torch.manual_seed(0)
    network = Tied()
    for norm in (network.bn1, network.bn2, network.bn3):
        nn.init.uniform_(norm.weight, 2.0, 3.0)
    network(torch.randn(8, 3, 8, 8))
    network.eval()
    made = folded(network, (8, 8))
    assert norms(made) == 2  # only the first one is folded
    images = torch.randn(4, 3, 8, 8)
    with torch.no_grad():
        torch.testing.assert_close(made(images), network(images), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["resnet20", "vgg8"])
def test_bfloat16_keeps_the_classifier_in_float32(name):
    network = used(name)
    made = ready(network, (32, 32), "bfloat16")
    images = torch.randn(16, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected, _ = network.forward_features(images)
        logits, features = made.forward_features(images.bfloat16())
        again = nn.functional.linear(features.float(), network.head.weight, network.head.bias)
    assert logits.dtype == torch.float32
    assert features.dtype == torch.bfloat16
    assert made.head.weight.dtype == torch.float32
    assert torch.equal(logits, again)
    error = (logits - expected).norm() / expected.norm()
    assert 1e-4 < error < 0.05
    assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}


def test_float32_is_folding():
    network = used("resnet8")
    images = torch.randn(4, 3, 16, 16)
    with torch.no_grad():
        assert torch.equal(
            ready(network, (16, 16), "float32")(images), folded(network, (16, 16))(images)
        )


@pytest.mark.parametrize("instructions", [True, False])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_ready_networks_predict(few_digits, tiny_network, precision, instructions, monkeypatch):
    monkeypatch.setattr("pipeline.models.bfloat16.has_bfloat16", lambda device: instructions)
    data = few_digits
    bank = clean_bank(data.test.images, data.mean, data.std, CPU)
    network = place(tiny_network(10), CPU)
    expected, _ = predict_clean(network, bank, 32)
    made = ready(network, (16, 16), precision)
    with Convolutions() as convolutions:
        logits, features = predict_clean(made, bank, 32)
    lower = instructions and precision == "bfloat16"
    assert convolutions.precisions == {torch.bfloat16 if lower else torch.float32}
    assert logits.dtype == features.dtype == np.float32
    error = np.linalg.norm(logits - expected) / np.linalg.norm(expected)
    assert (error < 1e-5) if precision == "float32" else (1e-5 < error < 0.02)
