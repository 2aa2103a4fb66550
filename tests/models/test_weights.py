"""Reading, checking and writing weights."""

import hashlib
import json
import os
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from torch import Tensor

from pipeline.core.files import StorageError
from pipeline.models.registry import build
from pipeline.models.weights import (
    CheckpointError,
    load_into,
    load_weights,
    save_weights,
    weights_digest,
)
from pipeline.tools.foreign import read_foreign

torch.set_num_threads(1)


def example_state() -> dict[str, Tensor]:
    torch.manual_seed(0)
    return build("resnet8", 10).state_dict()


def assert_same(actual: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert list(actual) == list(expected)
    for name, tensor in expected.items():
        assert actual[name].dtype == tensor.dtype, name
        assert torch.equal(actual[name], tensor), name


# ---------------------------------------------------------------- load_into


def test_loading_copies_every_weight() -> None:
    torch.manual_seed(1)
    network, state = build("resnet8", 10), example_state()
    assert not torch.equal(network.state_dict()["conv1.weight"], state["conv1.weight"])
    load_into(network, state)
    assert_same(network.state_dict(), state)
    state["conv1.weight"].zero_()
    assert network.state_dict()["conv1.weight"].any()


def test_half_precision_fits_and_is_widened() -> None:
    network, state = build("resnet8", 10), example_state()
    state["conv1.weight"] = state["conv1.weight"].half()
    load_into(network, state)
    actual = network.state_dict()["conv1.weight"]
    assert actual.dtype == torch.float32
    assert torch.equal(actual, state["conv1.weight"].float())


def test_what_does_not_fit_is_counted_and_nothing_is_loaded() -> None:
    network, state = build("resnet8", 10), example_state()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    state["surplus"] = torch.ones(1)
    del state["bn1.bias"], state["layer1.0.conv1.weight"]
    state["layer2.0.bn1.weight"] = torch.ones(7)
    state["conv1.weight"] = torch.ones(16, 3, 3, 3, dtype=torch.int64)
    with pytest.raises(CheckpointError) as error:
        load_into(network, state, source="some/file.pth", name="resnet8")
    assert str(error.value) == (
        "some/file.pth (55 entries) does not fit resnet8: 2 missing (bn1.bias, "
        "layer1.0.conv1.weight), 1 unexpected (surplus), 2 of another shape (conv1.weight: int64 "
        "[16, 3, 3, 3], in the network float [16, 3, 3, 3], layer2.0.bn1.weight: float [7], in the "
        "network float [32]). Is it of another architecture?"
    )
    assert_same(network.state_dict(), before)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("bn1.running_var", float("inf"), "bn1.running_var holds infinite numbers or NaN"),
        ("bn1.running_mean", float("nan"), "bn1.running_mean holds infinite numbers or NaN"),
        ("conv1.weight", float("-inf"), "conv1.weight holds infinite numbers or NaN"),
        ("fc.bias", 1e300, "fc.bias holds infinite numbers or NaN"),  # float64 that float32 lacks
        ("layer3.0.bn2.running_var", -1e-3, "layer3.0.bn2.running_var holds negative variances"),
    ],
)
def test_numbers_that_no_network_can_have(name: str, value: float, message: str) -> None:
    network, state = build("resnet8", 10), example_state()
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    state[name] = state[name].double()
    state[name].view(-1)[-1] = value
    with pytest.raises(CheckpointError, match=f"x.pth: {message}"):
        load_into(network, state, source="x.pth")
    assert_same(network.state_dict(), before)


@pytest.mark.parametrize("name", ["resnet8", "vgg8", "mobilenetv2", "shufflenetv2"])
def test_another_number_of_classes_is_named_as_such(name: str) -> None:
    state = build(name, 100).state_dict()
    with pytest.raises(CheckpointError, match=r"\[100.*\[10.*number of classes right\?"):
        load_into(build(name, 10), state)


@pytest.mark.parametrize(
    ("stored", "wanted"),
    [("resnet8", "resnet14"), ("resnet14", "resnet8"), ("resnet8", "resnet8x4"), ("vgg8", "vgg11")],
)
def test_another_architecture_is_named_as_such(stored: str, wanted: str) -> None:
    state = build(stored, 10).state_dict()
    with pytest.raises(CheckpointError, match="of another architecture"):
        load_into(build(wanted, 10), state)


# ---------------------------------------------------------------- safetensors


def test_weights_survive_a_file(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    state = {
        "half": torch.randn(3, 2).half(),
        "bfloat16": torch.randn(3).bfloat16(),
        "scalar": torch.tensor(7),
        "empty": torch.empty(0, 3),
        "bool": torch.tensor([True, False]),
        "special": torch.tensor([float("inf"), -0.0, 1e-40]),
    }
    save_weights(state, path)
    actual = load_weights(path)
    assert_same(actual, dict(sorted(state.items())))
    with safe_open(path, framework="pt") as file:
        assert file.metadata() is None
    assert weights_digest(actual) == weights_digest(state)


def test_equal_weights_give_equal_bytes(tmp_path: Path) -> None:
    state = example_state()
    network = build("resnet8", 10)
    network.load_state_dict(state)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    backwards = dict(reversed(state.items()))
    versions: dict[str, Any] = {"state": state, "network": network, "backwards": backwards}
    for name, weights in versions.items():
        save_weights(weights, tmp_path / name)
    contents = {(tmp_path / name).read_bytes() for name in versions}
    assert len(contents) == 1
    assert_same(load_weights(tmp_path / "network"), dict(sorted(state.items())))


def test_weights_that_share_memory_are_stored_twice(tmp_path: Path) -> None:
    whole = torch.arange(6.0)
    state = {"whole": whole, "part": whole[2:4], "transposed": whole.reshape(2, 3).T}
    save_weights(state, tmp_path / "x")
    actual = load_weights(tmp_path / "x")
    assert all(torch.equal(actual[name], tensor) for name, tensor in state.items())


def test_saving_replaces_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(b"old")
    save_weights({"a": torch.ones(1)}, path)
    assert_same(load_weights(path), {"a": torch.ones(1)})
    assert [entry.name for entry in tmp_path.iterdir()] == ["x.safetensors"]
    mode, reference = path.stat().st_mode, tmp_path / "reference"
    reference.touch()
    assert mode == reference.stat().st_mode  # readable by whom the umask allows


def test_a_failed_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.safetensors"
    save_weights({"a": torch.ones(1)}, path)

    def full(descriptor: int) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="cannot write"):
        save_weights({"a": torch.zeros(1)}, path)
    assert torch.equal(load_weights(path)["a"], torch.ones(1))
    assert [entry.name for entry in tmp_path.iterdir()] == ["x.safetensors"]


def test_loaded_weights_do_not_depend_on_the_file(tmp_path: Path) -> None:
    path = tmp_path / "x"
    save_weights({"a": torch.ones(4)}, path)
    actual = load_weights(path)
    path.write_bytes(bytes(len(path.read_bytes())))
    assert torch.equal(actual["a"], torch.ones(4))
    actual["a"].zero_()  # writable


@pytest.mark.parametrize("length", [0, 4, 8, 40, -1])
def test_a_damaged_safetensors_file(tmp_path: Path, length: int) -> None:
    path = tmp_path / "x.safetensors"
    save_weights({"a": torch.ones(4)}, path)
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(CheckpointError, match=r"x\.safetensors: damaged"):
        load_weights(path)


def test_an_absent_safetensors_file(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"x\.safetensors: cannot be read"):
        load_weights(tmp_path / "x.safetensors")


# ---------------------------------------------------------------- digest


def test_digest_by_its_definition() -> None:
    values = [1.5, -2.0, 0.25]
    state = {"b": torch.tensor(3), "a": torch.tensor([values])}
    expected = hashlib.sha256()
    expected.update(json.dumps(["a", "float32", [1, 3]]).encode() + b"\n")
    expected.update(struct.pack("<3f", *values))
    expected.update(json.dumps(["b", "int64", []]).encode() + b"\n")
    expected.update(struct.pack("<q", 3))
    assert weights_digest(state) == expected.hexdigest()


def test_digest_ignores_order_layout_and_the_kind_of_file(tmp_path: Path) -> None:
    state = example_state()
    expected = weights_digest(state)
    network = build("resnet8", 10)
    network.load_state_dict(state)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    save_weights(state, tmp_path / "x")
    torch.save({"model": state}, tmp_path / "x.pth")
    assert weights_digest(network) == expected
    assert weights_digest(dict(reversed(state.items()))) == expected
    assert weights_digest(load_weights(tmp_path / "x")) == expected
    assert weights_digest(read_foreign(tmp_path / "x.pth", network).state) == expected


def test_digest_sees_names_types_shapes_and_values() -> None:
    ones = torch.ones(2, 3)
    states: list[dict[str, Tensor]] = [
        {"a": ones},
        {"b": ones},
        {"a": ones.int()},
        {"a": ones.double()},
        {"a": ones.T},
        {"a": ones.reshape(6)},
        {"a": ones * 2},
        {"a": ones, "b": ones},
        {},
    ]
    assert len({weights_digest(state) for state in states}) == len(states)
