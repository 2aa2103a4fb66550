"""Out of the format and into it: exported files hold what the store holds, and come back the same."""

import io
import json
import os
import pickle
import shutil
import sys
import time
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from store_samples import (
    CLASSES,
    CODECS,
    FEATURES,
    IMAGES,
    LOSSY,
    TEACHER,
    TEST_IMAGES,
    make_store,
    outputs,
    plan,
    tree,
    write_group,
)

from pipeline.core.dataset import ImageData, Split, fingerprint, save_prepared
from pipeline.core.files import WorkFolder, durable_write
from pipeline.store.format import manifest_text
from pipeline.store.read import open_store
from pipeline.tools import export, npz
from pipeline.tools.describe import describe_store
from pipeline.tools.npz import NpzError, NpzReader, npz_bytes
from pipeline.tools.verify import verify_store
from pipeline.views.plans import ViewRecipe, draw_view
from stages.store.group import store

every_codec = pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)


@pytest.fixture(autouse=True)
def _somewhere_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a folder without prepared data, and without waiting for the disk."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


def run(*arguments: object, code: int = 0) -> str:
    result = CliRunner().invoke(store, list(map(str, arguments)), catch_exceptions=False)
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    return result.output


def exported(tmp_path: Path, *options: object, **made: object) -> Path:
    run("export", make_store(tmp_path, **made), "--out", tmp_path / "files", *options)
    return tmp_path / "files"


def test_a_link_to_an_empty_folder_is_filled(tmp_path: Path) -> None:
    (tmp_path / "large disk").mkdir()
    (tmp_path / "files").symlink_to(tmp_path / "large disk")
    files = exported(tmp_path)
    assert files.is_symlink()
    assert (tmp_path / "large disk/clean.npz").is_file()
    assert not list(tmp_path.glob(".tmp*"))


@every_codec
def test_exported_files_hold_what_is_read(tmp_path: Path, codec) -> None:
    files = exported(tmp_path, codec=codec)
    opened = open_store(tmp_path / "stores/resnet20.zarr", groups=["clean", "plain", "mixed"])
    names = [f"{group}-{v:04d}.npz" for group in ("mixed", "plain") for v in range(5)]
    assert sorted(tree(files)) == ["clean.npz", *names]
    for name in names:
        group, v = opened.group(name.split("-")[0]), int(name[-8:-4])
        with np.load(files / name) as arrays:
            view = plan(group.name, 5)[v].arrays()
            assert set(arrays) == {"logits", "features", "facts", *view}
            assert np.array_equal(arrays["logits"], group.logits(v))
            assert arrays["logits"].dtype == np.float16
            assert np.array_equal(arrays["features"], outputs(group.name, v, IMAGES, FEATURES))
            for key, array in view.items():
                assert np.array_equal(arrays[key], array)
                assert arrays[key].dtype == array.dtype
            facts = json.loads(str(arrays["facts"]))
        assert (facts["view"], facts["views"]) == (v, 5)
        assert facts["header"]["teacher"]["name"] == "resnet20"
    with np.load(files / "clean.npz") as arrays:
        assert np.array_equal(arrays["test_labels"], opened.clean.labels("test"))
        assert np.array_equal(arrays["train_logits"], opened.clean.logits("train"))
        assert np.array_equal(arrays["test_features"], opened.clean.features("test"))


def test_exported_bytes_are_the_same_every_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = tree(exported(tmp_path / "a"))
    monkeypatch.setattr(time, "localtime", lambda *_: time.gmtime(10**9))
    assert tree(exported(tmp_path / "b")) == first


def test_one_group_may_be_exported(tmp_path: Path) -> None:
    assert sorted(tree(exported(tmp_path, "--group", "plain"))) == [
        f"plain-{v:04d}.npz" for v in range(5)
    ]


def test_an_interrupted_export_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, written = make_store(tmp_path), []

    def write(file: Path, data: bytes) -> None:
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(file)
        durable_write(file, data)

    with monkeypatch.context() as patches:
        patches.setattr(export, "durable_write", write)
        run("export", path, "--out", tmp_path / "files", code=130)
    assert len(written) == 2
    assert [entry.name for entry in tmp_path.iterdir() if "files" in entry.name] == []
    assert [entry for entry in tmp_path.iterdir() if entry.name.startswith(".tmp")] == []
    run("export", path, "--out", tmp_path / "files")
    assert len(tree(tmp_path / "files")) == 11


def test_export_overwrites_nothing(tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    path = make_store(tmp_path)
    run("export", path, "--out", tmp_path / "files")
    assert "something already" in run("export", path, "--out", tmp_path / "files", code=1)
    (tmp_path / "file").write_text("x")
    assert "something already" in run("export", path, "--out", tmp_path / "file", code=1)


def test_a_damaged_store_is_not_exported(tmp_path: Path) -> None:
    path = make_store(tmp_path)
    data = bytearray((path / "plain/logits/c.3.0.0").read_bytes())
    data[9] ^= 1
    (path / "plain/logits/c.3.0.0").write_bytes(data)
    text = run("export", path, "--out", tmp_path / "files", "--group", "plain", code=1)
    assert "plain/logits/c.3.0.0" in text
    assert "decant store mend" in text


def test_parquet_without_pyarrow_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    options = ("--out", tmp_path / "files", "--format", "parquet")
    text = run("export", make_store(tmp_path), *options, code=1)
    assert "pip install -e '.[parquet]'" in text
    assert "--format npz" in text


@every_codec
def test_parquet_files_hold_what_is_read(tmp_path: Path, codec) -> None:
    pandas = pytest.importorskip("pandas")
    parquet = pytest.importorskip("pyarrow.parquet", reason="needs the extra parquet")
    files = exported(tmp_path, "--format", "parquet", codec=codec)
    group = open_store(tmp_path / "stores/resnet20.zarr", groups=["mixed"]).group("mixed")
    assert len(tree(files)) == 12
    for v in range(5):
        frame = pandas.read_parquet(files / f"mixed-{v:04d}.parquet")
        view = plan("mixed", 5)[v]
        assert frame["image"].tolist() == list(range(IMAGES))
        assert np.array_equal(np.stack(frame["logits"]), group.logits(v).astype(np.float32))
        assert np.array_equal(np.stack(frame["features"]), group.features(v).astype(np.float32))
        assert np.array_equal(frame[["crop_y", "crop_x"]].to_numpy(), view.crop_yx)
        for name in ("flip", "partner", "lam", "mix_rank"):
            assert np.array_equal(frame[name].to_numpy(), getattr(view, name))
    facts = json.loads(parquet.read_schema(files / "plain-0003.parquet").metadata[b"decant"])
    assert (facts["view"], facts["views"]) == (3, 5)
    clean = pandas.read_parquet(files / "clean-test.parquet")
    assert clean["labels"].tolist() == [i % CLASSES for i in range(TEST_IMAGES)]


# --- import ---------------------------------------------------------------------------------------


@every_codec
def test_what_was_exported_comes_back(tmp_path: Path, codec) -> None:
    files = exported(tmp_path, codec=codec)
    out = tmp_path / "new/back.zarr"
    shuffled = sorted(files.iterdir(), key=lambda path: path.name[::-1])
    assert run("import-logits", *shuffled, "--out", out) == f"clean, mixed, plain -> {out}\n"
    assert verify_store(out, deep=True) == []
    assert sorted(path.name for path in out.parent.iterdir()) == ["back.zarr"]
    old = open_store(tmp_path / "stores/resnet20.zarr", groups=["clean", "plain", "mixed"])
    dataset = old.clean.manifest.header.dataset
    new = open_store(out, groups=["clean", "plain", "mixed"], dataset=dataset)
    for name in ("plain", "mixed"):
        for v in range(5):
            assert np.array_equal(new.group(name).logits(v), old.group(name).logits(v))
            assert np.array_equal(new.group(name).features(v), old.group(name).features(v))
            for key, array in old.group(name).plan(v).arrays().items():
                assert np.array_equal(getattr(new.group(name).plan(v), key), array)
        header = new.group(name).manifest.header
        assert header.recipe.draw == "given"
        assert (header.recipe.pad, header.recipe.flip) == (2, True)
        assert header.teacher.weights_sha256 is None
        assert header.teacher.network == "resnet20"
        assert header.lossy == codec.lossy
        cost = old.group(name).manifest.measured_error
        assert new.group(name).manifest.measured_error == cost
    assert np.array_equal(new.clean.labels("train"), old.clean.labels("train"))


def test_imported_bytes_are_the_same_every_time(tmp_path: Path) -> None:
    files = sorted(exported(tmp_path).iterdir())
    for name, order in (("a", files), ("b", files[::-1])):
        run("import-logits", *order, "--out", tmp_path / name / "x.zarr")
    assert tree(tmp_path / "a") == tree(tmp_path / "b")


def prepare(folder: Path) -> ImageData:
    """A prepared data set of the samples' shape."""
    rng = np.random.Generator(np.random.Philox(key=1))
    splits = [
        Split(
            rng.integers(0, 256, (count, 8, 8, 3), np.uint8),
            np.arange(count, dtype=np.int32) % CLASSES,
        )
        for count in (IMAGES, TEST_IMAGES)
    ]
    names = tuple(map(str, range(CLASSES)))
    data = ImageData(
        name="digits",
        train=splits[0],
        test=splits[1],
        class_names=names,
        mean=(0.5, 0.5, 0.5),
        std=(0.2, 0.2, 0.2),
        fingerprint=fingerprint(*splits, names),
        evaluated_on="test",
        notes={},
    )
    save_prepared(data, folder)
    return data


def bare_files(folder: Path, group: str, views: int = 3, **changes) -> list[Path]:
    """Views as a program that knows nothing of stores writes them."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for v, view in enumerate(plan(group, views)):
        arrays = {
            name: array.astype(_WIDE[array.dtype.kind]) for name, array in view.arrays().items()
        }
        arrays["logits"] = outputs(group, v, IMAGES, CLASSES).astype(np.float64)
        paths.append(folder / f"{group}{v}.npz")
        np.savez_compressed(paths[-1], **{**arrays, **changes})
    return paths


_WIDE = {"u": np.int64, "i": np.int64, "b": np.uint8, "f": np.float32}


def test_logits_that_were_computed_elsewhere(tmp_path: Path) -> None:
    data = prepare(tmp_path / "prepared")
    files = bare_files(tmp_path / "files", "plain") + bare_files(tmp_path / "files", "mixed")
    out = tmp_path / "foreign.zarr"
    stated = ("--pad", 2, "--alpha", 0.5, "--network", "vit", "--accuracy", 0.8)
    run("import-logits", *files, "--out", out, "--prepared", tmp_path / "prepared", *stated)
    assert verify_store(out, deep=True) == []
    for name in ("plain", "mixed"):
        group = open_store(out, groups=[name]).group(name)
        header = group.manifest.header
        assert header.dataset.fingerprint == data.fingerprint
        assert header.dataset.mean == (0.5, 0.5, 0.5)
        assert header.teacher.name == "foreign"
        assert (header.teacher.network, header.teacher.top1_accuracy) == ("vit", 0.8)
        assert (header.precision, header.batch_size, header.lossy) == ("unknown", None, False)
        assert header.recipe.alpha == (0.5 if name == "mixed" else None)
        assert header.recipe.flip is True
        assert group.feature_dim is None
        for v in range(3):
            assert np.array_equal(group.logits(v), outputs(name, v, IMAGES, CLASSES))
    assert "not known: the logits were imported" in run("info", out)
    assert describe_store(out)["complete"] is True


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--alpha", 1], "Give --pad"),
        (["--pad", 2], "Give --alpha"),
        (["--pad", 1, "--alpha", 1], "crop_yx reaches 4"),
    ],
)
def test_what_nobody_says_is_asked_for(tmp_path: Path, options: list, message: str) -> None:
    prepare(tmp_path / "prepared")
    files = bare_files(tmp_path / "files", "mixed")
    where = ("--out", tmp_path / "x.zarr", "--prepared", tmp_path / "prepared")
    assert message in run("import-logits", *files, *where, *options, code=1)
    assert not (tmp_path / "x.zarr").exists()
    assert not list(tmp_path.glob(".importing*/*"))


def test_no_data_set_is_asked_for_too(tmp_path: Path) -> None:
    files = bare_files(tmp_path / "files", "plain")
    text = run("import-logits", *files, "--out", tmp_path / "x.zarr", "--pad", 2, code=1)
    assert "dvc repro prepare" in text


def test_files_of_another_data_set_are_refused(tmp_path: Path) -> None:
    prepare(tmp_path / "prepared")
    files = sorted(exported(tmp_path).glob("plain*"))
    where = ("--out", tmp_path / "x.zarr", "--prepared", tmp_path / "prepared")
    assert "made from another data set" in run("import-logits", *files, *where, code=1)


def test_labels_are_those_of_the_prepared_data_set(tmp_path: Path) -> None:
    data = prepare(tmp_path / "prepared")
    arrays = {}
    for split, images in (("train", data.train), ("test", data.test)):
        arrays[f"{split}_logits"] = np.zeros((len(images.labels), CLASSES), np.float32)
        arrays[f"{split}_labels"] = images.labels
    good, wrong = tmp_path / "good.npz", tmp_path / "wrong.npz"
    np.savez(good, **arrays)
    np.savez(wrong, **{**arrays, "test_labels": (data.test.labels + 1) % CLASSES})
    where = ("--out", tmp_path / "x.zarr", "--prepared", tmp_path / "prepared")
    text = run("import-logits", wrong, *where, code=1)
    assert f"{wrong}: {TEST_IMAGES} of its test labels are not the prepared data set's" in text
    assert not (tmp_path / "x.zarr").exists()
    assert run("import-logits", good, *where).startswith("clean -> ")


def test_views_that_are_missing_or_twice_are_refused(tmp_path: Path) -> None:
    files = sorted(exported(tmp_path).glob("plain*"))
    out = ("--out", tmp_path / "x.zarr")
    text = run("import-logits", *files[:2], *files[3:], *out, code=1)
    assert "is view 3, where view 2 is expected" in text
    text = run("import-logits", *files, files[1], *out, code=1)
    assert "is view 1, where view 2 is expected" in text
    other = tmp_path / "other"
    run("export", make_store(other, views=3, codec=LOSSY["int8"]), "--out", other / "files")
    mixed = [*files[:2], other / "files/plain-0002.npz"]
    assert "made from different stores" in run("import-logits", *mixed, *out, code=1)
    clean = tmp_path / "files/clean.npz"
    assert "a second file of the clean images" in run("import-logits", clean, clean, *out, code=1)


def test_some_of_the_views_are_not_a_store(tmp_path: Path) -> None:
    files = sorted(exported(tmp_path).glob("plain*"))
    text = run("import-logits", *files[:2], "--out", tmp_path / "x.zarr", code=1)
    assert "plain-0000.npz: one of 5 views, and 2 are given" in text


def test_files_of_two_teachers_are_no_store(tmp_path: Path) -> None:
    """An imported store has no digest of weights, so what it is made of has to agree."""
    files = sorted(exported(tmp_path).glob("plain*"))
    target, teacher = tmp_path / "other/resnet20.zarr", replace(TEACHER, weights_sha256="ef" * 32)
    with WorkFolder(tmp_path / "other/.work", "sample") as work:
        mixed = write_group(work.path / "store", "mixed", 5, teacher=teacher)
        work.publish(mixed.files(), target)
    run("export", target, "--out", tmp_path / "others")
    others = sorted((tmp_path / "others").glob("mixed*"))
    text = run("import-logits", *files, *others, "--out", tmp_path / "x.zarr", code=1)
    assert "not of the same teacher" in text
    assert not (tmp_path / "x.zarr").exists()


def test_import_overwrites_nothing(tmp_path: Path) -> None:
    files = sorted(exported(tmp_path).glob("plain*"))
    path = tmp_path / "stores/resnet20.zarr"
    before = tree(path)
    assert "something already" in run("import-logits", *files, "--out", path, code=1)
    assert "ends with .zarr" in run("import-logits", *files, "--out", tmp_path / "x", code=1)
    assert tree(path) == before
    assert "Usage" in run("import-logits", "--out", tmp_path / "x.zarr", code=2)


def test_a_pinned_name_is_not_taken(tmp_path: Path) -> None:
    files = sorted(exported(tmp_path).glob("plain*"))
    Path("params.yaml").write_text(
        "machine: {data_root: raw}\nremote_stores: {theirs: https://host/theirs.zarr}\n"
    )
    out = Path("data/stores/theirs.zarr")
    text = run("import-logits", *files, "--out", out, code=1)
    assert f"{out}: this name is pinned to https://host/theirs.zarr" in text
    assert "delete remote_stores.theirs" in text
    assert not out.parent.exists()
    run("import-logits", *files, "--out", "data/stores/ours.zarr")


def test_numbers_that_no_store_holds_are_refused(tmp_path: Path) -> None:
    prepare(tmp_path / "prepared")
    where = ("--out", tmp_path / "x.zarr", "--prepared", tmp_path / "prepared", "--pad", 2)
    bad = {
        "partner is not a permutation": {"partner": np.zeros(IMAGES, np.int32)},
        "lam has values outside": {"lam": np.full(IMAGES, 1.5, np.float32)},
        "do not fit uint8": {"crop_yx": np.full((IMAGES, 2), 256)},
        "do not fit bool": {"flip": np.full(IMAGES, 2)},
        "do not fit int32": {"mix_rank": np.arange(IMAGES) + 2**40},
        "crop_yx is int64 (40, 3), expected (40, 2)": {"crop_yx": np.zeros((IMAGES, 3), int)},
        "lam is int64 (40,), expected (40,) of kind f": {"lam": np.zeros(IMAGES, int)},
        "are NaN": {"logits": np.full((IMAGES, CLASSES), np.nan)},
        "logits is float64 (40, 11)": {"logits": np.zeros((IMAGES, CLASSES + 1))},
    }
    for number, (message, changes) in enumerate(bad.items()):
        files = bare_files(tmp_path / str(number), "mixed", 1, **changes)
        text = run("import-logits", *files, *where, "--alpha", 1, code=1)
        assert message in text, text
        assert not (tmp_path / "x.zarr").exists()


# --- npz files that lie ---------------------------------------------------------------------------


class Evil:
    def __reduce__(self) -> tuple:
        return os.system, ("touch executed",)


def npy_header(shape: tuple, descr: object = "<f4", version: bytes = b"\x01\x00") -> bytes:
    text = repr({"descr": descr, "fortran_order": False, "shape": shape}).encode() + b"\n"
    return b"\x93NUMPY" + version + len(text).to_bytes(2, "little") + text


def member(name: str, data: bytes, compression: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as file:
        file.writestr(name + ".npy", data)
    return buffer.getvalue()


LIES = {
    "nothing": b"",
    "no zip": b"numbers",
    "pickle": pickle.dumps(Evil()),
    "no array": member("logits", b"numbers"),
    "object": member("logits", npy_header((3,), "|O") + pickle.dumps([Evil()] * 3)),
    "fields": member("logits", npy_header((3,), [("a", "|O")]) + pickle.dumps(Evil())),
    "another version": member("logits", npy_header((3,), version=b"\x09\x00")),
    "enormous": member("logits", npy_header((10**12, 10**6))),
    "negative": member("logits", npy_header((-3, 4))),
    "short": member("logits", npy_header((3, 4)) + b"\0" * 47),
    "code as shape": member("logits", npy_header((3,)).replace(b"(3,)", b"exit")),
    "open bracket": member("logits", npy_header((3,)).replace(b"(3,)", b"(((,")),
    "indented": member("logits", npy_header((3,)).replace(b"{'", b" \n ")),
    "number as key": member("logits", npy_header((3,)).replace(b"'descr'", b"1234567")),
    "cut": member("logits", npy_header((3, 4)) + b"\0" * 48)[:-30],
    "flipped": member("logits", npy_header((3, 4)) + b"\1" * 48).replace(b"\1" * 48, b"\2" * 48),
    "cut off": member("logits", npy_header((3, 4)) + b"\0" * 20),
    "lzma": member("logits", npy_header((3, 4)) + b"\1" * 48, zipfile.ZIP_LZMA),
    "bomb": member("logits", npy_header((2**30,)) + b"\0" * 2**25, zipfile.ZIP_DEFLATED),
}


@pytest.mark.parametrize("name", LIES)
def test_files_that_lie_are_refused_quickly(tmp_path: Path, name: str) -> None:
    path = tmp_path / "lie.npz"
    path.write_bytes(LIES[name])
    started = time.process_time()
    with pytest.raises(NpzError, match=r"lie\.npz: "), NpzReader(path) as file:
        file.read("logits", (3, 4), "f")
    assert time.process_time() - started < 1
    assert not Path("executed").exists()
    run("import-logits", path, "--out", tmp_path / "x.zarr", code=1)


def one_array(path: Path, name: str, shape: tuple, data: bytes) -> Path:
    path.write_bytes(member(name, npy_header(shape, "<f2") + data, zipfile.ZIP_DEFLATED))
    return path


def test_an_array_is_as_large_as_it_says(tmp_path: Path) -> None:
    path = one_array(tmp_path / "x.npz", "logits", (2**40, 4), b"\0" * 8)
    with NpzReader(path) as file, pytest.raises(NpzError, match="logits is cut off"):
        file.read("logits", (2**40, 4), "f")


def test_an_array_is_not_much_larger_than_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(npz, "SMALL_BYTES", 2**20)
    monkeypatch.setattr(npz, "MAX_RATIO", 500)
    for count in (2**18, 2**21):
        one_array(tmp_path / f"{count}.npz", "logits", (count,), bytes(2 * count))
    with NpzReader(tmp_path / f"{2**18}.npz") as file:
        assert not file.read("logits", (2**18,), "f").any()
    large = pytest.raises(NpzError, match="holds 4,194,304 bytes of numbers out of 4,")
    with NpzReader(tmp_path / f"{2**21}.npz") as file, large:
        file.read("logits", (2**21,), "f")


def test_an_array_that_memory_has_no_room_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_room(*_: object, **options: object) -> None:
        raise MemoryError

    monkeypatch.setattr(npz.npy, "read_array", no_room)
    path = one_array(tmp_path / "x.npz", "logits", (4,), bytes(8))
    with NpzReader(path) as file, pytest.raises(NpzError, match="logits is more than this machine"):
        file.read("logits", (4,), "f")


def test_features_that_are_no_rows_are_refused(tmp_path: Path) -> None:
    prepare(tmp_path / "prepared")
    (path,) = bare_files(tmp_path / "files", "plain", 1)
    with zipfile.ZipFile(path, "a") as file:
        file.writestr("features.npy", npy_header((IMAGES, 8, 1, 1), "<f2"))
    where = ("--out", tmp_path / "x.zarr", "--prepared", tmp_path / "prepared", "--pad", 2)
    text = run("import-logits", path, *where, code=1)
    assert f"found the shape [{IMAGES}, 8, 1, 1]: reshape them, or leave them out" in text


@pytest.mark.parametrize("width", [0, 2**20 + 1, 2**33])
def test_features_of_no_store_s_width_are_refused_unread(tmp_path: Path, width: int) -> None:
    prepare(tmp_path / "prepared")
    (path,) = bare_files(tmp_path / "files", "plain", 1)
    with zipfile.ZipFile(path, "a") as file:
        file.writestr("features.npy", npy_header((IMAGES, width), "<f2"))
    where = ("--out", tmp_path / "x.zarr", "--prepared", tmp_path / "prepared", "--pad", 2)
    text = run("import-logits", path, *where, code=1)
    assert f"{path}: features has {width:,} numbers a row" in text
    assert not (tmp_path / "x.zarr").exists()
    assert not list(tmp_path.glob(".importing/*"))


def test_a_refusal_by_the_store_names_no_folder_that_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = sorted(exported(tmp_path).glob("plain*"))
    monkeypatch.setattr(manifest_text, "SMALL_BYTES", 0)
    monkeypatch.setattr(manifest_text, "MAX_RATIO", 0)
    text = run("import-logits", *files, "--out", tmp_path / "x.zarr", code=1)
    assert f"{tmp_path / 'x.zarr'}: the files do not make a store (plain/manifest.json: " in text
    assert ".importing" not in text
    assert "decant store mend" not in text


def test_reading_arrays_in_either_order(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    array = np.arange(12, dtype=">i4").reshape(3, 4)
    path.write_bytes(npz_bytes({"c": array, "f": np.asfortranarray(array), "t": np.array("text")}))
    with NpzReader(path) as file:
        assert file.names == ("c", "f", "t")
        for name in ("c", "f"):
            assert file.shape(name) == (3, 4)
            read = file.read(name, (3, 4), "iu", "i4")
            assert np.array_equal(read, array)
            assert read.flags.c_contiguous
        assert file.text("t") == "text"
        with pytest.raises(NpzError, match="expected a text"):
            file.text("c")
        with pytest.raises(NpzError, match="expected a text"):
            file.text("t", limit=8)
        with pytest.raises(NpzError, match="holds no array d; it has: c, f, t"):
            file.read("d", (3, 4), "f")


@pytest.mark.parametrize(
    "facts",
    [
        "{",
        "[]",
        '{"view": 0}',
        '{"header": {}, "view": 0, "measured_error": {}}',
        '{"header": null, "view": "0", "measured_error": []}',
        "[" * 10**5,
    ],
)
def test_facts_that_are_none_are_refused(tmp_path: Path, facts: str) -> None:
    path = sorted(exported(tmp_path).glob("plain*"))[0]
    arrays = {**dict(np.load(path)), "facts": np.array(facts)}
    path.unlink()
    np.savez(path, **arrays)
    text = run("import-logits", path, "--out", tmp_path / "x.zarr", code=1)
    assert f"{path}: facts" in text


def test_files_that_are_something_else_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", weights=np.zeros(3))
    text = run("import-logits", tmp_path / "x.npz", "--out", tmp_path / "x.zarr", code=1)
    assert "expected logits, crop_yx and flip" in text
    assert "found weights" in text
    path = sorted(exported(tmp_path).glob("mixed*"))[0]
    plain = shutil.copy(path, tmp_path / "plain.npz")
    arrays = dict(np.load(path))
    np.savez(plain, **{name: arrays[name] for name in ("logits", "crop_yx", "flip", "facts")})
    text = run("import-logits", plain, "--out", tmp_path / "x.zarr", code=1)
    assert "of the group mixed, but the arrays are of plain" in text


def test_a_work_folder_of_a_killed_import_does_not_matter(tmp_path: Path) -> None:
    files = sorted(exported(tmp_path).glob("plain*"))
    run("import-logits", *files, "--out", tmp_path / "a/x.zarr")
    from pipeline.core.files import work_key

    left = tmp_path / "b/.importing" / work_key({"store": "x.zarr"}) / "store/plain"
    left.mkdir(parents=True)
    (left / "zarr.json").write_bytes(b"half")
    run("import-logits", *files, "--out", tmp_path / "b/x.zarr")
    assert tree(tmp_path / "a") == tree(tmp_path / "b")


def test_a_header_may_be_changed_by_options(tmp_path: Path) -> None:
    files = sorted(exported(tmp_path).glob("plain*"))
    options = ("--teacher", "other", "--tolerance", 0.5, "--precision", "bf16", "--lossy")
    run("import-logits", *files, "--out", tmp_path / "x.zarr", *options)
    header = open_store(tmp_path / "x.zarr", groups=["plain"]).group("plain").manifest.header
    assert (header.teacher.name, header.tolerance) == ("other", 0.5)
    assert (header.precision, header.lossy) == ("bf16", True)
    assert replace(header.teacher, name="resnet20").training["epochs"] == 20


def test_views_that_were_imported_are_never_drawn_again() -> None:
    recipe = ViewRecipe(pad=2, flip=True, draw="given", alpha=None, seed=0)
    with pytest.raises(ValueError, match="cannot be drawn again"):
        draw_view("plain", recipe, 0, IMAGES)
