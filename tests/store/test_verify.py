"""Verifying: no damage passes, and no good store is blamed."""

import os
import shutil
from pathlib import Path

import pytest
from store_samples import make_store, tree

from pipeline.store.format.codecs import Codec
from pipeline.store.format.errors import StoreError
from pipeline.store.read import open_store
from pipeline.tools.verify import verify_store


def read_everything(store: Path) -> None:
    opened = open_store(store, groups=["clean", "plain", "mixed"])
    for split in ("train", "test"):
        opened.clean.logits(split)
        opened.clean.features(split)
        opened.clean.labels(split)
    for name in ("plain", "mixed"):
        group = opened.group(name)
        group.plan_arrays()
        for v in range(group.views):
            group.logits(v)
            group.features(v)


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_store(tmp_path_factory.mktemp("good"), views=3)


@pytest.mark.parametrize("codec", [Codec(), Codec(name="zstd", level=9)], ids=["dense", "zstd"])
@pytest.mark.parametrize("views", [1, 16, 17])
def test_good_stores_are_good(tmp_path: Path, codec: Codec, views: int) -> None:
    store = make_store(tmp_path, views=views, codec=codec)
    assert verify_store(store) == []
    assert verify_store(store, deep=True) == []
    read_everything(store)


def test_a_flipped_bit_in_any_file_is_told_and_never_read(good: Path) -> None:
    files = tree(good)
    assert len(files) > 50
    for number, (name, data) in enumerate(files.items()):
        path = good / name
        damaged = bytearray(data)
        damaged[(number * 7919) % len(data)] ^= 1 << (number % 8)
        path.write_bytes(damaged)
        for deep in (False, True):
            problems = verify_store(good, deep=deep)
            assert [problem.path for problem in problems] == [name], (name, deep)
            assert name in problems[0].message
        with pytest.raises(StoreError):
            read_everything(good)
        path.write_bytes(data)
    assert verify_store(good, deep=True) == []


@pytest.mark.parametrize("damage", ["deleted", "emptied", "truncated", "doubled"])
def test_files_of_another_size_are_told(good: Path, tmp_path: Path, damage: str) -> None:
    store = tmp_path / "damaged.zarr"
    shutil.copytree(good, store)
    for name, data in tree(good).items():
        path = store / name
        if damage == "deleted":
            path.unlink()
        else:
            path.write_bytes({"emptied": b"", "truncated": data[:-1], "doubled": data * 2}[damage])
        told = [problem.path for problem in verify_store(store, deep=True)]
        assert told == [name]
        path.write_bytes(data)
    assert verify_store(store, deep=True) == []


def test_exchanged_files_are_told(good: Path, tmp_path: Path) -> None:
    store = tmp_path / "swapped.zarr"
    shutil.copytree(good, store)
    names = sorted(tree(store))
    same_size = [
        (one, other)
        for i, one in enumerate(names)
        for other in names[i + 1 :]
        if (store / one).stat().st_size == (store / other).stat().st_size
        and (store / one).read_bytes() != (store / other).read_bytes()
    ]
    assert len(same_size) > 40
    for one, other in same_size[:: max(1, len(same_size) // 60)]:
        first, second = (store / one).read_bytes(), (store / other).read_bytes()
        (store / one).write_bytes(second)
        (store / other).write_bytes(first)
        assert {problem.path for problem in verify_store(store)} == {one, other}
        with pytest.raises(StoreError):
            read_everything(store)
        (store / one).write_bytes(first)
        (store / other).write_bytes(second)
    assert verify_store(store) == []


def test_every_problem_is_told_once(good: Path, tmp_path: Path) -> None:
    store = tmp_path / "bad.zarr"
    shutil.copytree(good, store)
    (store / "plain/logits/c.1.0.0").unlink()
    os.truncate(store / "plain/features/c.0.0.0", 3)
    (store / "mixed/stray").write_text("x")
    (store / "clean/manifest.json").unlink()
    kinds = {problem.path: problem.kind for problem in verify_store(store, deep=True)}
    assert kinds == {
        "plain/logits/c.1.0.0": "MissingFileError",
        "plain/features/c.0.0.0": "WrongSizeError",
        "mixed/stray": "ExtraFileError",
        "clean/manifest.json": "ManifestMissingError",
    }


def test_what_is_no_store_is_told(tmp_path: Path) -> None:
    assert [p.kind for p in verify_store(tmp_path / "x.zarr")] == ["StoreMissingError"]
    (tmp_path / "y.zarr").mkdir()
    assert [p.kind for p in verify_store(tmp_path / "y.zarr")] == ["GroupMissingError"]
    (tmp_path / "z.zarr").write_text("a file")
    assert [p.kind for p in verify_store(tmp_path / "z.zarr")] == ["StoreMissingError"]
