"""Tensor files: what goes in comes out, and a failed write leaves the old file."""

import os

import pytest
import torch

from pipeline.core.files import StorageError
from pipeline.results.tensors import read_tensors, save_tensors

TENSORS = {
    "weight": torch.arange(24, dtype=torch.float32).reshape(2, 3, 2, 2),
    "half": torch.tensor([[1.5, -0.25]], dtype=torch.float16),
    "steps": torch.tensor(7),
    "labels": torch.arange(3, dtype=torch.int32),
}


def test_round_trip(tmp_path):
    path = tmp_path / "a.safetensors"
    facts = {"epoch": "3", "curves": '{"x": [NaN]}', "name": "ä"}
    save_tensors(TENSORS, path, facts)
    tensors, actual = read_tensors(path)
    assert actual == facts
    assert tensors.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert tensors[name].dtype == tensor.dtype
        assert torch.equal(tensors[name], tensor)


def test_without_text(tmp_path):
    save_tensors(TENSORS, tmp_path / "a", {})
    assert read_tensors(tmp_path / "a")[1] == {}


def test_memory_format_and_order_leave_the_bytes_as_they_are(tmp_path):
    save_tensors(TENSORS, tmp_path / "a", {"x": "1", "y": "2"})
    strided = TENSORS["weight"].contiguous(memory_format=torch.channels_last)
    shuffled = {name: TENSORS[name] for name in reversed(TENSORS)} | {"weight": strided}
    save_tensors(shuffled, tmp_path / "b", {"y": "2", "x": "1"})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_tensors_that_share_memory_are_stored_twice(tmp_path):
    whole = torch.arange(6.0)
    tied = {"whole": whole, "again": whole, "part": whole[2:4]}
    save_tensors(tied, tmp_path / "a", {})
    tensors, _ = read_tensors(tmp_path / "a")
    assert all(torch.equal(tensors[name], tensor) for name, tensor in tied.items())


def test_a_failed_write_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a"
    save_tensors(TENSORS, path, {"epoch": "1"})
    before = path.read_bytes()

    def full(descriptor):
        raise OSError("no space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(StorageError):
            save_tensors({}, path, {"epoch": "2"})
    assert path.read_bytes() == before
    save_tensors({}, path, {"epoch": "2"})
    assert read_tensors(path) == ({}, {"epoch": "2"})
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize("kept", [0, 4, 20, 300, -1])
def test_a_damaged_file_is_named(tmp_path, kept):
    path = tmp_path / "a"
    save_tensors(TENSORS, path, {"epoch": "1"})
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ValueError, match="is damaged") as caught:
        read_tensors(path)
    assert str(path) in str(caught.value)


def test_an_absent_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_tensors(tmp_path / "a")
