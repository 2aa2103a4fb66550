"""Reading, checking and writing weights."""

import argparse
import collections
import hashlib
import json
import os
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from torch import Tensor, nn

from pipeline.checkpoints import (
    CheckpointError,
    load_into,
    load_weights,
    read_pth,
    save_weights,
    weights_digest,
)
from pipeline.models import build

torch.set_num_threads(1)

every_format = pytest.mark.parametrize("zip_format", [True, False], ids=["zip", "legacy"])


def example_state() -> dict[str, Tensor]:
    torch.manual_seed(0)
    return build("resnet8", 10).state_dict()


def assert_same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert list(found) == list(expected)
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype, name
        assert torch.equal(found[name], tensor), name


class Hostile:
    """Writes a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f"touch '{self.marker}'",)


# ---------------------------------------------------------------- read_pth


def zoo_file(state: dict[str, Tensor]) -> dict[str, Any]:
    """What the zoo's training script saves at its end."""
    options = argparse.Namespace(model="resnet8", lr_decay_epochs=[150, 180, 210], trial=0, lr=0.05)
    optimizer = {"state": {0: {"momentum_buffer": torch.ones(2)}}, "param_groups": [{"lr": 0.05}]}
    return {"opt": options, "model": state, "optimizer": optimizer}


WRAPPINGS: dict[str, Callable[[dict[str, Tensor]], Any]] = {
    "bare": lambda state: state,
    "ordered": collections.OrderedDict,
    "model": lambda state: {"epoch": 240, "model": state, "best_acc": torch.tensor(72.5)},
    "state_dict": lambda state: {"state_dict": state, "arch": "resnet8"},
    "namespace": zoo_file,
    "data-parallel": lambda state: {"module." + name: tensor for name, tensor in state.items()},
    "model, data-parallel": lambda state: {
        "model": {"module." + name: tensor for name, tensor in state.items()}
    },
    "parameters": lambda state: {
        name: nn.Parameter(tensor) if tensor.is_floating_point() else tensor
        for name, tensor in state.items()
    },
}


@every_format
@pytest.mark.parametrize("wrapping", WRAPPINGS)
def test_each_kind_of_file_is_read(tmp_path: Path, wrapping: str, zip_format: bool) -> None:
    path, state = tmp_path / "x.pth", example_state()
    torch.save(WRAPPINGS[wrapping](state), path, _use_new_zipfile_serialization=zip_format)
    found = read_pth(path)
    assert_same(found, state)
    assert not any(tensor.requires_grad for tensor in found.values())
    load_into(build("resnet8", 10), found)


def test_prefix_stays_where_only_some_have_it(tmp_path: Path) -> None:
    state = {"module.a": torch.ones(1), "b": torch.ones(1)}
    torch.save(state, tmp_path / "x.pth")
    assert list(read_pth(tmp_path / "x.pth")) == ["module.a", "b"]


def test_a_weight_called_model_is_a_weight(tmp_path: Path) -> None:
    torch.save({"model": torch.ones(1)}, tmp_path / "x.pth")
    assert list(read_pth(tmp_path / "x.pth")) == ["model"]


@every_format
@pytest.mark.parametrize("place", ["beside", "inside", "alone", "in the options"])
def test_a_hostile_file_is_refused_unread(tmp_path: Path, place: str, zip_format: bool) -> None:
    path, marker = tmp_path / "x.pth", tmp_path / "marker"
    state, hostile = example_state(), Hostile(marker)
    content: dict[str, Any] = {
        "beside": {"model": state, "extra": hostile},
        "inside": {"model": {**state, "extra": hostile}},
        "alone": hostile,
        "in the options": {"model": state, "opt": argparse.Namespace(extra=hostile)},
    }
    torch.save(content[place], path, _use_new_zipfile_serialization=zip_format)
    with pytest.raises(CheckpointError, match=r"x\.pth: refused, for it asks for \w+\.system") as e:
        read_pth(path)
    assert "weights_only" not in str(e.value)  # torch's advice to switch the protection off
    assert not marker.exists()
    torch.load(path, weights_only=False)  # the payload works where it is let
    assert marker.exists()


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_hostile_bare_pickle_is_refused(tmp_path: Path, protocol: int) -> None:
    path, marker = tmp_path / "x.pth", tmp_path / "marker"
    path.write_bytes(pickle.dumps(Hostile(marker), protocol=protocol))
    with pytest.raises(CheckpointError):
        read_pth(path)
    assert not marker.exists()


def test_a_pickled_network_is_refused(tmp_path: Path) -> None:
    torch.save(nn.Linear(2, 2), tmp_path / "x.pth")
    with pytest.raises(CheckpointError, match=r"asks for torch\.nn\.modules\.linear\.Linear"):
        read_pth(tmp_path / "x.pth")


def test_only_the_namespace_is_let_in_and_only_while_reading(tmp_path: Path) -> None:
    path = tmp_path / "x.pth"
    torch.save(zoo_file(example_state()), path)
    read_pth(path)
    assert argparse.Namespace not in torch.serialization.get_safe_globals()
    torch.save({"model": example_state(), "opt": argparse.ArgumentParser}, path)
    with pytest.raises(CheckpointError, match="asks for argparse"):
        read_pth(path)


@every_format
def test_a_truncated_file_is_refused_wherever_it_ends(tmp_path: Path, zip_format: bool) -> None:
    path = tmp_path / "x.pth"
    torch.save(zoo_file({"a": torch.ones(300)}), path, _use_new_zipfile_serialization=zip_format)
    content = path.read_bytes()
    for length in (0, 1, 2, 50, 200, len(content) // 2, len(content) - 100, len(content) - 1):
        path.write_bytes(content[:length])
        with pytest.raises(CheckpointError, match=r"x\.pth: (damaged|refused)"):
            read_pth(path)
    path.write_bytes(content)
    assert list(read_pth(path)) == ["a"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (torch.ones(2), "holds a Tensor, not a state dict"),
        ([torch.ones(2)], "holds a list, not a state dict"),
        ({}, "no entries"),
        ({"model": {}}, "no entries"),
        ({"epoch": 3, "weights": {"a": torch.ones(2)}}, r"no weights \('epoch', 'weights'\)"),
        ({"model": {"a": torch.ones(2), "b": 3}}, r"no weights \('b'\)"),
        ({1: torch.ones(2)}, r"no weights \('1'\)|no weights \(1\)"),
        ({"a": torch.ones(2, 2).to_sparse()}, r"no weights \('a'\)"),
    ],
)
def test_a_file_without_a_state_dict(tmp_path: Path, content: Any, message: str) -> None:
    torch.save(content, tmp_path / "x.pth")
    with pytest.raises(CheckpointError, match=message):
        read_pth(tmp_path / "x.pth")


def test_files_that_are_none_of_these(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="cannot be read"):
        read_pth(tmp_path / "absent.pth")
    with pytest.raises(CheckpointError, match="cannot be read"):
        read_pth(tmp_path)
    (tmp_path / "text.pth").write_text("hello, I am no checkpoint\n")
    with pytest.raises(CheckpointError, match=r"text\.pth"):
        read_pth(tmp_path / "text.pth")
    save_weights(example_state(), tmp_path / "own.safetensors")
    with pytest.raises(CheckpointError, match=r"own\.safetensors"):
        read_pth(tmp_path / "own.safetensors")


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
    found = network.state_dict()["conv1.weight"]
    assert found.dtype == torch.float32
    assert torch.equal(found, state["conv1.weight"].float())


def test_all_that_does_not_fit_is_listed_and_nothing_is_loaded() -> None:
    network, state = build("resnet8", 10), example_state()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    state["surplus"] = torch.ones(1)
    del state["bn1.bias"], state["layer1.0.conv1.weight"]
    state["layer2.0.bn1.weight"] = torch.ones(7)
    state["conv1.weight"] = torch.ones(16, 3, 3, 3, dtype=torch.int64)
    with pytest.raises(CheckpointError) as error:
        load_into(network, state)
    first, *lines = str(error.value).splitlines()
    assert (
        first == "the checkpoint does not fit ResNet; is this checkpoint of another architecture?"
    )
    assert [line.strip() for line in lines] == [
        "missing: bn1.bias",
        "missing: layer1.0.conv1.weight",
        "unexpected: surplus",
        "unfitting: conv1.weight: int64 [16, 3, 3, 3], in the network float [16, 3, 3, 3]",
        "unfitting: layer2.0.bn1.weight: float [7], in the network float [32]",
    ]
    assert_same(network.state_dict(), before)


@pytest.mark.parametrize("name", ["resnet8", "vgg8", "mobilenetv2", "shufflenetv2"])
def test_another_number_of_classes_is_named_as_such(name: str) -> None:
    state = build(name, 100).state_dict()
    with pytest.raises(CheckpointError, match=r"number of classes right\?(?s:.*)\[100\].*\[10\]"):
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
    found = load_weights(path)
    assert_same(found, dict(sorted(state.items())))
    with safe_open(path, framework="pt") as file:
        assert file.metadata() is None
    assert weights_digest(found) == weights_digest(state)


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
    found = load_weights(tmp_path / "x")
    assert all(torch.equal(found[name], tensor) for name, tensor in state.items())


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
    with pytest.raises(OSError, match="no space left"):
        save_weights({"a": torch.zeros(1)}, path)
    assert torch.equal(load_weights(path)["a"], torch.ones(1))
    assert [entry.name for entry in tmp_path.iterdir()] == ["x.safetensors"]


def test_loaded_weights_do_not_depend_on_the_file(tmp_path: Path) -> None:
    path = tmp_path / "x"
    save_weights({"a": torch.ones(4)}, path)
    found = load_weights(path)
    path.write_bytes(bytes(len(path.read_bytes())))
    assert torch.equal(found["a"], torch.ones(4))
    found["a"].zero_()  # writable


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
    assert weights_digest(read_pth(tmp_path / "x.pth")) == expected


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
