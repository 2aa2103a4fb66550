"""Files from a stranger or a failing disk, other than stores: each ends in a message, at no great cost."""

import json
import struct
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image
from report_samples import sample_data, write_run

from pipeline.core.arrays import read_array
from pipeline.core.dataset import load_prepared, save_prepared
from pipeline.core.dataset_facts import DatasetError
from pipeline.core.params import ParamsError, load_yaml
from pipeline.evaluation.runs import Run
from pipeline.models.weights import CheckpointError, load_weights
from pipeline.raw.image_files import read_images
from pipeline.results.record import ResultsError, read_record
from pipeline.results.tensors import save_tensors
from pipeline.tools.foreign import read_content, read_foreign
from pipeline.tools.npz import NpzError, NpzReader
from stages.shared.tables import shown

LITTLE = 30 * 2**20  # bytes


def peak(call: Callable[[], object]) -> int:
    """The most memory that Python and numpy took meanwhile, in bytes."""
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def refused(error: type[Exception], text: str, call: Callable[[], object]) -> None:
    """The call raises it, and takes little memory."""

    def look() -> None:
        with pytest.raises(error, match=text):
            call()

    assert peak(look) < LITTLE


# --- arrays ---------------------------------------------------------------------------------------


def npy_header(text: str) -> bytes:
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode("latin1")


NOT_ARRAYS = {
    "more numbers than there are": npy_header(
        "{'descr': '|u1', 'fortran_order': False, 'shape': (10000000000000,), }\n"
    ),
    "more than a number can say": npy_header(
        "{'descr': '|u1', 'fortran_order': False, 'shape': (" + "9" * 30 + ",), }\n"
    ),
    "a broken archive": b"PK\x03\x04" + bytes(40),
    "pickled objects": npy_header("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }\n"),
    "nothing": b"",
}


@pytest.mark.parametrize("name", NOT_ARRAYS)
def test_arrays_that_are_none(tmp_path: Path, name: str) -> None:
    path = tmp_path / "x.npy"
    path.write_bytes(NOT_ARRAYS[name])
    refused(ValueError, "not a readable array", lambda: read_array(path))


def test_a_small_npz_asks_for_little_memory(tmp_path: Path) -> None:
    """A header of version 2 may say that it is 4 GiB long, and spaces compress well."""
    size = 100 << 20
    path = tmp_path / "x.npz"
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("facts.npy", "w", force_zip64=True) as file,
    ):
        file.write(b"\x93NUMPY\x02\x00" + struct.pack("<I", size))
        for _ in range(size >> 20):
            file.write(b" " * 2**20)
    assert path.stat().st_size < 2**20
    with NpzReader(path) as reader:
        refused(NpzError, "facts is no array", lambda: reader.text("facts"))


# --- prepared data, records, curves, features -----------------------------------------------------


def edited(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train_images": float("inf")}, "missing or malformed"),
        ({"image_shape": [10**400]}, "expected .u1"),
        ({"std": [0.2, 0.0, 0.2]}, "deviations"),
        ({"std": [0.2, -0.1, 0.2]}, "deviations"),
    ],
)
def test_facts_of_a_data_set_that_cannot_be(tmp_path: Path, changes: dict, message: str) -> None:
    save_prepared(sample_data(20), tmp_path)
    edited(tmp_path / "dataset.json", **changes)
    refused(DatasetError, message, lambda: load_prepared(tmp_path))


def test_a_data_set_whose_array_claims_too_much(tmp_path: Path) -> None:
    save_prepared(sample_data(20), tmp_path)
    (tmp_path / "train_images.npy").write_bytes(NOT_ARRAYS["more numbers than there are"])
    refused(DatasetError, "train_images.npy: is not a readable", lambda: load_prepared(tmp_path))


NESTED = "[" * 10**5


@pytest.mark.parametrize("text", [NESTED, "[]", '{"replicates": []}', '{"replicates": [{}]}', "{"])
def test_records_that_are_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "record.json").write_text(text)
    refused(ResultsError, "record.json is not", lambda: read_record(tmp_path))


@pytest.fixture
def run(tmp_path: Path) -> Run:
    data = sample_data(20)
    write_run(tmp_path, data, "teachers", "resnet8")
    folder = tmp_path / "teachers/resnet8"
    return Run("teachers", "resnet8", folder, read_record(folder))


@pytest.mark.parametrize("part", ["dataset", "entry", "training", "network", "name"])
def test_records_that_lack_something(run: Run, part: str) -> None:
    content = {key: value for key, value in run.record.facts().items() if key != part}
    (run.folder / "record.json").write_text(json.dumps(content))
    refused(ResultsError, "not the record of a training stage", lambda: read_record(run.folder))


@pytest.mark.parametrize("text", ["", "epoch\n1\n", "epoch,test_top1_accuracy\nx,0.1\n", "é"])
def test_curves_that_are_none(run: Run, text: str) -> None:
    (run.folder / "replicate-0/curves.csv").write_text(text)
    refused(ResultsError, "curves.csv", lambda: run.curves(0))


def test_tensors_of_other_names(run: Run) -> None:
    own = run.folder / "replicate-0"
    save_tensors({"weight": torch.zeros(3)}, own / "train_sample.safetensors", {})
    refused(ResultsError, "holds weight", lambda: run.train_sample(0))


def test_test_logits_that_are_no_array(run: Run) -> None:
    (run.folder / "replicate-0/test_logits.npy").write_bytes(NOT_ARRAYS["a broken archive"])
    refused(ResultsError, "pull or make it again", lambda: run.test_logits(0))


# --- weights --------------------------------------------------------------------------------------


def safetensors(**tensor: object) -> bytes:
    header = json.dumps({"w": tensor}).encode()
    return struct.pack("<Q", len(header)) + header + bytes(16)


@pytest.mark.parametrize(
    "data",
    [
        safetensors(dtype="F4", shape=[32], data_offsets=[0, 16]),
        safetensors(dtype="F8_E8M0", shape=[16], data_offsets=[0, 16]),
        safetensors(dtype="F32", shape=[0, 2**63], data_offsets=[0, 0]),
        safetensors(dtype="F32", shape=[2**40], data_offsets=[0, 16]),
    ],
)
def test_safetensors_that_are_not_read(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(data)
    refused(CheckpointError, "w.safetensors", lambda: load_weights(path))


def test_compressed_checkpoints_are_not_unpacked(tmp_path: Path) -> None:
    plain, packed = tmp_path / "plain.pth", tmp_path / "packed.pth"
    torch.save({"w": torch.zeros(2**22)}, plain)
    with zipfile.ZipFile(plain) as old, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
    assert packed.stat().st_size < plain.stat().st_size / 100
    assert read_content(plain).keys() == {"w"}
    refused(CheckpointError, "torch does not compress", lambda: read_content(packed))


def test_weights_without_numbers_are_no_weights(tmp_path: Path) -> None:
    torch.save({"w": torch.empty(3, device="meta")}, tmp_path / "w.pth")
    network = torch.nn.Linear(1, 1)
    refused(CheckpointError, "no weights", lambda: read_foreign(tmp_path / "w.pth", network))


# --- parameters -----------------------------------------------------------------------------------


def test_aliases_of_aliases_are_counted(tmp_path: Path) -> None:
    lines = ["x0: &x0 [" + ", ".join("a" * 10) + "]"]
    for i in range(1, 12):
        lines.append(f"x{i}: &x{i} [" + ", ".join([f"*x{i - 1}"] * 10) + "]")
    path = tmp_path / "params.yaml"
    path.write_text("\n".join([*lines, "machine: *x11"]))
    assert path.stat().st_size < 1000
    refused(ParamsError, "more than 1,000,000 values", lambda: load_yaml(path))


def test_a_mapping_in_itself(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text("machine: &m\n  again: *m\n")
    refused(ParamsError, "values, aliases counted", lambda: load_yaml(path))


# --- pictures -------------------------------------------------------------------------------------


def test_a_thin_picture_is_not_blown_up(tmp_path: Path) -> None:
    Image.new("L", (1, 200_000)).save(tmp_path / "x.png")
    assert (tmp_path / "x.png").stat().st_size < 2**14
    refused(
        DatasetError, "too long to be made square", lambda: read_images([tmp_path / "x.png"], 64)
    )


# --- the terminal ---------------------------------------------------------------------------------


def test_what_a_file_holds_does_not_move_the_cursor() -> None:
    assert shown("a \x1b]0;title\x07 é\u202e") == "a \\x1b]0;title\\x07 é\\u202e"
