"""bfloat16 without instructions for it: the numbers of processors that have them."""

import copy
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from pipeline.models.bfloat16 import fast_bfloat16, has_bfloat16

CPU = torch.device("cpu")


@pytest.fixture
def without(monkeypatch):
    """A processor without the instructions, whatever this one has."""
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    assert not has_bfloat16(CPU)


def rounded(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).bfloat16()


def answers(layer: nn.Module, inputs: Tensor, gradient: Tensor) -> list[Tensor]:
    """A layer's output, and the gradients of its inputs and its parameters for one of the output."""
    inputs = inputs.detach().requires_grad_()
    output = layer(inputs)
    sources = [inputs, *layer.parameters()]
    return [output, *torch.autograd.grad(output, sources, gradient.to(output.dtype))]


LAYERS = {
    "convolution": (lambda: nn.Conv2d(8, 16, 3, padding=1, bias=False), (4, 8, 10, 10)),
    "strided": (lambda: nn.Conv2d(8, 16, 3, stride=2, padding=1), (4, 8, 10, 10)),
    "depthwise": (lambda: nn.Conv2d(8, 8, 3, padding="same", groups=8), (4, 8, 10, 10)),
    "one_dimension": (lambda: nn.Conv1d(8, 16, 3), (4, 8, 10)),
    "linear": (lambda: nn.Linear(32, 10), (16, 32)),
}


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("asked_by", ["autocast", "dtype"])
def test_sums_of_rounded_numbers_are_rounded_once(name, asked_by, without):
    make, shape = LAYERS[name]
    torch.manual_seed(0)
    layer = make().bfloat16()
    inputs = rounded(*shape, seed=1)
    gradient = rounded(*layer(inputs).shape, seed=2)
    exact = answers(copy.deepcopy(layer).double(), inputs.double(), gradient.double())
    if asked_by == "autocast":
        layer, inputs = layer.float(), inputs.float()
    autocast = torch.autocast("cpu", torch.bfloat16, enabled=asked_by == "autocast")
    with fast_bfloat16(CPU, asked=True), autocast:
        found = answers(layer, inputs, gradient)
    assert found[0].dtype == torch.bfloat16
    for ours, theirs in zip(found, exact, strict=True):
        # A sum in float32 may lie on the other side of the middle between two numbers.
        same = ours.double() == theirs.float().bfloat16().double()
        assert same.double().mean() > 0.99
        torch.testing.assert_close(ours.double(), theirs, rtol=2**-8, atol=1e-5)


def test_inputs_and_weights_are_rounded_first(without):
    layer = nn.Conv2d(3, 4, 3)
    images = torch.randn(2, 3, 8, 8)
    with fast_bfloat16(CPU, asked=True), torch.autocast("cpu", torch.bfloat16):
        found = layer(images)
        named = torch.conv2d(input=images, weight=layer.weight, bias=layer.bias)
    layer.load_state_dict({k: v.bfloat16() for k, v in layer.state_dict().items()})
    assert torch.equal(found, layer(images.bfloat16().float()).bfloat16())
    assert torch.equal(found, named)


def test_what_nobody_asks_to_be_rounded_stays_as_it_is(without):
    layer, images = nn.Conv2d(3, 4, 3), torch.randn(2, 3, 8, 8)
    expected = layer(images)
    with fast_bfloat16(CPU, asked=True):
        assert torch.equal(layer(images), expected)
        with torch.autocast("cpu", torch.bfloat16), torch.autocast("cpu", enabled=False):
            assert torch.equal(layer(images), expected)


def test_where_nothing_asks_nothing_is_looked_at(without):
    assert isinstance(fast_bfloat16(CPU, asked=False), nullcontext)


def test_devices_with_instructions_are_left_to_them(monkeypatch):
    assert has_bfloat16(torch.device("cuda"))
    monkeypatch.setattr("pipeline.models.bfloat16.has_bfloat16", lambda device: True)
    assert isinstance(fast_bfloat16(CPU, asked=True), nullcontext)


@pytest.mark.skipif(
    not Path("/proc/cpuinfo").exists(), reason="only Linux lists instructions there"
)
def test_instructions_are_those_of_the_processor():
    listed = {word for word in Path("/proc/cpuinfo").read_text().split() if "bf16" in word}
    assert has_bfloat16(CPU) == bool(listed & {"avx512_bf16", "bf16"})
