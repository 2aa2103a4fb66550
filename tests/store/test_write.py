"""Writing: what is refused, and that no interruption shows in the bytes."""

import contextlib
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from manifest_samples import with_crc
from store_samples import (
    CLASSES,
    DATASET,
    FEATURES,
    IMAGES,
    TEACHER,
    TEST_IMAGES,
    header,
    is_complete,
    outputs,
    plan,
    write_clean,
    write_group,
    write_views,
)

from pipeline.core.files import StorageError
from pipeline.store.format.errors import IncompleteStoreError, NonFiniteError, StaleWorkError
from pipeline.store.write import unfinished
from pipeline.store.write.writers import CleanWriter, GroupWriter


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """These tests end no machine, and thousands of syncs take minutes on a busy disk."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)


def make_writer(folder: Path, views: int = 5, group: str = "mixed") -> GroupWriter:
    return GroupWriter(folder, header(group), plan(group, views), feature_dim=FEATURES)


def published(writer: GroupWriter | CleanWriter) -> dict[str, bytes]:
    return {name: path.read_bytes() for name, path in writer.files().items()}


def flip_byte(path: Path, position: int = 10) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.unlink()
    path.write_bytes(data)


def write_infinity(path: Path) -> None:
    """A view whose CRC is right but whose first number is infinite."""
    spec = unfinished.group_arrays(unfinished.group_shape(header("mixed"), 5, FEATURES))["logits"]
    values = np.zeros(spec.chunks, spec.dtype)
    values.flat[0] = np.inf
    path.unlink()
    path.write_bytes(with_crc(values.tobytes()))


DAMAGE: dict[str, Callable[[Path], None]] = {
    "deleted": Path.unlink,
    "truncated": lambda path: os.truncate(path, 100),
    "emptied": lambda path: os.truncate(path, 0),
    "lengthened": lambda path: path.write_bytes(path.read_bytes() + b"\0"),
    "flipped": flip_byte,
    "crc flipped": lambda path: flip_byte(path, -1),
    "infinite": write_infinity,
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_resuming_recomputes_what_is_damaged_and_nothing_else(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    writer = write_group(tmp_path, "mixed")
    expected = published(writer)
    untouched = (tmp_path / "mixed/logits/c.1.0.0").stat().st_ino
    damage(tmp_path / "mixed/logits/c.3.0.0")
    again = make_writer(tmp_path)
    assert again.missing_views() == [3]
    with pytest.raises(IncompleteStoreError, match="view 3"):
        again.finish()
    write_views(again)
    again.finish()
    assert published(again) == expected
    assert (tmp_path / "mixed/logits/c.1.0.0").stat().st_ino == untouched


def test_damaged_features_are_recomputed_too(tmp_path: Path) -> None:
    write_group(tmp_path, "mixed")
    (tmp_path / "mixed/features/c.2.0.0").unlink()
    assert make_writer(tmp_path).missing_views() == [2]


@pytest.mark.parametrize("name", ["crop_yx/c.0.0.0", "lam/c.0.0", "zarr.json", "logits/zarr.json"])
def test_plan_and_metadata_are_mended(tmp_path: Path, name: str) -> None:
    expected = published(write_group(tmp_path, "mixed"))
    flip_byte(tmp_path / "mixed" / name)
    assert published(write_group(tmp_path, "mixed")) == expected


def test_all_views_are_missing_at_first(tmp_path: Path) -> None:
    writer = make_writer(tmp_path)
    assert writer.missing_views() == [0, 1, 2, 3, 4]
    write_views(writer, [4, 1])
    assert writer.missing_views() == [0, 2, 3]
    assert not is_complete(tmp_path, "mixed")
    write_views(writer)
    assert not is_complete(tmp_path, "mixed")
    writer.finish()
    assert is_complete(tmp_path, "mixed")


class Killed(BaseException):
    """Stands for the end of the process: nothing in the code catches it."""


def kill_at(monkeypatch: pytest.MonkeyPatch, step: int) -> dict[str, int]:
    """Make the step-th file operation of a durable write the last one."""
    calls = {"count": 0}
    for name in ("replace", "fsync"):
        real = getattr(os, name)

        def operation(*args, real=real):
            calls["count"] += 1
            if calls["count"] > step:
                raise Killed
            return real(*args)

        monkeypatch.setattr(os, name, operation)
    real_unlink = Path.unlink

    def unlink(path: Path, missing_ok: bool = False) -> None:
        if calls["count"] > step:  # a killed process does not clean up either
            raise Killed
        real_unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", unlink)
    return calls


def dump(folder: Path, views: int) -> GroupWriter:
    writer = make_writer(folder, views)
    write_views(writer)
    writer.finish()
    return writer


@pytest.mark.parametrize(("before", "after"), [(0, 2), (1, 2), (3, 2), (15, 17)])
def test_a_kill_at_any_file_operation_leaves_no_trace(
    tmp_path: Path, before: int, after: int
) -> None:
    reference = dump(tmp_path / "reference", after)
    expected = published(reference)
    start = tmp_path / "start"
    start.mkdir()
    if before:
        dump(start, before)
    shutil.copytree(start, tmp_path / "counted")
    with pytest.MonkeyPatch.context() as patch:
        calls = kill_at(patch, 10**6)
        dump(tmp_path / "counted", after)
        steps = calls["count"]
    assert steps > 10
    for step in range(0, steps, max(1, steps // 15)):
        folder = shutil.copytree(start, tmp_path / f"killed-{step}")
        with pytest.MonkeyPatch.context() as patch:
            kill_at(patch, step)
            with pytest.raises(Killed):
                dump(folder, after)
        resumed = dump(folder, after)
        assert published(resumed) == expected, step


def test_at_most_the_view_in_flight_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = make_writer(tmp_path)
    write_views(writer, [0, 1])
    with monkeypatch.context() as patch:
        kill_at(patch, 4)
        with pytest.raises(Killed):
            write_views(writer, [2, 3])
    assert make_writer(tmp_path).missing_views() == [2, 3, 4]


@pytest.mark.parametrize("group", ["plain", "mixed"])
@pytest.mark.parametrize(("few", "many"), [(3, 8), (12, 20), (16, 33)])
def test_more_views_leave_the_old_ones_as_they_are(
    tmp_path: Path, group: str, few: int, many: int
) -> None:
    old = published(write_group(tmp_path / "grown", group, few))
    inodes = {
        path: path.stat().st_ino for path in (tmp_path / "grown" / group / "logits").glob("c.*")
    }
    assert len(inodes) == few
    writer = make_writer(tmp_path / "grown", many, group)
    assert writer.missing_views() == list(range(few, many))
    assert not (tmp_path / "grown" / group / "manifest.json").exists()
    write_views(writer)
    writer.finish()
    new = published(writer)
    for v in range(few):
        for name in (f"{group}/logits/c.{v}.0.0", f"{group}/features/c.{v}.0.0"):
            assert new[name] == old[name]
    assert {path: path.stat().st_ino for path in inodes} == inodes
    assert new == published(write_group(tmp_path / "fresh", group, many))


def test_fewer_views_are_published_and_more_come_back(tmp_path: Path) -> None:
    expected = published(write_group(tmp_path / "fresh", "mixed", 3))
    full = published(write_group(tmp_path / "shrunk", "mixed", 18))
    assert published(write_group(tmp_path / "shrunk", "mixed", 3)) == expected
    again = make_writer(tmp_path / "shrunk", 18)
    assert again.missing_views() == []
    again.finish()
    assert published(again) == full


def test_a_kill_while_views_become_fewer_forbids_no_return(tmp_path: Path) -> None:
    start = tmp_path / "start"
    expected = published(dump(start, 3))
    for step in range(0, 24, 2):
        folder = shutil.copytree(start, tmp_path / f"killed-{step}")
        with pytest.MonkeyPatch.context() as patch, contextlib.suppress(Killed):
            kill_at(patch, step)
            dump(folder, 2)
        assert published(dump(folder, 3)) == expected, step


def test_published_files_are_replaced_and_never_changed(tmp_path: Path) -> None:
    write_group(tmp_path / "work", "plain", 3)
    kept = {}
    for path in (tmp_path / "work").rglob("*"):
        if path.is_file():
            link = tmp_path / "links" / path.relative_to(tmp_path / "work")
            link.parent.mkdir(parents=True, exist_ok=True)
            os.link(path, link)
            link.chmod(0o444)
            kept[link] = link.read_bytes()
    write_group(tmp_path / "work", "plain", 20)
    assert {link: link.read_bytes() for link in kept} == kept


def test_work_of_another_header_is_refused(tmp_path: Path) -> None:
    write_group(tmp_path, "plain")
    teacher = replace(TEACHER, weights_sha256="ef" * 32)
    with pytest.raises(StaleWorkError, match="another teacher"):
        write_group(tmp_path, "plain", teacher=teacher)


@pytest.mark.parametrize("finished", [True, False])
def test_work_of_another_plan_is_refused(tmp_path: Path, finished: bool) -> None:
    writer = make_writer(tmp_path)
    write_views(writer)
    if finished:
        writer.finish()
    other = plan("mixed", 5)
    other[3] = replace(other[3], lam=other[3].lam[::-1].copy())
    with pytest.raises(StaleWorkError, match="lam differs"):
        GroupWriter(tmp_path, header("mixed"), other, feature_dim=FEATURES)
    GroupWriter(tmp_path, header("mixed"), plan("mixed", 6), feature_dim=FEATURES)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 65520.0, -70000.0])
@pytest.mark.parametrize("place", ["logits", "features"])
def test_numbers_that_are_not_finite_are_refused(tmp_path: Path, value: float, place: str) -> None:
    writer = make_writer(tmp_path)
    arrays = {
        "logits": np.zeros((IMAGES, CLASSES), np.float32),
        "features": np.zeros((IMAGES, FEATURES), np.float32),
    }
    arrays[place][-1, -1] = value
    with pytest.raises(NonFiniteError, match=f"{place} of view 1"):
        writer.write_view(1, **arrays)
    assert writer.missing_views() == [0, 1, 2, 3, 4]


def test_the_largest_float16_is_kept(tmp_path: Path) -> None:
    writer = GroupWriter(tmp_path, header("plain"), plan("plain", 1), feature_dim=None)
    logits = np.full((IMAGES, CLASSES), -65504.0, np.float32)
    logits[0, 0] = 65504
    writer.write_view(0, logits)
    assert writer.missing_views() == []


@pytest.mark.parametrize(
    ("logits", "features", "message"),
    [
        (np.zeros((IMAGES, CLASSES + 1), np.float16), True, "logits of view 0: expected"),
        (np.zeros((IMAGES - 1, CLASSES), np.float16), True, "logits of view 0: expected"),
        (np.zeros((IMAGES, CLASSES)), True, "found float64"),
        (np.zeros((IMAGES, CLASSES), np.int32), True, "found int32"),
        (np.zeros((IMAGES, CLASSES), object), True, "found object"),
        (np.zeros((IMAGES, CLASSES), np.float16), False, "features have to be given"),
    ],
)
def test_other_shapes_and_types_are_refused(
    tmp_path: Path, logits: np.ndarray, features: bool, message: str
) -> None:
    writer = make_writer(tmp_path)
    given = np.zeros((IMAGES, FEATURES), np.float16) if features else None
    with pytest.raises(ValueError, match=message):
        writer.write_view(0, logits, given)
    assert not (tmp_path / "mixed/logits/c.0.0.0").exists()


def test_views_that_the_plan_lacks_are_refused(tmp_path: Path) -> None:
    writer = GroupWriter(tmp_path, header("plain"), plan("plain", 2), feature_dim=None)
    with pytest.raises(ValueError, match="view 2: the group has 2"):
        writer.write_view(2, outputs("plain", 2, IMAGES, CLASSES))


def test_plans_that_cannot_be_are_refused_before_anything_is_computed(tmp_path: Path) -> None:
    views = plan("mixed", 3)
    broken = replace(views[1], partner=np.zeros(IMAGES, np.int32))
    with pytest.raises(ValueError, match="plan of view 1: partner is not a permutation"):
        GroupWriter(tmp_path, header("mixed"), [views[0], broken], feature_dim=None)
    with pytest.raises(ValueError, match="plan of view 0: crop_yx is uint8"):
        GroupWriter(tmp_path, header("mixed"), plan("mixed", 1, images=30), feature_dim=None)
    wide = replace(views[0], lam=views[0].lam.astype(np.float64))
    with pytest.raises(ValueError, match="plan of view 0: lam is float64"):
        GroupWriter(tmp_path, header("mixed"), [wide], feature_dim=None)
    with pytest.raises(ValueError, match="at least one view"):
        GroupWriter(tmp_path, header("mixed"), [], feature_dim=None)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda: {"teacher": replace(TEACHER, name="../evil")}, "teacher.name"),
        (lambda: {"teacher": replace(TEACHER, weights_sha256="12")}, "weights_sha256"),
        (lambda: {"dataset": replace(DATASET, fingerprint="x" * 64)}, "fingerprint"),
        (lambda: {"dataset": replace(DATASET, class_names=("a",))}, "1 names of 10 classes"),
        (
            lambda: {"dataset": replace(DATASET, class_names=("\x1b[2J",) * 10)},
            "cannot be seen, U\\+001B",
        ),
        (lambda: {"batch_size": 0}, "batch_size"),
        (lambda: {"recipe": None}, "recipe"),
        (lambda: {"tolerance": float("nan")}, "JSON compliant"),
    ],
)
def test_headers_that_no_manifest_can_hold_are_refused_at_once(
    tmp_path: Path, change: Callable[[], dict], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        GroupWriter(tmp_path, header("plain", **change()), plan("plain", 1), feature_dim=None)
    assert not any(tmp_path.iterdir())


def test_clean_group_resumes_by_split(tmp_path: Path) -> None:
    expected = published(write_clean(tmp_path / "whole"))
    write_clean(tmp_path / "cut")
    (tmp_path / "cut/clean/test/labels/c.0").unlink()
    writer = CleanWriter(tmp_path / "cut", header("clean"), feature_dim=FEATURES)
    assert writer.missing_splits() == ["test"]
    with pytest.raises(IncompleteStoreError, match="test"):
        writer.finish()
    assert published(write_clean(tmp_path / "cut")) == expected


@pytest.mark.parametrize(
    ("split", "labels", "message"),
    [
        ("validation", np.zeros(TEST_IMAGES, np.int32), "expected one of train, test"),
        ("test", np.zeros(TEST_IMAGES + 1, np.int32), "test labels"),
        ("test", np.zeros(TEST_IMAGES), "test labels"),
        ("test", np.full(TEST_IMAGES, CLASSES), "one of 10 classes"),
        ("test", np.full(TEST_IMAGES, -1), "one of 10 classes"),
    ],
)
def test_clean_labels_that_are_no_classes_are_refused(
    tmp_path: Path, split: str, labels: np.ndarray, message: str
) -> None:
    writer = CleanWriter(tmp_path, header("clean"), feature_dim=None)
    logits = np.zeros((TEST_IMAGES, CLASSES), np.float32)
    with pytest.raises(ValueError, match=message):
        writer.write_split(split, logits, None, labels)


def test_a_full_disk_is_told_and_work_goes_on_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = make_writer(tmp_path)
    write_views(writer, [0])
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", _full)
        with pytest.raises(StorageError, match="the disk is full") as caught:
            write_views(writer, [1])
    assert isinstance(caught.value.__cause__, OSError)
    assert not list(tmp_path.rglob(".tmp-*"))
    write_views(writer)
    writer.finish()
    assert published(writer) == published(write_group(tmp_path / "whole", "mixed"))


def _full(*_: object) -> None:
    raise OSError(28, "No space left on device")
