"""Manifests that lie: their digest is right, what they claim is not."""

import hashlib
import json
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hostile_stores import limited_memory
from manifest_samples import replace_file, sign, with_crc
from numcodecs import zstd
from store_samples import CLASSES, FEATURES, IMAGES, make_store, plan
from zarr.storage import LocalStore

from pipeline.core.files import canonical_json
from pipeline.store.format import errors
from pipeline.store.format.check import read_manifest
from pipeline.store.format.codecs import Codec, frame_bytes
from pipeline.store.format.layout import GroupShape, group_arrays, metadata_files
from pipeline.store.format.manifest import FileFacts
from pipeline.store.format.trust import TrustedStore
from pipeline.store.read import open_store
from pipeline.tools.verify import verify_store

ZSTD = Codec(name="zstd", level=3)


def put(content: dict[str, Any], keys: str, value: Any) -> None:
    *folders, last = keys.split(".")
    for key in folders:
        content = content[key]
    content[last] = value


EDITS: dict[str, tuple[str, Any]] = {
    "schema of the past": ("schema", 0),
    "schema as text": ("schema", "1"),
    "schema true": ("schema", True),
    "views of no group": ("views", 0),
    "negative views": ("views", -5),
    "fractional views": ("views", 5.0),
    "many views": ("views", 10**12),
    "more views": ("views", 10**6),
    "one view less": ("views", 4),
    "number of 4000 digits": ("tolerance", 10**4000),
    "wide features": ("feature_dim", 10**12),
    "no features": ("feature_dim", None),
    "many images": ("header.dataset.train_images", 10**12),
    "no images": ("header.dataset.train_images", 0),
    "many classes": ("header.dataset.classes", 10**12),
    "names that are numbers": ("header.dataset.class_names", [1] * CLASSES),
    "names with escapes": ("header.dataset.class_names", ["\x1b]0;x\x07"] * CLASSES),
    "another name": ("header.dataset.name", "../../digits"),
    "dtype object": ("header.dtype", "object"),
    "dtype float64": ("header.dtype", "float64"),
    "codec pickle": ("header.codec", {"name": "pickle", "level": None}),
    "codec zstd": ("header.codec", {"name": "zstd", "level": 3}),
    "codec with more": ("header.codec", {"name": "dense", "level": None, "id": "x"}),
    "no codec": ("header.codec", None),
    "another group": ("header.group", "mixed"),
    "alpha of plain views": ("header.recipe.alpha", 1.0),
    "nested too deep": ("header.teacher.training", {"a": json.loads("[" * 40 + "]" * 40)}),
    "no recipe": ("header.recipe", None),
    "padding": ("header.recipe.pad", -1),
    "unknown key": ("header.more", 1),
    "files as a list": ("files", []),
    "no files": ("files", {}),
    "file outside": ("files.../../evil", {"size": 1, "sha256": "0" * 64, "crc32c": None}),
    "another size": ("files", "SIZE"),
    "plan digest": ("plan_sha256", "0" * 64),
    "no plan digest": ("plan_sha256", None),
    "accuracy": ("header.teacher.top1_accuracy", 1.5),
    "error as text": ("measured_error", {"kl_t4": "small"}),
}


@pytest.mark.parametrize("name", EDITS)
def test_lies_are_refused_quickly(tmp_path: Path, name: str) -> None:
    keys, value = EDITS[name]
    store = make_store(tmp_path)

    def edit(content: dict[str, Any]) -> None:
        if value == "SIZE":
            content["files"]["logits/c.0.0.0"]["size"] = 2**39
        elif keys.startswith("files..."):
            content["files"][keys.removeprefix("files.")] = value
        else:
            put(content, keys, value)

    sign(store, "plain", edit)
    started = time.process_time()
    with pytest.raises((errors.ManifestError, errors.SchemaError, errors.LimitError)) as caught:
        open_store(store, groups=["plain"])
    assert time.process_time() - started < 1
    assert len(str(caught.value)) < 2000
    assert [p.path for p in verify_store(store)] == ["plain/manifest.json"]


def test_arrays_beyond_the_limit_are_refused_before_they_are_allocated(tmp_path: Path) -> None:
    """Everything fits together, but a view would take 2 TB."""
    store = make_store(tmp_path, codec=ZSTD)

    def edit(content: dict[str, Any]) -> None:
        content["header"]["dataset"]["train_images"] = 10**9
        content["header"]["dataset"]["classes"] = 1000
        content["header"]["dataset"]["class_names"] = [str(c) for c in range(1000)]

    sign(store, "plain", edit)
    with pytest.raises(errors.LimitError, match=r"takes 2,000,000,000,000 bytes a view"):
        open_store(store, groups=["plain"])


TEXTS = {
    "not JSON": b"{",
    "not an object": b"[1]",
    "not text": b"\xff\xfe\x00",
    "deep": b"[" * 10**6,
    "deep object": b'{"a":' * 10**5,
    "NaN": b'{"schema": 1, "views": NaN}\n',
    "infinity": b'{"schema": 1, "views": 1e999}\n',
    "long number": b'{"schema": 1, "views": ' + b"9" * 10**5 + b"}\n",
    "lone surrogate": b'{"schema": 1, "views": "\\ud800"}\n',
    "another encoding": '{"schema": 1}\n'.encode("utf-16"),
}


@pytest.mark.parametrize("name", TEXTS)
def test_texts_that_are_no_manifest_are_refused(tmp_path: Path, name: str) -> None:
    store = make_store(tmp_path)
    (store / "plain/manifest.json").write_bytes(TEXTS[name])
    with pytest.raises(errors.ManifestError):
        open_store(store, groups=["plain"])


@pytest.mark.parametrize(
    "change",
    [
        lambda raw: raw + b" ",
        lambda raw: raw.replace(b'"views": 5', b'"views": 5, "views": 5'),
        lambda raw: raw.replace(b'"views": 5', b'"views":  5'),
        lambda raw: b"\xef\xbb\xbf" + raw,
    ],
)
def test_only_the_canonical_text_is_a_manifest(
    tmp_path: Path, change: Callable[[bytes], bytes]
) -> None:
    store = make_store(tmp_path)
    path = store / "plain/manifest.json"
    assert change(path.read_bytes()) != path.read_bytes()
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(errors.ManifestError):
        read_manifest(store, "plain")


def test_numbers_that_are_not_finite_are_refused_although_signed(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    values = np.zeros((1, IMAGES, CLASSES), "<f2")
    values[0, 3, 3] = np.nan
    replace_file(store, "plain", "logits/c.1.0.0", with_crc(values.tobytes()))
    group = open_store(store, groups=["plain"]).group("plain")
    with pytest.raises(errors.NonFiniteError, match=r"logits/c\.1\.0\.0"):
        group.logits(1)
    problems = verify_store(store)
    assert [(p.path, p.kind) for p in problems] == [("plain/logits/c.1.0.0", "NonFiniteError")]


@pytest.mark.parametrize(
    ("name", "values", "text"),
    [
        ("crop_yx", lambda a: a + 5, "crop_yx reaches"),
        ("partner", lambda a: a * 0, "partner is not a permutation"),
        ("mix_rank", lambda a: a + 1, "mix_rank is not a permutation"),
        ("lam", lambda a: a + 1, "lam has values outside"),
        ("lam", lambda a: a * np.nan, "lam has values outside"),
        ("flip", lambda a: a.view("u1") + 2, "neither true nor false"),
    ],
)
def test_plans_that_cannot_be_are_refused_although_signed(
    tmp_path: Path, name: str, values: Callable[[np.ndarray], np.ndarray], text: str
) -> None:
    store = make_store(tmp_path, views=16)
    arrays = np.stack([view.arrays()[name] for view in plan("mixed", 16)])
    changed = arrays.copy()
    changed = changed.view("u1") if name == "flip" else changed
    changed[4] = values(arrays[4])
    file = f"{name}/c.{'.'.join('0' * arrays.ndim)}"
    replace_file(store, "mixed", file, with_crc(changed.tobytes()))
    group = open_store(store, groups=["mixed"]).group("mixed")
    with pytest.raises(errors.PlanError, match=text):
        group.plan(4)
    with pytest.raises(errors.PlanError, match=text):
        group.plan_arrays()
    assert any(p.kind == "PlanError" and text in p.message for p in verify_store(store))


def test_a_recipe_that_denies_the_plan_is_refused(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    sign(store, "plain", lambda content: put(content, "header.recipe.flip", False))
    with pytest.raises(errors.PlanError, match="the recipe has none"):
        open_store(store, groups=["plain"]).group("plain").plan(0)
    found = {(p.path, p.kind) for p in verify_store(store)}
    assert found == {("plain", "PlanError")}


def zstd_bomb(size: int) -> bytes:
    return zstd.compress(np.zeros(size, np.uint8), level=19)


def unsized_frame(data: bytes) -> bytes:
    """A zstd frame of one raw block that does not say how much it holds."""
    block = struct.pack("<I", 1 | len(data) << 3)[:3]
    return struct.pack("<IBB", 0xFD2FB528, 0, 0x58) + block + data


@pytest.mark.parametrize(
    "payload",
    [
        zstd_bomb(2**28),
        zstd_bomb(IMAGES * CLASSES * 2 + 1),
        zstd_bomb(IMAGES * CLASSES * 2) * 2,
        unsized_frame(b"\0" * (IMAGES * CLASSES * 2 + 8)),
        b"",
        b"not zstd at all",
    ],
    ids=["bomb", "one too many", "two frames", "unsized", "empty", "noise"],
)
def test_decompression_bombs_are_refused(tmp_path: Path, payload: bytes) -> None:
    store = make_store(tmp_path, codec=ZSTD)
    replace_file(store, "plain", "logits/c.1.0.0", with_crc(payload))
    started = time.process_time()
    with pytest.raises((errors.DamagedFileError, errors.ManifestError)):
        open_store(store, groups=["plain"]).group("plain").logits(1)
    assert time.process_time() - started < 1


def test_frames_that_hold_too_little_are_refused(tmp_path: Path) -> None:
    """Not read as zeros, and not as what was in memory before."""
    store = make_store(tmp_path, codec=ZSTD)
    replace_file(store, "plain", "logits/c.1.0.0", with_crc(zstd_bomb(10)))
    with pytest.raises(errors.DamagedFileError, match="a frame of 10 bytes, expected 800"):
        open_store(store, groups=["plain"]).group("plain").logits(1)


@pytest.mark.parametrize("size", [1, 100, 255, 256, 257, 65_791, 65_792, 2**17, 2**20])
def test_frames_of_all_sizes_tell_it(size: int) -> None:
    """The size is written in one, two, four or eight bytes."""
    numbers = np.random.default_rng(size).integers(0, 3, size, np.uint8)
    for level in (1, 3, 22):
        frame = zstd.compress(numbers, level=level)
        assert frame_bytes(frame) == frame_bytes(frame[:18]) == size


def test_what_a_listing_claims_is_not_allocated_before_its_file_is_seen(tmp_path: Path) -> None:
    shape = GroupShape(
        group="clean",
        train_images=2**31 - 1,
        test_images=1,
        classes=1,
        views=0,
        feature_dim=None,
        codec=Codec(),
    )
    specs = group_arrays(shape)
    spec = specs["train/labels"]
    facts = FileFacts(size=spec.chunk_bytes + 4, sha256="0" * 64, crc32c=0)
    files = {spec.file(index): facts for index in spec.indices()}
    store = TrustedStore(LocalStore(tmp_path), tmp_path, "clean", specs, files)
    with limited_memory(2**28), pytest.raises(errors.MissingFileError):
        store.read("train/labels")


def test_metadata_of_an_attackers_making_is_never_interpreted(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    name = "logits/zarr.json"
    content = json.loads((store / "plain" / name).read_bytes())
    content["data_type"] = "object"
    data = canonical_json(content)
    (store / "plain" / name).write_bytes(data)

    def edit(manifest: dict[str, Any]) -> None:
        facts = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest(), "crc32c": None}
        manifest["files"][name] = facts

    sign(store, "plain", edit)
    with pytest.raises(errors.ManifestError, match="not the metadata of a group of its shape"):
        open_store(store, groups=["plain"])


def test_a_lie_about_the_shape_is_refused_with_metadata_to_match(tmp_path: Path) -> None:
    """Metadata and listing fit a group of twice the features, the files' sizes do not."""
    store = make_store(tmp_path)
    shape = GroupShape(
        group="plain",
        train_images=IMAGES,
        test_images=12,
        classes=CLASSES,
        views=5,
        feature_dim=2 * FEATURES,
        codec=Codec(),
    )

    def edit(manifest: dict[str, Any]) -> None:
        manifest["feature_dim"] = 2 * FEATURES
        for name, data in metadata_files("plain", group_arrays(shape)).items():
            facts = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest(), "crc32c": None}
            manifest["files"][name] = facts

    sign(store, "plain", edit)
    with pytest.raises(
        errors.ManifestError, match=r"features/c\.0\.0\.0: 564 bytes, expected 1124"
    ):
        open_store(store, groups=["plain"])
