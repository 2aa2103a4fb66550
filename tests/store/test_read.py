"""Reading: every refusal by name, and no number that is not the teacher's."""

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from store_samples import (
    CLASSES,
    DATASET,
    FEATURES,
    IMAGES,
    is_complete,
    make_store,
    outputs,
    plan,
    write_clean,
    write_group,
)

from pipeline.core.files import canonical_json
from pipeline.store.format import errors
from pipeline.store.format.check import read_manifest
from pipeline.store.format.codecs import Codec
from pipeline.store.format.manifest import DatasetInfo, describe_dataset
from pipeline.store.format.trust import all_finite
from pipeline.store.read import ViewGroup, open_store

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return make_store(tmp_path)


def rewrite(path: Path, change: Callable[[bytearray], object]) -> None:
    data = bytearray(path.read_bytes())
    change(data)
    path.unlink()
    path.write_bytes(data)


def flip(path: Path, position: int = 10) -> None:
    def change(data: bytearray) -> None:
        data[position] ^= 1

    rewrite(path, change)


def link_folder(path: Path) -> None:
    """Move a folder away and put a link to it in its place."""
    away = path.parent.parent.parent / f"away-{path.name}"
    shutil.move(path, away)
    path.symlink_to(away, target_is_directory=True)


def swap(one: Path, other: Path) -> None:
    between = one.with_name("between")
    one.rename(between)
    other.rename(one)
    between.rename(other)


def open_plain(store: Path, dataset: DatasetInfo | None = DATASET) -> ViewGroup:
    return open_store(store, groups=["plain"], dataset=dataset).group("plain")


def test_facts_of_an_opened_group(store: Path) -> None:
    opened = open_store(store, groups=["mixed", "clean"], dataset=DATASET)
    assert opened.groups == ("clean", "mixed")
    group = opened.group("mixed")
    assert (group.views, group.num_images, group.num_classes) == (5, IMAGES, CLASSES)
    assert group.feature_dim == FEATURES
    assert group.manifest.digest == read_manifest(store, "mixed").digest
    assert group.manifest.header.teacher.top1_accuracy == 0.99
    assert group.manifest.total_bytes > 5 * IMAGES * (CLASSES + FEATURES) * 2
    assert opened.clean.labels("test").dtype == np.int32


def test_a_buffer_is_filled_in_place(store: Path) -> None:
    group = open_plain(store)
    buffer = np.empty((IMAGES, CLASSES), np.float16)
    assert np.shares_memory(group.logits(2, out=buffer), buffer)
    assert np.array_equal(buffer, outputs("plain", 2, IMAGES, CLASSES))


def test_a_view_that_memory_has_no_room_for(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    group = open_store(store, groups=["plain"]).group("plain")

    def no_room(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(np, "empty", no_room)
    size = f"{2 * IMAGES * CLASSES:,} bytes of numbers, more than this machine's memory"
    with pytest.raises(errors.LimitError, match=f"plain/logits: {size}"):
        group.logits(1)


def test_threads_read_at_the_same_time(store: Path) -> None:
    group = open_plain(store)
    wrong: list[int] = []

    def read(v: int) -> None:
        for _ in range(50):
            if not np.array_equal(group.logits(v), outputs("plain", v, IMAGES, CLASSES)):
                wrong.append(v)

    threads = [threading.Thread(target=read, args=(v,)) for v in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_group_alone_is_enough(store: Path) -> None:
    for name in ("clean", "mixed"):
        shutil.rmtree(store / name)
    (store / "zarr.json").unlink()
    assert np.array_equal(open_plain(store).logits(0), outputs("plain", 0, IMAGES, CLASSES))


def test_groups_that_are_not_read_may_be_damaged(store: Path) -> None:
    flip(store / "mixed/manifest.json")
    (store / "clean/train/logits/c.0.0").unlink()
    assert open_plain(store).views == 5


def test_links_to_files_are_read(store: Path) -> None:
    cache = store.parent / "cache"
    for number, path in enumerate([p for p in sorted(store.rglob("*")) if p.is_file()]):
        kept = cache / str(number)
        kept.parent.mkdir(exist_ok=True)
        path.rename(kept)
        kept.chmod(0o444)
        path.symlink_to(kept)
    assert is_complete(store, "plain")
    assert np.array_equal(open_plain(store).logits(4), outputs("plain", 4, IMAGES, CLASSES))
    target = (store / "plain/logits/c.4.0.0").resolve()
    flip(target)
    with pytest.raises(errors.DamagedFileError):
        open_plain(store).logits(4)


Change = Callable[[Path], object]

# What is done to a store, the error that opening its plain views gives, and a part of its text.
REFUSED_ON_OPENING: dict[str, tuple[Change, type[errors.StoreError], str]] = {
    "no store": (shutil.rmtree, errors.StoreMissingError, "dvc pull"),
    "no group": (lambda s: shutil.rmtree(s / "plain"), errors.GroupMissingError, "no such group"),
    "no manifest": (
        lambda s: (s / "plain/manifest.json").unlink(),
        errors.ManifestMissingError,
        "never finished",
    ),
    "empty manifest": (
        lambda s: os.truncate(s / "plain/manifest.json", 0),
        errors.ManifestError,
        "not JSON",
    ),
    "changed manifest": (
        lambda s: rewrite(s / "plain/manifest.json", lambda d: d.__setitem__(15, d[15] ^ 1)),
        errors.ManifestError,
        "its digest does not match",
    ),
    "manifest of another group": (
        lambda s: shutil.copy(s / "mixed/manifest.json", s / "plain/manifest.json"),
        errors.ManifestError,
        "belongs to the group mixed",
    ),
    "enormous manifest": (
        lambda s: os.truncate(s / "plain/manifest.json", 2**40),
        errors.LimitError,
        "bytes, at most",
    ),
    "linked group": (lambda s: link_folder(s / "plain"), errors.LinkError, "not a folder"),
    "linked array": (
        lambda s: link_folder(s / "plain/logits"),
        errors.LinkError,
        "a linked directory",
    ),
    "dangling link": (
        lambda s: (
            (s / "plain/logits/c.0.0.0").unlink(),
            (s / "plain/logits/c.0.0.0").symlink_to(s / "nowhere"),
        ),
        errors.MissingFileError,
        "a link to nothing",
    ),
    "pipe": (
        lambda s: (
            (s / "plain/logits/c.0.0.0").unlink(),
            os.mkfifo(s / "plain/logits/c.0.0.0"),
        ),
        errors.LinkError,
        "neither a file nor a folder",
    ),
    "pipe as manifest": (
        lambda s: (
            (s / "plain/manifest.json").unlink(),
            os.mkfifo(s / "plain/manifest.json"),
        ),
        errors.LinkError,
        "not a regular file",
    ),
    "view missing": (
        lambda s: (s / "plain/logits/c.3.0.0").unlink(),
        errors.MissingFileError,
        "plain/logits/c.3.0.0: missing",
    ),
    "array missing": (
        lambda s: shutil.rmtree(s / "plain/flip"),
        errors.MissingFileError,
        "plain/flip",
    ),
    "extra file": (
        lambda s: (s / "plain/logits/c.5.0.0").write_bytes(b"x"),
        errors.ExtraFileError,
        "plain/logits/c.5.0.0",
    ),
    "extra folder": (
        lambda s: (s / "plain/more").mkdir(),
        errors.ExtraFileError,
        "plain/more",
    ),
    "extra at the root": (
        lambda s: (s / "notes.txt").write_text("x"),
        errors.ExtraFileError,
        "notes.txt",
    ),
    "view truncated": (
        lambda s: os.truncate(s / "plain/logits/c.3.0.0", 100),
        errors.WrongSizeError,
        "100 bytes, expected 804",
    ),
    "view lengthened": (
        lambda s: os.truncate(s / "plain/logits/c.3.0.0", 805),
        errors.WrongSizeError,
        "805 bytes, expected 804",
    ),
    "plan flipped": (
        lambda s: flip(s / "plain/crop_yx/c.0.0.0"),
        errors.DamagedFileError,
        "crop_yx/c.0.0.0",
    ),
    "metadata flipped": (
        lambda s: flip(s / "plain/logits/zarr.json", 30),
        errors.MetadataError,
        "plain/logits/zarr.json",
    ),
    "group metadata flipped": (
        lambda s: flip(s / "plain/zarr.json", 5),
        errors.MetadataError,
        "plain/zarr.json",
    ),
    "root metadata flipped": (
        lambda s: flip(s / "zarr.json", 5),
        errors.MetadataError,
        "zarr.json",
    ),
    "root of the future": (
        lambda s: (s / "zarr.json").write_bytes(
            canonical_json({"attributes": {"decant": {"schema": 2}}})
        ),
        errors.SchemaError,
        "schema 2, but this version reads 1",
    ),
    "manifest of the future": (
        lambda s: (s / "plain/manifest.json").write_bytes(canonical_json({"schema": 7})),
        errors.SchemaError,
        "schema 7, but this version reads 1",
    ),
}


@pytest.mark.parametrize("name", REFUSED_ON_OPENING)
def test_refused_on_opening(store: Path, name: str) -> None:
    change, kind, text = REFUSED_ON_OPENING[name]
    change(store)
    with pytest.raises(errors.StoreError) as caught:
        open_plain(store)
    assert type(caught.value) is kind
    message = str(caught.value)
    assert text in message
    assert str(store) in message
    if kind is errors.ExtraFileError:
        assert caught.value.hint == "move it elsewhere, or delete it"
    else:
        assert "dvc " in caught.value.hint
        assert "dump@resnet20" in caught.value.hint
    assert not is_complete(store, "plain") or "root" in name or "flipped" in name


REFUSED_ON_READING: dict[str, tuple[Change, type[errors.StoreError], str]] = {
    "number flipped": (
        lambda s: flip(s / "plain/logits/c.2.0.0"),
        errors.DamagedFileError,
        "its CRC does not match",
    ),
    "crc flipped": (
        lambda s: flip(s / "plain/logits/c.2.0.0", -1),
        errors.DamagedFileError,
        "its CRC does not match",
    ),
    "views exchanged": (
        lambda s: swap(s / "plain/logits/c.2.0.0", s / "plain/logits/c.1.0.0"),
        errors.DamagedFileError,
        "not the one of the manifest",
    ),
    "view of another group": (
        lambda s: shutil.copy(s / "mixed/logits/c.2.0.0", s / "plain/logits/c.2.0.0"),
        errors.DamagedFileError,
        "not the one of the manifest",
    ),
    "gone since": (
        lambda s: (s / "plain/logits/c.2.0.0").unlink(),
        errors.MissingFileError,
        "missing",
    ),
    "cut since": (
        lambda s: os.truncate(s / "plain/logits/c.2.0.0", 12),
        errors.WrongSizeError,
        "12 bytes",
    ),
}


@pytest.mark.parametrize("name", REFUSED_ON_READING)
def test_refused_on_reading_the_view_and_no_other(store: Path, name: str) -> None:
    change, kind, text = REFUSED_ON_READING[name]
    group = open_plain(store)
    change(store)
    if not name.endswith("since"):
        group = open_plain(store)
    with pytest.raises(errors.StoreError, match=text) as caught:
        group.logits(2)
    assert type(caught.value) is kind
    assert np.array_equal(group.logits(0), outputs("plain", 0, IMAGES, CLASSES))


def test_a_plan_that_changes_after_opening_is_refused(store: Path) -> None:
    group = open_plain(store)
    flip(store / "plain/crop_yx/c.0.0.0")
    with pytest.raises(errors.DamagedFileError):
        group.plan(0)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"name": "cifar10"}, "made from the data set digits, not cifar10"),
        ({"class_names": DATASET.class_names[::-1]}, "its classes in another order"),
        ({"class_names": ("x", *DATASET.class_names[1:])}, "with other classes"),
        ({"train_images": 30}, "another subset of digits: 40 training and 12 test images, not 30"),
        ({"fingerprint": "00" * 32}, "fingerprint abababababab..., not 000000000000..."),
        (
            {"mean": (0.5, 0.25, 0.125)},
            "another normalisation .mean 0.3 0.3 0.3 and std 0.4 0.4 0.4, not 0.5 0.25 0.125 and",
        ),
        ({"std": (0.4, 0.4, 0.400001)}, "and 0.4 0.4 0.400001"),
    ],
)
def test_stores_of_another_data_set_are_refused(store: Path, change: dict, text: str) -> None:
    with pytest.raises(errors.DatasetMismatchError, match=text):
        open_plain(store, replace(DATASET, **change))


def test_data_sets_are_described_by_what_they_are() -> None:
    split = SimpleNamespace(labels=np.zeros(7))
    data = SimpleNamespace(
        name="digits",
        fingerprint="12" * 32,
        class_names=("a", "b"),
        mean=(0.1, 0.2, 0.3),
        std=(0.4, 0.5, 0.6),
        train=split,
        test=split,
    )
    assert describe_dataset(data) == DatasetInfo(
        name="digits",
        fingerprint="12" * 32,
        train_images=7,
        test_images=7,
        classes=2,
        class_names=("a", "b"),
        mean=(0.1, 0.2, 0.3),
        std=(0.4, 0.5, 0.6),
    )


def test_groups_without_features_say_so(tmp_path: Path) -> None:
    write_group(tmp_path / "x.zarr", "plain", features=None)
    write_clean(tmp_path / "y.zarr", features=None)
    (tmp_path / "x.zarr/.plain-header.json").unlink()
    (tmp_path / "y.zarr/.clean-header.json").unlink()
    plain = open_store(tmp_path / "x.zarr", groups=["plain"]).group("plain")
    assert plain.feature_dim is None
    with pytest.raises(errors.GroupMissingError, match="without features"):
        plain.features(0)
    with pytest.raises(errors.GroupMissingError, match="without features"):
        open_store(tmp_path / "y.zarr", groups=["clean"]).clean.features("test")


def test_callers_mistakes(store: Path) -> None:
    with pytest.raises(ValueError, match="expected some of clean, plain, mixed, found 'noisy'"):
        open_store(store, groups=["noisy"])
    with pytest.raises(IndexError, match="view 5"):
        open_plain(store).logits(5)
    with pytest.raises(IndexError, match="view -1"):
        open_plain(store).plan(-1)
    with pytest.raises(ValueError, match="expected one of train, test"):
        open_store(store, groups=["clean"]).clean.logits("validation")


def test_plans_come_back_as_they_were_drawn(tmp_path: Path) -> None:
    store = make_store(tmp_path, views=18)
    group = open_store(store, groups=["mixed"]).group("mixed")
    stacked = group.plan_arrays()
    for v, drawn in enumerate(plan("mixed", 18)):
        for name, array in drawn.arrays().items():
            assert np.array_equal(group.plan(v).arrays()[name], array)
            assert np.array_equal(stacked[name][v], array)
            assert stacked[name].dtype == array.dtype


def test_files_of_plans_are_read_once_for_neighbours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    group = open_store(make_store(tmp_path, views=18), groups=["mixed"]).group("mixed")
    read, blocks = group._read_plans, []
    monkeypatch.setattr(group, "_read_plans", lambda lead: blocks.append(lead) or read(lead))
    for v, view in enumerate(group.plans(range(18))):
        for name, array in plan("mixed", 18)[v].arrays().items():
            assert np.array_equal(view.arrays()[name], array)
    assert blocks == [(0,), (1,)]
    with pytest.raises(IndexError):
        list(group.plans([0, 18]))


@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan, -np.nan])
def test_all_finite_sees_every_bad_number_anywhere(bad: float) -> None:
    assert all_finite(np.zeros(0, "<f2"))
    for place in range(6):
        values = np.array([0, -0.0, 65504, -65504, 6e-8, -6e-8], "<f2")
        assert all_finite(values)
        values[place] = bad
        assert not all_finite(values)


def test_all_finite_agrees_with_numpy_on_every_number() -> None:
    patterns = np.arange(2**16, dtype="<u2")
    ours = [all_finite(patterns[i : i + 1].view("<f2")) for i in range(2**16)]
    assert np.array_equal(ours, np.isfinite(patterns.view("<f2")))


def test_names_of_stray_files_reach_no_terminal(store: Path) -> None:
    os.mkdir(os.fsencode(store) + b"/plain/\x1b[2J\xff")
    with pytest.raises(errors.ExtraFileError) as caught:
        open_plain(store)
    assert str(caught.value).isascii()
    assert str(caught.value).isprintable()


def test_metadata_that_change_after_opening_are_not_looked_at(store: Path) -> None:
    """Zarr gets the layout's, whatever the file says by then."""
    group = open_plain(store)
    path = store / "plain/logits/zarr.json"
    content = json.loads(path.read_bytes())
    path.write_bytes(canonical_json({**content, "data_type": "uint16", "shape": [5, 1, 1]}))
    assert np.array_equal(group.logits(2), outputs("plain", 2, IMAGES, CLASSES))


def test_manifests_are_shown_without_zarr() -> None:
    code = "import sys, pipeline.tools.describe; sys.exit('zarr' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def test_manifests_are_facts_for_people_too(store: Path) -> None:
    content = json.loads((store / "plain/manifest.json").read_text())
    assert content["header"]["dataset"]["class_names"][3] == "class 3"
    assert content["header"]["recipe"]["draw"] == "stratified"
    assert content["views"] == 5
    assert Codec(**content["header"]["codec"]) == Codec()
