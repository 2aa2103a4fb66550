"""The bytes of a store: readable by plain Zarr, and decided by the inputs alone."""

import hashlib
import json
import os
from pathlib import Path

import google_crc32c
import numpy as np
import pytest
import zarr
from store_samples import (
    CLASSES,
    FEATURES,
    IMAGES,
    header,
    make_store,
    outputs,
    plan,
    publish_store,
    tree,
    write_clean,
    write_group,
    write_views,
)
from zarr.storage import LocalStore, MemoryStore

from pipeline.core.files import canonical_json
from pipeline.store.format import layout
from pipeline.store.format.codecs import Codec
from pipeline.store.format.layout import ArraySpec, GroupShape, group_arrays, metadata_files
from pipeline.store.read import open_store
from pipeline.store.write.unfinished import DurableStore
from pipeline.store.write.writers import GroupWriter
from pipeline.tools.verify import verify_store

ZSTD = Codec(name="zstd", level=3)


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """These tests end no machine, and thousands of syncs take minutes on a busy disk."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)


def arrays_of(group: str, views: int = 5, codec: Codec | None = None) -> dict[str, ArraySpec]:
    return group_arrays(
        GroupShape(
            group=group,
            train_images=IMAGES,
            test_images=12,
            classes=CLASSES,
            views=0 if group == "clean" else views,
            feature_dim=FEATURES,
            codec=codec or Codec(),
        )
    )


def zarr_array(store: Path, path: str) -> np.ndarray:
    return zarr.open_array(store / path, mode="r")[...]


@pytest.mark.parametrize("codec", [Codec(), ZSTD], ids=["dense", "zstd"])
def test_plain_zarr_reads_what_the_reader_reads(tmp_path: Path, codec: Codec) -> None:
    path = make_store(tmp_path, codec=codec)
    store = open_store(path, groups=["clean", "plain", "mixed"])
    for name in ("plain", "mixed"):
        group = store.group(name)
        logits, features = zarr_array(path, f"{name}/logits"), zarr_array(path, f"{name}/features")
        plans = {key: zarr_array(path, f"{name}/{key}") for key in group.plan_arrays()}
        assert logits.shape == (5, IMAGES, CLASSES)
        for v, view in enumerate(plan(name, 5)):
            expected = outputs(name, v, IMAGES, CLASSES)
            assert np.array_equal(logits[v], expected)
            assert np.array_equal(group.logits(v), expected)
            assert np.array_equal(features[v], outputs(name, v, IMAGES, FEATURES))
            assert np.array_equal(group.features(v), features[v])
            for key, array in view.arrays().items():
                assert np.array_equal(plans[key][v], array)
                assert np.array_equal(group.plan(v).arrays()[key], array)
                assert np.array_equal(group.plan_arrays()[key][v], array)
    for split in ("train", "test"):
        for key in ("logits", "features", "labels"):
            ours = getattr(store.clean, key)(split)
            assert np.array_equal(zarr_array(path, f"clean/{split}/{key}"), ours)


def test_the_hierarchy_is_one_that_zarr_walks(tmp_path: Path) -> None:
    path = make_store(tmp_path)
    root = zarr.open_group(path, mode="r")
    assert dict(root.attrs) == {"decant": {"schema": 1}}
    assert json.loads((path / "zarr.json").read_bytes())["node_type"] == "group"
    assert root["mixed/logits"].shape == (5, IMAGES, CLASSES)
    assert root["clean/test/labels"].dtype == np.int32
    assert root["plain/logits"].metadata.dimension_names == ("view", "image", "class")


@pytest.mark.parametrize("group", ["clean", "plain", "mixed"])
def test_array_metadata_is_what_zarr_writes(group: str) -> None:
    for spec in arrays_of(group, codec=ZSTD).values():
        store = MemoryStore()
        compressors = [zarr.codecs.Crc32cCodec()]
        if spec.role == "values":
            compressors.insert(0, zarr.codecs.ZstdCodec(level=3))
        zarr.create_array(
            store,
            shape=spec.shape,
            chunks=spec.chunks,
            dtype=spec.dtype,
            compressors=compressors,
            fill_value=spec.fill,
            chunk_key_encoding={"name": "default", "separator": "."},
            dimension_names=spec.dimensions,
        )
        theirs = json.loads(store._store_dict["zarr.json"].to_bytes())
        assert theirs.pop("storage_transformers") == []
        assert json.loads(spec.metadata()) == theirs


def test_a_dense_file_is_its_numbers_and_their_crc(tmp_path: Path) -> None:
    path = make_store(tmp_path)
    logits = outputs("plain", 3, IMAGES, CLASSES).astype("<f2").tobytes()
    crc = google_crc32c.value(logits).to_bytes(4, "little")
    assert (path / "plain/logits/c.3.0.0").read_bytes() == logits + crc
    flips = np.zeros((16, IMAGES), bool)  # 16 views in a chunk, the absent ones false
    flips[:5] = [view.flip for view in plan("plain", 5)]
    crc = google_crc32c.value(flips.tobytes()).to_bytes(4, "little")
    assert (path / "plain/flip/c.0.0").read_bytes() == flips.tobytes() + crc


@pytest.mark.parametrize("group", ["plain", "mixed"])
def test_absent_views_of_a_plan_hold_values_that_no_plan_has(tmp_path: Path, group: str) -> None:
    write_group(tmp_path, group, views=3)
    fills = {"crop_yx": 255, "flip": False, "partner": -1, "lam": np.nan, "mix_rank": -1}
    for view in plan(group, 1):
        for name, array in view.arrays().items():
            spec = arrays_of(group, 3)[name]
            raw = (tmp_path / group / spec.file((0, *(0 for _ in array.shape)))).read_bytes()
            chunk = np.frombuffer(raw[:-4], spec.dtype).reshape(spec.chunks)
            assert np.array_equal(
                chunk[3:], np.full_like(chunk[3:], fills[name]), equal_nan=name == "lam"
            )


def test_a_chunk_of_fill_values_is_written_all_the_same(tmp_path: Path) -> None:
    arrays = arrays_of("mixed")
    store = DurableStore(LocalStore(tmp_path / "mixed"), tmp_path, "mixed", arrays, {})
    spec = arrays["lam"]
    store.array("lam")[...] = np.full(spec.shape, np.nan, spec.dtype)
    assert (tmp_path / "mixed" / spec.file((0, 0))).stat().st_size == spec.chunk_bytes + 4


def test_the_manifest_lists_every_file(tmp_path: Path) -> None:
    path = make_store(tmp_path)
    for group, files in {g: tree(path / g) for g in ("clean", "plain", "mixed")}.items():
        raw = files.pop("manifest.json")
        content = json.loads(raw)
        assert canonical_json(content) == raw
        digest = content.pop("digest")
        assert hashlib.sha256(canonical_json(content)).hexdigest() == digest
        assert content["header"]["group"] == group
        assert content["files"].keys() == files.keys()
        for name, data in files.items():
            chunk = not name.endswith("zarr.json")
            assert content["files"][name] == {
                "size": len(data),
                "sha256": hashlib.sha256(data).hexdigest(),
                "crc32c": int.from_bytes(data[-4:], "little") if chunk else None,
            }


@pytest.mark.parametrize("codec", [Codec(), ZSTD], ids=["dense", "zstd"])
def test_bytes_depend_on_neither_folder_nor_order(tmp_path: Path, codec: Codec) -> None:
    first, second = tmp_path / "first", tmp_path / "elsewhere" / "second"
    trees = []
    for folder, order in ((first, [0, 1, 2, 3, 4]), (second, [3, 0, 4, 4, 2, 1])):
        made = header("mixed", codec=codec)
        writer = GroupWriter(folder, made, plan("mixed", 5), feature_dim=FEATURES)
        write_views(writer, order)
        writer.finish()
        write_clean(folder)
        trees.append(tree(folder))
    assert trees[0] == trees[1]
    assert not any(str(tmp_path).encode() in data for data in trees[0].values())


def test_finishing_twice_changes_nothing(tmp_path: Path) -> None:
    writer = write_group(tmp_path, "plain")
    before = {path: path.stat().st_ino for path in tmp_path.rglob("*")}
    assert writer.finish() == write_group(tmp_path, "plain").finish()
    assert {path: path.stat().st_ino for path in tmp_path.rglob("*")} == before


def test_views_beyond_the_size_limit_are_cut_by_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # 40 rows of 20 bytes in pieces of at most 300 bytes: 14, 14 and 12 rows, and plans are cut too.
    monkeypatch.setattr(layout, "MAX_CHUNK_BYTES", 300)
    path = publish_store(tmp_path, 5, Codec())
    assert arrays_of("plain")["logits"].chunks == (1, 14, CLASSES)
    assert {f.name for f in (path / "plain/logits").glob("c.4.*")} == {
        "c.4.0.0",
        "c.4.1.0",
        "c.4.2.0",
    }
    assert len(list((path / "mixed/partner").glob("c.0.*"))) == 8
    group = open_store(path, groups=["mixed"]).group("mixed")
    for v, view in enumerate(plan("mixed", 5)):
        assert np.array_equal(group.logits(v), outputs("mixed", v, IMAGES, CLASSES))
        assert np.array_equal(zarr_array(path, "mixed/logits")[v], group.logits(v))
        assert np.array_equal(group.plan(v).partner, view.partner)
    assert verify_store(path, deep=True) == []


def test_chunks_stay_below_the_size_limit_and_are_hardly_padded() -> None:
    big = GroupShape(
        group="mixed",
        train_images=1_281_167,
        test_images=50_000,
        classes=1000,
        views=3,
        feature_dim=2048,
        codec=Codec(),
    )
    for spec in group_arrays(big).values():
        rows = spec.chunks[1]
        assert spec.chunk_bytes <= layout.MAX_CHUNK_BYTES + spec.chunk_bytes // rows
        assert spec.grid[1] * rows - big.train_images < spec.grid[1]
    one = GroupShape(
        group="plain",
        train_images=50_000,
        test_images=10_000,
        classes=100,
        views=240,
        feature_dim=64,
        codec=Codec(),
    )
    values = {p: s for p, s in group_arrays(one).items() if s.role == "values"}
    assert {p: s.chunks for p, s in values.items()} == {
        "logits": (1, 50_000, 100),
        "features": (1, 50_000, 64),
    }


def test_metadata_covers_every_node() -> None:
    assert set(metadata_files("clean", arrays_of("clean"))) == {
        "zarr.json",
        *(f"{split}/zarr.json" for split in ("train", "test")),
        *(
            f"{split}/{name}/zarr.json"
            for split in ("train", "test")
            for name in ("logits", "features", "labels")
        ),
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "pickle"}, "expected one of dense, zstd, bitround, int8, topk"),
        ({"name": "zstd"}, "needs a level"),
        ({"name": "dense", "level": 3}, "dense has no level"),
        ({"name": "zstd", "level": 0}, "level of 1 to 22"),
        ({"name": "zstd", "level": 99}, "level of 1 to 22"),
        ({"name": "bitround", "level": 3}, "needs a keep_bits"),
        ({"name": "bitround", "keep_bits": 6}, "needs a level"),
        ({"name": "bitround", "keep_bits": 10, "level": 3}, "keep_bits of 1 to 9, found 10"),
        ({"name": "int8", "keep_bits": 6}, "int8 has no keep_bits"),
        ({"name": "int8", "level": 0}, "level of 1 to 22"),
        ({"name": "topk"}, "needs a top_k .of at least 1"),
        ({"name": "topk", "top_k": 0}, "top_k of at least 1, found 0"),
        ({"name": "zstd", "level": 3, "top_k": 2}, "zstd has no top_k"),
    ],
)
def test_codecs_that_do_not_exist_are_refused(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Codec(**arguments)
