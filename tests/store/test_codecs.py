"""Stores of every codec: written, read by us and by plain Zarr, resumed, and what they cost."""

import hashlib
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import zarr
from manifest_samples import replace_file, with_crc
from store_samples import (
    CLASSES,
    CODECS,
    DATASET,
    FEATURES,
    IMAGES,
    LOSSY,
    header,
    make_store,
    outputs,
    plan,
    tree,
    write_clean,
    write_group,
    write_views,
)

from pipeline.core.files import canonical_json
from pipeline.store.format import errors, manifest_text
from pipeline.store.format.check import read_manifest
from pipeline.store.format.codecs import Codec
from pipeline.store.format.layout import group_arrays, metadata_files
from pipeline.store.format.lossy import decode_logits, encode_logits
from pipeline.store.format.manifest import FileFacts, group_shape
from pipeline.store.format.manifest_text import parse_manifest, write_manifest
from pipeline.store.read import open_store
from pipeline.store.write import unfinished
from pipeline.store.write.difference import measure
from pipeline.store.write.writers import GroupWriter
from pipeline.tools.verify import verify_store

every_codec = pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)
every_lossy = pytest.mark.parametrize("codec", LOSSY.values(), ids=LOSSY)


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """These tests end no machine, and thousands of syncs take minutes on a busy disk."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)


def kept(codec: Codec, logits: np.ndarray) -> np.ndarray:
    """What is left of logits."""
    return decode_logits(codec, encode_logits(codec, logits), logits.shape[1])


@every_codec
def test_what_is_read_is_what_the_codec_keeps(tmp_path: Path, codec: Codec) -> None:
    path = make_store(tmp_path, codec=codec)
    store = open_store(path, groups=["clean", "plain", "mixed"], dataset=DATASET)
    buffer = np.empty((IMAGES, CLASSES), np.float16)
    for name in ("plain", "mixed"):
        group = store.group(name)
        assert group.manifest.header.codec == codec
        assert group.manifest.header.lossy == codec.lossy
        for v in range(5):
            expected = kept(codec, outputs(name, v, IMAGES, CLASSES))
            assert np.array_equal(group.logits(v), expected)
            assert np.shares_memory(group.logits(v, out=buffer), buffer)
            assert np.array_equal(buffer, expected)
            assert np.array_equal(group.features(v), outputs(name, v, IMAGES, FEATURES))
    expected = kept(codec, outputs("test", 0, 12, CLASSES))
    assert np.array_equal(store.clean.logits("test"), expected)
    assert np.array_equal(store.clean.features("test"), outputs("test", 0, 12, FEATURES))
    assert verify_store(path, deep=True) == []


@every_codec
def test_plain_zarr_reads_the_arrays(tmp_path: Path, codec: Codec) -> None:
    path = make_store(tmp_path, codec=codec)
    root = zarr.open_group(path, mode="r")
    names = [folder.name for folder in (path / "mixed").glob("logits*")]
    arrays = {name: root[f"mixed/{name}"][...] for name in names}
    for v in range(5):
        logits = outputs("mixed", v, IMAGES, CLASSES)
        ours = open_store(path, groups=["mixed"]).group("mixed").logits(v)
        if codec.name == "int8":
            assert arrays.keys() == {"logits", "logits_steps"}
            offset, step = arrays["logits_steps"][v].astype(np.float32).T
            theirs = (offset[:, None] + step[:, None] * arrays["logits"][v]).astype(np.float16)
        elif codec.name == "topk":
            assert arrays.keys() == {"logits", "logits_classes", "logits_rest"}
            theirs = np.repeat(arrays["logits_rest"][v].astype(np.float16)[:, None], CLASSES, 1)
            for row, classes, values in zip(
                theirs, arrays["logits_classes"][v], arrays["logits"][v], strict=True
            ):
                row[classes] = values
        else:
            assert arrays.keys() == {"logits"}
            theirs = arrays["logits"][v]
        assert np.array_equal(theirs, ours)
        assert codec.lossy or np.array_equal(theirs, logits)
    assert np.array_equal(root["mixed/features"][2], outputs("mixed", 2, IMAGES, FEATURES))


def test_metadata_of_rounded_bits_is_what_zarr_writes() -> None:
    from zarr.codecs import Crc32cCodec, ZstdCodec
    from zarr.codecs.numcodecs import BitRound
    from zarr.storage import MemoryStore

    shape = group_shape(header("plain", codec=CODECS["bitround"]), 5, FEATURES)
    spec = group_arrays(shape)["logits"]
    store = MemoryStore()
    zarr.create_array(
        store,
        shape=spec.shape,
        chunks=spec.chunks,
        dtype=spec.dtype,
        filters=[BitRound(keepbits=6)],
        compressors=[ZstdCodec(level=3), Crc32cCodec()],
        fill_value=spec.fill,
        chunk_key_encoding={"name": "default", "separator": "."},
        dimension_names=spec.dimensions,
    )
    theirs = json.loads(store._store_dict["zarr.json"].to_bytes())
    assert theirs.pop("storage_transformers") == []
    assert json.loads(spec.metadata()) == theirs
    assert group_arrays(shape)["features"].codec == Codec(name="zstd", level=3)


@every_codec
def test_bytes_depend_on_neither_folder_nor_order(tmp_path: Path, codec: Codec) -> None:
    trees = []
    for name, order in (("first", [0, 1, 2, 3, 4]), ("other", [3, 0, 4, 4, 2, 1])):
        made = header("plain", codec=codec)
        writer = GroupWriter(tmp_path / name, made, plan("plain", 5), feature_dim=FEATURES)
        write_views(writer, order)
        writer.finish()
        trees.append(tree(tmp_path / name))
    assert trees[0] == trees[1]


def test_bytes_of_a_row(tmp_path: Path) -> None:
    expected = {"dense": 2 * CLASSES, "int8": CLASSES + 4, "topk": 3 * (2 + 1) + 4}
    for name, size in expected.items():
        manifest = write_group(tmp_path / name, "plain", codec=CODECS[name]).finish()
        files = [facts for path, facts in manifest.files.items() if "logits" in path]
        payload = sum(facts.size - 4 for facts in files if facts.crc32c is not None)
        assert payload == 5 * IMAGES * size


@every_lossy
def test_the_cost_is_measured_over_all_views(tmp_path: Path, codec: Codec) -> None:
    manifest = write_group(tmp_path, "plain", codec=codec).finish()
    logits = np.concatenate([outputs("plain", v, IMAGES, CLASSES) for v in range(5)])
    expected = measure(logits, kept(codec, logits)).facts()
    assert manifest.measured_error == pytest.approx(expected, rel=1e-3)
    assert manifest.measured_error["kl_t4"] > 0
    clean = write_clean(tmp_path, codec=codec).finish()
    both = np.concatenate(
        [outputs(split, 0, n, CLASSES) for split, n in (("train", IMAGES), ("test", 12))]
    )
    assert clean.measured_error == pytest.approx(measure(both, kept(codec, both)).facts(), rel=1e-3)


def test_lossless_codecs_cost_nothing(tmp_path: Path) -> None:
    for name in ("dense", "zstd"):
        writer = write_group(tmp_path / name, "plain", codec=CODECS[name])
        assert writer.finish().measured_error == {}
        assert not list((tmp_path / name).glob(".plain-error*"))
        assert writer.finish(measured_error={"kl_t4": 0.5}).measured_error == {"kl_t4": 0.5}


@every_lossy
def test_resuming_gives_the_same_bytes_and_the_same_cost(tmp_path: Path, codec: Codec) -> None:
    writer = write_group(tmp_path, "plain", codec=codec)
    expected = {name: path.read_bytes() for name, path in writer.files().items()}
    for damaged in [*(tmp_path / "plain").glob("logits*/c.3*"), None]:
        record = tmp_path / ".plain-error" / "view 3.json"
        if damaged is None:
            record.write_bytes(b"{")
        else:
            damaged.unlink()
        made = header("plain", codec=codec)
        again = GroupWriter(tmp_path, made, plan("plain", 5), feature_dim=FEATURES)
        assert again.missing_views() == [3]
        write_views(again)
        again.finish()
        assert {name: path.read_bytes() for name, path in again.files().items()} == expected


@every_lossy
def test_more_views_leave_the_old_ones_and_measure_anew(tmp_path: Path, codec: Codec) -> None:
    old = write_group(tmp_path / "grown", "mixed", 2, codec=codec)
    before = {name: path.read_bytes() for name, path in old.files().items()}
    grown = write_group(tmp_path / "grown", "mixed", 4, codec=codec)
    fresh = write_group(tmp_path / "fresh", "mixed", 4, codec=codec)
    assert tree(tmp_path / "grown") == tree(tmp_path / "fresh")
    assert grown.finish() == fresh.finish()
    values = [name for name in before if "/logits" in name and "/c.1" in name]
    assert values
    assert all((tmp_path / "grown" / name).read_bytes() == before[name] for name in values)


def read_plain(store: Path) -> None:
    group = open_store(store, groups=["plain"]).group("plain")
    for v in range(2):
        group.plan(v)
        group.logits(v)
        group.features(v)


@every_lossy
def test_a_flipped_bit_in_any_file_is_told(tmp_path: Path, codec: Codec) -> None:
    store = make_store(tmp_path, views=2, codec=codec)
    for number, (name, data) in enumerate(tree(store / "plain").items()):
        damaged = bytearray(data)
        damaged[(number * 7919) % len(data)] ^= 1 << (number % 8)
        (store / "plain" / name).write_bytes(damaged)
        for deep in (False, True):
            assert [p.path for p in verify_store(store, deep=deep)] == [f"plain/{name}"]
        with pytest.raises(errors.StoreError):
            read_plain(store)
        (store / "plain" / name).write_bytes(data)


HOSTILE = {
    "class that is none": ("topk", "logits_classes/c.1.0.0", np.full((1, IMAGES, 3), 200, "u1")),
    "class twice": ("topk", "logits_classes/c.1.0.0", np.zeros((1, IMAGES, 3), "u1")),
    "infinite rest": ("topk", "logits_rest/c.1.0", np.full((1, IMAGES), np.inf, "<f4")),
    "rest of NaN": ("topk", "logits_rest/c.1.0", np.full((1, IMAGES), np.nan, "<f4")),
    "infinite logit": ("topk", "logits/c.1.0.0", np.full((1, IMAGES, 3), np.inf, "<f2")),
    "step of NaN": ("int8", "logits_steps/c.1.0.0", np.full((1, IMAGES, 2), np.nan, "<f2")),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_parts_of_an_attackers_making_are_refused(tmp_path: Path, name: str) -> None:
    codec, file, values = HOSTILE[name]
    store = make_store(tmp_path, codec=CODECS[codec])
    replace_file(store, "plain", file, with_crc(values.tobytes()))
    group = open_store(store, groups=["plain"]).group("plain")
    with pytest.raises((errors.DamagedFileError, errors.NonFiniteError)) as caught:
        group.logits(1)
    assert file.split("/")[0] in caught.value.path
    assert [p.path for p in verify_store(store, deep=True)] == [caught.value.path]
    assert np.isfinite(group.logits(0)).all()


def test_steps_that_leave_float16_are_clipped(tmp_path: Path) -> None:
    store = make_store(tmp_path, codec=CODECS["int8"])
    steps = np.full((1, IMAGES, 2), 65504, "<f2")
    replace_file(store, "plain", "logits_steps/c.1.0.0", with_crc(steps.tobytes()))
    logits = open_store(store, groups=["plain"]).group("plain").logits(1)
    assert logits.max() == 65504


def test_keeping_all_classes_is_refused_at_once(tmp_path: Path) -> None:
    for top_k in (CLASSES, CLASSES + 1):
        with pytest.raises(ValueError, match=f"not {top_k} of {CLASSES} classes"):
            header("plain", codec=Codec(name="topk", top_k=top_k))


def test_a_lossy_codec_marks_the_group(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="the codec int8 is lossy, and so is the group"):
        header("plain", codec=Codec(name="int8"), lossy=False)
    store = make_store(tmp_path, codec=Codec(name="int8"))
    assert read_manifest(store, "mixed").header.lossy


@pytest.mark.parametrize("codec", [CODECS["zstd"], CODECS["int8-zstd"]], ids=["zstd", "int8"])
def test_numbers_that_compress_well_are_no_attack(tmp_path: Path, codec: Codec) -> None:
    """A view of equal numbers, more than a thousand times as large as its file."""
    count = 20000
    dataset = replace(DATASET, train_images=count)
    made = header("plain", codec=codec, dataset=dataset)
    writer = GroupWriter(tmp_path, made, plan("plain", 1, count), feature_dim=300)
    writer.write_view(0, np.zeros((count, CLASSES), "f2"), np.zeros((count, 300), "f2"))
    size = writer.finish().files["features/c.0.0.0"].size
    assert count * 300 * 2 > 1000 * size
    (tmp_path / ".plain-header.json").unlink()
    shutil.rmtree(tmp_path / ".plain-error", ignore_errors=True)
    assert not open_store(tmp_path, groups=["plain"]).group("plain").features(0).any()


def forged(codec: Codec, classes: int, features: int | None, ratio: int = 1) -> bytes:
    """A manifest that fits together, of one view; what is compressed is so by `ratio`."""
    names = tuple(str(c) for c in range(classes))
    dataset = replace(DATASET, train_images=8000, classes=classes, class_names=names)
    made = header("plain", codec=codec, dataset=dataset)
    arrays = group_arrays(group_shape(made, 1, features))
    files = {
        name: FileFacts(size=len(data), sha256=hashlib.sha256(data).hexdigest(), crc32c=None)
        for name, data in metadata_files("plain", arrays).items()
    }
    for spec in arrays.values():
        size = spec.chunk_bytes // (ratio if spec.codec.level else 1) + 4
        facts = FileFacts(size=size, sha256="0" * 64, crc32c=0)
        files |= dict.fromkeys(map(spec.file, spec.indices()), facts)
    return write_manifest(made, views=1, feature_dim=features, measured_error={}, files=files)


@pytest.mark.parametrize(
    ("codec", "features"), [(CODECS["zstd"], 2**15), (CODECS["int8-zstd"], 2**15)]
)
def test_gigabytes_out_of_little_files_are_refused(codec: Codec, features: int) -> None:
    parse_manifest(forged(codec, 10, features, ratio=900), Path(), "plain")
    parse_manifest(forged(codec, 10, features // 4, ratio=10**4), Path(), "plain")
    with pytest.raises(errors.LimitError, match="features holds 524,288,000 bytes of numbers out"):
        parse_manifest(forged(codec, 10, features, ratio=1100), Path(), "plain")


def test_many_classes_out_of_few_that_are_kept_are_refused() -> None:
    codec = Codec(name="topk", top_k=1)
    parse_manifest(forged(codec, 9_000, None), Path(), "plain")
    with pytest.raises(errors.LimitError, match="logits holds 400,000,000 bytes of numbers out"):
        parse_manifest(forged(codec, 25_000, None), Path(), "plain")


def test_more_files_than_a_manifest_lists_are_refused_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_group(tmp_path / "first", "plain", 1)
    facts = (tmp_path / "first/.plain-header.json").stat().st_size
    monkeypatch.setattr(unfinished, "MAX_MANIFEST_BYTES", 200 * 11 + facts)
    write_group(tmp_path / "fits", "plain", 4)  # 2 arrays of 4 views and 2 files of the plan
    with pytest.raises(ValueError, match=r"12 files and .* are more than a manifest lists"):
        write_group(tmp_path / "more", "plain", 5)
    assert not (tmp_path / "more").exists()


def test_class_names_that_no_manifest_holds_are_refused_at_once(tmp_path: Path) -> None:
    names = tuple(f"{number:05d} " + "\u00e9" * 190 for number in range(4000))
    many = replace(DATASET, classes=len(names), class_names=names)
    with pytest.raises(
        ValueError, match=r"bytes of facts \(class names, above all\) are more than"
    ):
        write_group(tmp_path / "group", "plain", 1, dataset=many)
    assert not (tmp_path / "group").exists()


def test_a_view_that_is_too_large_to_be_read_is_refused_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(manifest_text, "MAX_ARRAY_BYTES", 100)
    with pytest.raises(ValueError, match=r"plain: logits takes \d+ bytes a view, at most 100 are"):
        write_group(tmp_path / "group", "plain", 1)
    assert not (tmp_path / "group").exists()


def test_an_entry_of_a_manifest_is_no_longer_than_reckoned(tmp_path: Path) -> None:
    facts = {"size": 2**40, "sha256": "0" * 64, "crc32c": 2**32 - 1}
    name = "logits_classes/c.999999.999999.0"
    assert len(canonical_json({"files": {name: facts}})) <= 200


def test_codecs_in_words() -> None:
    assert [str(codec) for codec in CODECS.values()] == [
        "dense",
        "zstd, level 3",
        "bitround, 6 bits, zstd 3",
        "int8",
        "int8, zstd 3",
        "topk, k = 3",
        "topk, k = 8, zstd 3",
    ]
