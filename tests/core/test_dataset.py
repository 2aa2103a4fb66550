import contextlib
import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.core.dataset import ImageData, Split, fingerprint, load_prepared, save_prepared
from pipeline.core.dataset_facts import DatasetError
from pipeline.core.files import TEMPORARY, StorageError


def make_split(count: int, seed: int) -> Split:
    generator = np.random.default_rng(seed)
    return Split(
        images=generator.integers(0, 256, (count, 4, 4, 3), dtype=np.uint8),
        labels=(np.arange(count) % 2).astype(np.int32),
    )


@pytest.fixture
def data() -> ImageData:
    train, test, names = make_split(6, 0), make_split(4, 1), ("left", "right")
    return ImageData(
        name="digits",
        train=train,
        test=test,
        class_names=names,
        mean=(0.1, 0.2, 0.3),
        std=(0.4, 0.5, 0.6),
        fingerprint=fingerprint(train, test, names),
        evaluated_on="validation",
        notes={"seed": 3, "subset": {"fraction": 0.5}},
    )


@pytest.fixture
def folder(data, tmp_path):
    save_prepared(data, tmp_path / "prepared")
    return tmp_path / "prepared"


def edit(folder, **changes):
    path = folder / "dataset.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_round_trip(data, folder):
    loaded = load_prepared(folder)
    for name in ("train", "test"):
        ours, theirs = getattr(data, name), getattr(loaded, name)
        np.testing.assert_array_equal(theirs.images, ours.images)
        np.testing.assert_array_equal(theirs.labels, ours.labels)
        assert theirs.images.dtype == np.uint8
        assert theirs.labels.dtype == np.int32
        assert not isinstance(theirs.images, np.memmap)
    for name in ("name", "class_names", "mean", "std", "fingerprint", "evaluated_on", "notes"):
        assert getattr(loaded, name) == getattr(data, name), name


def test_same_data_gives_the_same_bytes(data, folder, tmp_path):
    save_prepared(data, tmp_path / "again")
    files = sorted(path.name for path in folder.iterdir())
    assert len(files) == 5
    for name in files:
        assert (folder / name).read_bytes() == (tmp_path / "again" / name).read_bytes(), name


def test_arrays_are_written_as_numpy_would(data, folder, tmp_path):
    for name in ("train", "test"):
        for kind in ("images", "labels"):
            np.save(tmp_path / "array.npy", getattr(getattr(data, name), kind))
            written = (folder / f"{name}_{kind}.npy").read_bytes()
            assert written == (tmp_path / "array.npy").read_bytes()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no full device")
@pytest.mark.parametrize(
    ("name", "size"), [("test_images.npy", 128 + 4 * 48), ("test_labels.npy", 128 + 4 * 4)]
)
def test_a_full_disk_is_told(data, tmp_path, monkeypatch, name, size):
    real = Path.open

    def opened(path, mode="r", **options):
        if path.name.startswith(TEMPORARY) and path.name.endswith(name):
            return real(Path("/dev/full"), "wb")
        return real(path, mode, **options)

    monkeypatch.setattr(Path, "open", opened)
    told = rf"cannot write .*/{name} \({size} bytes\): the disk is full: free some space"
    with pytest.raises(StorageError, match=told):
        save_prepared(data, tmp_path)


def test_fingerprint_is_the_stated_digest(data):
    header = (
        '{"class_names": ["left", "right"], "decant_dataset": 1, '
        '"test": [4, 4, 4, 3], "train": [6, 4, 4, 3]}'
    )
    content = header.encode()
    for split in (data.train, data.test):
        content += bytes(split.images.ravel().tolist())
        content += b"".join(int(label).to_bytes(4, "little") for label in split.labels)
    assert data.fingerprint == hashlib.sha256(content).hexdigest()


def test_fingerprint_ignores_byte_order_and_memory_layout(data):
    strided = Split(
        images=np.asfortranarray(data.train.images), labels=data.train.labels.astype(">i4")
    )
    assert fingerprint(strided, data.test, data.class_names) == data.fingerprint


def test_fingerprint_sees_every_change(data):
    train, test, names = data.train, data.test, data.class_names
    pixel = train.images.copy()
    pixel[0, 0, 0, 0] ^= 1
    order = np.array([1, 0, 2, 3, 4, 5])
    variants = [
        (Split(pixel, train.labels), test, names),
        (Split(train.images, 1 - train.labels), test, names),
        (Split(train.images[order], train.labels[order]), test, names),
        (train, Split(test.images[:-1], test.labels[:-1]), names),
        (test, train, names),
        (train, test, ("right", "left")),
        (train, test, ("left", "right ")),
    ]
    digests = {fingerprint(*variant) for variant in variants}
    assert len(digests) == len(variants)
    assert data.fingerprint not in digests


@pytest.mark.parametrize(
    "name",
    ["dataset.json", "train_images.npy", "train_labels.npy", "test_images.npy", "test_labels.npy"],
)
def test_missing_file_is_named(folder, name):
    (folder / name).unlink()
    with pytest.raises(DatasetError, match=rf"{name}: cannot be read .*dvc repro prepare"):
        load_prepared(folder)


def test_changed_pixel_is_refused(folder):
    images = np.load(folder / "test_images.npy")
    images[0, 0, 0, 0] ^= 1
    np.save(folder / "test_images.npy", images)
    with pytest.raises(DatasetError, match="have changed"):
        load_prepared(folder)


def test_renamed_class_is_refused(folder):
    edit(folder, class_names=["left", "wrong"])
    with pytest.raises(DatasetError, match="have changed"):
        load_prepared(folder)


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("train_images.npy", np.zeros((6, 4, 4, 3), np.float32), r"expected \|u1 .* found <f4"),
        ("train_images.npy", np.zeros((6, 4, 4), np.uint8), r"found \|u1 \(6, 4, 4\)"),
        ("train_labels.npy", np.zeros(6, np.int64), r"expected <i4 \(6,\), found <i8"),
        ("test_labels.npy", np.full(4, 2, np.int32), "labels that have no class name"),
        ("test_labels.npy", np.full(4, -1, np.int32), "labels that have no class name"),
    ],
)
def test_wrong_array_is_refused(folder, name, array, message):
    np.save(folder / name, array)
    with pytest.raises(DatasetError, match=rf"{name}: .*{message}"):
        load_prepared(folder)


@pytest.mark.parametrize(
    "shape", [(6, 4, 4), (6, 4, 4, 1), (6, 4, 4, 4), (6, 2, 4, 4, 3), (6, 0, 4, 3), (0, 4, 4, 3)]
)
def test_images_of_another_shape_are_refused(data, tmp_path, shape):
    """With facts and a fingerprint that agree with it."""
    images = Split(np.zeros(shape, np.uint8), data.train.labels[: shape[0]])
    digest = fingerprint(images, images, data.class_names)
    save_prepared(replace(data, train=images, test=images, fingerprint=digest), tmp_path)
    with pytest.raises(DatasetError, match=r"train_images.npy: expected RGB images \[N, H, W, 3\]"):
        load_prepared(tmp_path)


def test_pickled_array_is_never_loaded(folder):
    np.save(folder / "train_labels.npy", np.array([{}] * 6, dtype=object), allow_pickle=True)
    with pytest.raises(DatasetError, match=r"train_labels.npy: is not a readable array"):
        load_prepared(folder)


def test_truncated_array_is_refused(folder):
    path = folder / "train_images.npy"
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(DatasetError, match=r"train_images.npy"):
        load_prepared(folder)


@pytest.mark.parametrize("damage", [b"(", b"\t", b"'", b"\0"])
def test_damaged_header_is_refused(folder, damage):
    path = folder / "train_labels.npy"
    content = path.read_bytes()
    for place in range(10, content.index(b"\n")):
        path.write_bytes(content[:place] + damage + content[place + 1 :])
        with contextlib.suppress(DatasetError):  # nothing else
            load_prepared(folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schema": 2}, "not of schema 1"),
        ({"mean": [0.1, 0.2]}, "missing or malformed"),
        ({"std": [0.1, 0.2, float("nan")]}, "missing or malformed"),
        ({"evaluated_on": "train"}, "missing or malformed"),
        ({"train_images": "six"}, "missing or malformed"),
        ({"notes": 3}, "missing or malformed"),
    ],
)
def test_wrong_entry_is_refused(folder, changes, message):
    edit(folder, **changes)
    with pytest.raises(DatasetError, match=message):
        load_prepared(folder)


def test_broken_json_is_refused(folder):
    (folder / "dataset.json").write_text("{")
    with pytest.raises(DatasetError, match=r"dataset.json: is not JSON"):
        load_prepared(folder)
