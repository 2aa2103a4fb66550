"""Checkpoints of every wrapping that is in use, and files that are none: read, or refused by name.

Every file is written by torch itself (or is what a failed download leaves), none is made up.
"""

import argparse
import collections
import copy
import datetime
import gzip
import os
import pickle
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from pipeline.models.catalogue import MODELS, canonical_name
from pipeline.models.registry import build
from pipeline.models.weights import CheckpointError, load_into, save_weights, weights_digest
from pipeline.tools.foreign import Foreign, read_content, read_foreign

torch.set_num_threads(1)

State = dict[str, Tensor]
every_format = pytest.mark.parametrize("zip_format", [True, False], ids=["zip", "legacy"])


@pytest.fixture(scope="module")
def network() -> nn.Module:
    torch.manual_seed(0)
    return build("resnet8", 10)


@pytest.fixture
def state(network: nn.Module) -> State:
    return dict(copy.deepcopy(network.state_dict()))


def assert_same(loaded: State, expected: State) -> None:
    assert list(loaded) == list(expected)
    for name, tensor in expected.items():
        assert torch.equal(loaded[name], tensor), name


def read(path: Path, key: str | None = None) -> Foreign:
    return read_foreign(path, build("resnet8", 10), name="resnet8", key=key)


# --- wrappings ------------------------------------------------------------------------------------


def below(prefix: str, state: State) -> State:
    return {prefix + name: tensor for name, tensor in state.items()}


def zoo_file(state: State) -> dict[str, Any]:
    """What the zoo's training script saves at its end."""
    options = argparse.Namespace(model="resnet8", lr_decay_epochs=[150, 180, 210], trial=0, lr=0.05)
    optimizer = {"state": {0: {"momentum_buffer": torch.ones(2)}}, "param_groups": [{"lr": 0.05}]}
    return {"opt": options, "model": state, "optimizer": optimizer}


def averaged(state: State) -> State:
    """What torch's averaged model saves."""
    network = build("resnet8", 10)
    network.load_state_dict(state)
    return dict(AveragedModel(network).state_dict())


def profiled(state: State) -> State:
    """What a profiler leaves in every module of a network that is saved after it."""
    modules = {name.rpartition(".")[0] for name in state} | {"layer1", "layer1.0"}
    counters = {f"{m}.{n}": torch.zeros(1) for m in modules for n in ("total_ops", "total_params")}
    return {**state, "total_ops": torch.zeros(1), "total_params": torch.zeros(1), **counters}


def old(state: State) -> State:
    """As torch before 0.4.1 saved it."""
    return {name: t for name, t in state.items() if not name.endswith("num_batches_tracked")}


BESIDE = {
    "best_acc": np.float64(92.6),
    "epoch": np.int64(240),
    "losses": np.arange(3.0),
    "names": np.array(["a", "b"]),
    "saved": datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC).replace(tzinfo=None),
    "args": argparse.Namespace(out=Path("runs"), lr=0.05),
    "path": Path("runs"),
}

WRAPPINGS: dict[str, Callable[[State], Any]] = {
    "bare": lambda state: state,
    "ordered": collections.OrderedDict,
    "zoo": zoo_file,
    "model": lambda state: {"epoch": 240, "model": state, "best_acc": torch.tensor(72.5)},
    "state_dict": lambda state: {"state_dict": state, "arch": "resnet8"},
    "net": lambda state: {"net": state, "acc": 93.1, "epoch": 199},
    "model_state_dict": lambda state: {"model_state_dict": state, "optimizer_state_dict": {}},
    "ema": lambda state: {"ema": state},
    "nested": lambda state: {"checkpoint": {"model": {"state_dict": state}}},
    "tuple": lambda state: (240, state),
    "data-parallel": lambda state: below("module.", state),
    "compiled": lambda state: below("_orig_mod.", state),
    "compiled, data-parallel": lambda state: {"model": below("module._orig_mod.", state)},
    "lightning": lambda state: {"state_dict": {**below("model.", state), "loss.t": torch.ones(1)}},
    "student of a distiller": lambda state: {"model": below("module.student.", state)},
    "averaged": averaged,
    "profiled": profiled,
    "averaged, profiled": lambda state: averaged(state) | below("module.", profiled(state)),
    "old": old,
    "old, data-parallel": lambda state: {"state_dict": below("module.", old(state))},
    "numpy beside": lambda state: {"state_dict": state, **BESIDE},
    "other entries": lambda state: {**state, "epoch": 3, "extra": None},
    "parameters": lambda state: {
        name: nn.Parameter(tensor) if tensor.is_floating_point() else tensor
        for name, tensor in state.items()
    },
}


@every_format
@pytest.mark.parametrize("wrapping", WRAPPINGS)
def test_each_wrapping_is_taken_off(
    tmp_path: Path, state: State, wrapping: str, zip_format: bool
) -> None:
    path = tmp_path / "x.pth"
    torch.save(WRAPPINGS[wrapping](state), path, _use_new_zipfile_serialization=zip_format)
    loaded = read(path).state
    assert_same(loaded, state)
    assert not any(tensor.requires_grad for tensor in loaded.values())
    load_into(build("resnet8", 10), loaded)


def test_safetensors_by_content(tmp_path: Path, state: State) -> None:
    for name, weights in (("x.safetensors", state), ("x.pth", below("module.", state))):
        save_weights(weights, tmp_path / name)
        assert weights_digest(read(tmp_path / name).state) == weights_digest(state)


def test_numpy_of_before_and_after_its_second_version(tmp_path: Path, state: State) -> None:
    """Files name a private module of the numpy that wrote them."""
    torch.save({"model": state, "acc": np.float32(3)}, tmp_path / "x.pth")
    with zipfile.ZipFile(tmp_path / "x.pth") as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    (pickled,) = (name for name in parts if name.endswith("data.pkl"))
    names = (b"numpy._core.multiarray", b"numpy.core.multiarray")
    assert any(name in parts[pickled] for name in names)
    for old_name, new_name in (names, names[::-1]):
        with zipfile.ZipFile(tmp_path / "y.pth", "w") as archive:
            for name, content in parts.items():
                archive.writestr(name, content.replace(old_name, new_name))
        assert_same(read(tmp_path / "y.pth").state, state)


def test_values_beside_the_weights_are_inert(tmp_path: Path, state: State) -> None:
    before = set(torch.serialization.get_safe_globals())
    torch.save({"model": state, **BESIDE}, tmp_path / "x.pth")
    content = read_content(tmp_path / "x.pth")
    kinds = {type(content[name]).__name__ for name in BESIDE}
    assert kinds == {"Inert"}
    assert set(torch.serialization.get_safe_globals()) == before


@pytest.mark.parametrize("order", ["as is", "reversed"])
@pytest.mark.parametrize("average", ["state_dict_ema", "model_ema", "swa"])
def test_of_two_that_fit_the_trained_one_is_taken_and_told(
    tmp_path: Path, state: State, order: str, average: str
) -> None:
    other = {name: t + 1 for name, t in state.items()}
    content = {"state_dict": state, average: other}
    if order == "reversed":
        content = dict(reversed(content.items()))
    torch.save(content, tmp_path / "x.pth")
    loaded = read(tmp_path / "x.pth")
    assert_same(loaded.state, state)
    assert "used the weights under state_dict" in loaded.notes
    assert f"others fit too, under {average} (choose them with --key)" in loaded.notes
    assert_same(read(tmp_path / "x.pth", average).state, other)


def test_a_student_beside_its_teacher(tmp_path: Path, state: State) -> None:
    """Both lie in one mapping; of one architecture, or of two."""
    twin = {name: t + 1 for name, t in state.items()}
    torch.save({"model": below("teacher.", twin) | below("student.", state)}, tmp_path / "x.pth")
    assert_same(read(tmp_path / "x.pth").state, state)
    assert_same(read(tmp_path / "x.pth", "model.teacher").state, twin)
    larger = build("resnet14", 10).state_dict()
    torch.save(
        below("module.teacher.", dict(larger)) | below("module.student.", state), tmp_path / "y.pth"
    )
    loaded = read(tmp_path / "y.pth")
    assert_same(loaded.state, state)
    assert any("left out" in note and "module.teacher" in note for note in loaded.notes)


def test_a_key_that_is_not_there(tmp_path: Path, state: State) -> None:
    torch.save({"state_dict": state, "epoch": 3}, tmp_path / "x.pth")
    with pytest.raises(
        CheckpointError, match=r"no weights under 'ema'; it holds state_dict \(\d+ e"
    ):
        read(tmp_path / "x.pth", "ema")


def test_counters_that_are_there_stay(tmp_path: Path, state: State) -> None:
    some = {n: t + 7 for n, t in state.items() if n != "bn1.num_batches_tracked"}
    torch.save(some, tmp_path / "x.pth")
    loaded = read(tmp_path / "x.pth").state
    assert loaded["layer1.0.bn1.num_batches_tracked"] == 7
    assert loaded["bn1.num_batches_tracked"] == 0


# --- misfits --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stored", "wrap", "message"),
    [
        (
            "resnet14",
            lambda s: s,
            r"x.pth: the 92 weights do not fit resnet8: 36 unexpected \(layer1.1",
        ),
        ("vgg8", lambda s: {"net": s}, r"weights under net do not fit resnet8: \d+ missing \("),
        (
            "resnet8x4",
            lambda s: below("module.", s),
            r"of another shape \(.*, \.\.\.\)\. Is it of ano",
        ),
    ],
)
def test_a_misfit_is_counted_in_a_few_words(
    tmp_path: Path, stored: str, wrap: Callable[[State], Any], message: str
) -> None:
    torch.save(wrap(dict(build(stored, 10).state_dict())), tmp_path / "x.pth")
    with pytest.raises(CheckpointError, match=message) as error:
        read(tmp_path / "x.pth")
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 900


def test_other_classes_are_named_as_such(tmp_path: Path) -> None:
    torch.save({"net": build("resnet8", 100).state_dict()}, tmp_path / "x.pth")
    with pytest.raises(
        CheckpointError, match=r"2 of another shape.*\[100, 64\].*number of classes"
    ):
        read(tmp_path / "x.pth")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (torch.ones(2), "holds no weights; it holds a Tensor"),
        ([3, "x"], "holds no weights; it holds a list"),
        ({}, "holds no weights; it holds nothing"),
        ({"model": {}, "epoch": 3}, r"it holds model \(0 entries\), epoch \(int\)"),
        ({"epoch": 3, "weights": {"a": torch.ones(2)}}, "the 1 weights under weights do not fit"),
        ({1: torch.ones(2)}, r"it holds 1 \(Tensor\)"),
        ({"conv1.weight": torch.ones(2, 2).to_sparse()}, "holds no weights"),
        ({"conv1.weight": torch.ones(2, device="meta")}, "holds no weights"),
        ({"model": {"conv1.weight": np.ones(3)}}, "holds no weights"),
    ],
)
def test_a_file_without_weights(tmp_path: Path, content: Any, message: str) -> None:
    torch.save(content, tmp_path / "x.pth")
    with pytest.raises(CheckpointError, match=message):
        read(tmp_path / "x.pth")


def test_a_file_that_holds_itself_is_read_once(tmp_path: Path, state: State) -> None:
    """Pickle can say the same container again in a few bytes, and so ask for millions of visits."""
    content: dict[str, Any] = {"state_dict": state}
    for _ in range(3):
        content = {
            **{f"again {n}": content for n in range(200)},
            "state_dict": content["state_dict"],
        }
    content["itself"] = content
    torch.save(content, tmp_path / "x.pth")
    started = time.process_time()
    assert_same(read(tmp_path / "x.pth").state, state)
    assert time.process_time() - started < 5


def test_weights_under_two_names_have_both(tmp_path: Path, state: State) -> None:
    torch.save({"state_dict": state, "model": state}, tmp_path / "x.pth")
    assert read(tmp_path / "x.pth").key == "state_dict"
    assert read(tmp_path / "x.pth", key="model").key == "model"


# --- files that are none --------------------------------------------------------------------------

POINTER = (
    "version https://git-lfs.github.com/spec/v1\n"
    "oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 1161242\n"
)
NO_CHECKPOINTS = {
    "empty": (b"", "the file is empty"),
    "web page": (b"\n<!DOCTYPE html><html><head><title>Sign in</title>", "a web page"),
    "web page in French": ("<html lang=fr><p>Connexion expirée".encode(), "a web page"),
    "xml": (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "a web page"),
    "pointer": (POINTER.encode(), "a Git LFS pointer.*git lfs pull"),
    "annex": (b"/annex/objects/SHA256E-s3--4d7a.pth\n", "a git-annex pointer"),
    "text": (b"Not Found\n", r"a text file \(\['Not Found'\]\)"),
    "json": (b'{"message": "Bad credentials"}', "a text file"),
    "blank": (b" \n\n", "a text file"),
    "gzip": (gzip.compress(b"x" * 100), "compressed with gzip"),
    "hdf5": (b"\x89HDF\r\n\x1a\n" + bytes(100), "an HDF5 file"),
    "half an archive": (b"PK\x03\x04" + bytes(100), "damaged: its end is missing"),
}


@pytest.mark.parametrize("name", NO_CHECKPOINTS)
def test_what_a_download_left_instead_is_named(tmp_path: Path, name: str) -> None:
    content, message = NO_CHECKPOINTS[name]
    (tmp_path / "x.pth").write_bytes(content)
    with pytest.raises(CheckpointError, match=f"x.pth: {message}"):
        read(tmp_path / "x.pth")


def test_archives_of_other_things(tmp_path: Path, network: nn.Module) -> None:
    with zipfile.ZipFile(tmp_path / "x.pth", "w") as archive:
        archive.writestr("models/resnet8.pth", b"x")
    with pytest.raises(
        CheckpointError, match=r"a zip archive of other files \(models/resnet8.pth\)"
    ):
        read(tmp_path / "x.pth")
    with zipfile.ZipFile(tmp_path / "y.pth", "w") as archive:
        for name in ("x/data.pkl", "x/constants.pkl", "x/code/__torch__.py"):
            archive.writestr(name, b"x")
    with pytest.raises(CheckpointError, match="a TorchScript program"):
        read(tmp_path / "y.pth")


def test_a_safetensors_file_whose_length_looks_like_something_else(tmp_path: Path) -> None:
    """The first bytes are a number: that of gzip, or of a web page, may be it."""
    for length in (0x8B1F, 0x3C68):
        header = b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}'
        header = header + b" " * (length - len(header) - 1) + b"}"
        (tmp_path / "x").write_bytes(length.to_bytes(8, "little") + header + bytes(4))
        assert list(read_content(tmp_path / "x")) == ["a"]


def test_files_that_are_not_there(tmp_path: Path) -> None:
    for path in (tmp_path / "absent.pth", tmp_path):
        with pytest.raises(CheckpointError, match="cannot be read"):
            read(path)


@every_format
def test_a_truncated_file_is_refused_wherever_it_ends(tmp_path: Path, zip_format: bool) -> None:
    path = tmp_path / "x.pth"
    torch.save(zoo_file({"a": torch.ones(300)}), path, _use_new_zipfile_serialization=zip_format)
    content = path.read_bytes()
    for length in (0, 1, 2, 50, 200, len(content) // 2, len(content) - 100, len(content) - 1):
        path.write_bytes(content[:length])
        with pytest.raises(
            CheckpointError, match=r"x\.pth: (damaged|refused|the file is empty|a text)"
        ):
            read_content(path)
    path.write_bytes(content)
    assert list(read_content(path)["model"]) == ["a"]


# --- files that mean harm -------------------------------------------------------------------------


class Hostile:
    """Writes a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f"touch '{self.marker}'",)


@every_format
@pytest.mark.parametrize("place", ["beside", "inside", "alone", "in the options", "in an array"])
def test_a_hostile_file_is_refused_unread(
    tmp_path: Path, state: State, place: str, zip_format: bool
) -> None:
    path, marker = tmp_path / "x.pth", tmp_path / "marker"
    hostile = Hostile(marker)
    content: dict[str, Any] = {
        "beside": {"model": state, "extra": hostile},
        "inside": {"model": {**state, "extra": hostile}},
        "alone": hostile,
        "in the options": {"model": state, "opt": argparse.Namespace(extra=hostile)},
        "in an array": {"model": state, "curve": np.array([hostile], dtype=object)},
    }
    torch.save(content[place], path, _use_new_zipfile_serialization=zip_format)
    with pytest.raises(
        CheckpointError, match=r"x\.pth: refused, because it asks for \w+\.system"
    ) as e:
        read(path)
    assert "weights_only" not in str(e.value)  # torch's advice to switch the protection off
    assert not marker.exists()
    torch.load(path, weights_only=False)  # the payload works where it is let
    assert marker.exists()


def test_a_record_under_many_names_is_refused(tmp_path: Path, state: State) -> None:
    """A file of megabytes that would be read as gigabytes."""
    path = tmp_path / "x.pth"
    torch.save({"model": state, "large": torch.zeros(10**6)}, path)
    assert read(path).key == "model"
    with zipfile.ZipFile(path, "a") as archive:
        largest = max(archive.infolist(), key=lambda info: info.file_size)
        other = copy.copy(largest)
        other.filename = f"{largest.filename}0"
        archive.filelist.append(other)
        archive.comment = b"x"  # so that the directory is written again
    with pytest.raises(CheckpointError, match=r"x\.pth: .*its records are larger than the file"):
        read(path)


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_hostile_bare_pickle_is_refused(tmp_path: Path, protocol: int) -> None:
    path, marker = tmp_path / "x.pth", tmp_path / "marker"
    path.write_bytes(pickle.dumps(Hostile(marker), protocol=protocol))
    with pytest.raises(CheckpointError):
        read(path)
    assert not marker.exists()


def test_a_pickled_network_is_refused(tmp_path: Path) -> None:
    torch.save(nn.Linear(2, 2), tmp_path / "x.pth")
    with pytest.raises(CheckpointError, match=r"asks for torch\.nn\.modules\.linear\.Linear"):
        read(tmp_path / "x.pth")


def test_no_other_class_of_a_known_module_is_let_in(tmp_path: Path, state: State) -> None:
    torch.save({"model": state, "opt": argparse.ArgumentParser}, tmp_path / "x.pth")
    with pytest.raises(CheckpointError, match="asks for argparse"):
        read(tmp_path / "x.pth")


# --- names ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "own"),
    [
        ("MobileNetV2", "mobilenetv2"),
        ("mobile_half", "mobilenetv2"),
        ("ShuffleV1", "shufflenetv1"),
        ("ShuffleV2", "shufflenetv2"),
        ("ResNet50", "resnet50"),
        ("ResNet32x4", "resnet32x4"),
        ("WRN-40-2", "wrn_40_2"),
        ("vgg13_bn", "vgg13"),
        ("cifar100_resnet56", "resnet56"),
        ("resnet18", "resnet18"),
    ],
)
def test_names_of_the_field(name: str, own: str) -> None:
    assert canonical_name(name) == own
    if own in MODELS:
        with pytest.raises(ValueError, match=f"did you mean {own}"):
            build(name, 10)


def test_own_names_stay() -> None:
    assert [canonical_name(name) for name in MODELS] == list(MODELS)
