"""Small stores for the tests: real plans, random logits, every group."""

import functools
import tempfile
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.core.files import WorkFolder
from pipeline.store.format.check import presence_errors, read_manifest
from pipeline.store.format.codecs import Codec
from pipeline.store.format.errors import StoreError
from pipeline.store.format.manifest import DatasetInfo, Header, TeacherInfo
from pipeline.store.write.writers import CleanWriter, GroupWriter
from pipeline.views.plans import View, ViewRecipe, draw_view

IMAGES, TEST_IMAGES, CLASSES, FEATURES = 40, 12, 10, 7
PAD = 2

DATASET = DatasetInfo(
    name="digits",
    fingerprint="ab" * 32,
    train_images=IMAGES,
    test_images=TEST_IMAGES,
    classes=CLASSES,
    class_names=tuple(f"class {c}" for c in range(CLASSES)),
    mean=(0.3, 0.3, 0.3),
    std=(0.4, 0.4, 0.4),
)
TEACHER = TeacherInfo(
    name="resnet20",
    network="resnet20",
    weights_sha256="cd" * 32,
    training={"epochs": 20, "learning_rate": 0.05, "mixup": None},
    top1_accuracy=0.99,
)


def recipe(group: str) -> ViewRecipe:
    alpha = 1.0 if group == "mixed" else None
    return ViewRecipe(pad=PAD, flip=True, draw="stratified", alpha=alpha, seed=3)


def header(group: str, **changes) -> Header:
    made = Header(
        group=group,
        dataset=DATASET,
        teacher=TEACHER,
        recipe=None if group == "clean" else recipe(group),
        batch_size=256,
        precision="float32",
        tolerance=0.02,
        versions={"numpy": "2.4.6", "torch": "2.13.0"},
    )
    if "codec" in changes:
        changes = {"lossy": changes["codec"].lossy, **changes}
    return replace(made, **changes)


def plan(group: str, views: int, images: int = IMAGES) -> list[View]:
    return [draw_view(group, recipe(group), v, images) for v in range(views)]


CODECS = {
    "dense": Codec(),
    "zstd": Codec(name="zstd", level=3),
    "bitround": Codec(name="bitround", keep_bits=6, level=3),
    "int8": Codec(name="int8"),
    "int8-zstd": Codec(name="int8", level=3),
    "topk": Codec(name="topk", top_k=3),
    "topk-zstd": Codec(name="topk", top_k=8, level=3),
}
LOSSY = {name: codec for name, codec in CODECS.items() if codec.lossy}


def outputs(name: str, v: int, count: int, width: int) -> NDArray[np.float16]:
    """What the imagined teacher says in view v; every view and array another."""
    rng = np.random.Generator(np.random.Philox(key=[v, zlib.crc32(name.encode()) + width]))
    return rng.normal(0, 4, (count, width)).astype(np.float16)


def write_views(writer: GroupWriter, order: list[int] | None = None) -> None:
    count = writer.header.dataset.train_images
    for v in writer.missing_views() if order is None else order:
        logits = outputs(writer.header.group, v, count, writer.header.dataset.classes)
        width = writer.feature_dim
        features = None if width is None else outputs(writer.header.group, v, count, width)
        writer.write_view(v, logits, features)


def write_group(
    folder: Path, group: str, views: int = 5, features: int | None = FEATURES, **changes
) -> GroupWriter:
    """A finished plain or mixed group below `folder`."""
    made = header(group, **changes)
    drawn = [draw_view(group, made.recipe, v, made.dataset.train_images) for v in range(views)]
    writer = GroupWriter(folder, made, drawn, feature_dim=features)
    write_views(writer)
    writer.finish()
    return writer


def write_clean(folder: Path, features: int | None = FEATURES, **changes) -> CleanWriter:
    """A finished clean group below `folder`."""
    writer = CleanWriter(folder, header("clean", **changes), feature_dim=features)
    for split, count in (("train", IMAGES), ("test", TEST_IMAGES)):
        labels = np.arange(count, dtype=np.int32) % CLASSES
        width = None if features is None else outputs(split, 0, count, features)
        writer.write_split(split, outputs(split, 0, count, CLASSES), width, labels)
    writer.finish()
    return writer


def publish_store(folder: Path, views: int, codec: Codec) -> Path:
    """A published store with all three groups."""
    target = folder / "stores" / "resnet20.zarr"
    with WorkFolder(folder / ".work", "sample") as work:
        store = work.path / "store"
        files = write_clean(store, codec=codec).files()
        for group in ("plain", "mixed"):
            files |= write_group(store, group, views, codec=codec).files()
        work.publish(files, target)
    return target


@functools.cache
def _store_bytes(views: int, codec: Codec) -> dict[str, bytes]:
    with tempfile.TemporaryDirectory() as folder:
        return tree(publish_store(Path(folder), views, codec))


def make_store(tmp_path: Path, *, views: int = 5, codec: Codec | None = None) -> Path:
    """A copy of such a store, which a test may damage."""
    target = tmp_path / "stores" / "resnet20.zarr"
    for name, data in _store_bytes(views, codec or Codec()).items():
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        (target / name).write_bytes(data)
    return target


def is_complete(folder: Path, group: str) -> bool:
    """Whether a group is finished: a good manifest, and every file there with its size."""
    try:
        return not list(presence_errors(folder, read_manifest(folder, group)))
    except StoreError:
        return False


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below a folder with its bytes."""
    found = {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    assert found, f"nothing below {folder}"
    return found
