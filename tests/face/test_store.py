"""Opening a store by name, folder and address; what it shows of itself, and what it refuses."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from face_samples import inside, project
from manifest_samples import sign
from remote_servers import http_server
from workspaces import yaml

import decant
from pipeline.core.dataset import fingerprint, load_prepared, save_prepared
from pipeline.store.format.errors import DatasetMismatchError, GroupMissingError, StaleStoreError
from pipeline.store.read import open_store

STORE = Path("data/stores/resnet8.zarr")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("store")
    with inside(folder):
        project(folder)
    return folder


@pytest.fixture
def here(made, tmp_path, monkeypatch):
    """A copy of the project, which a test may harm."""
    folder = tmp_path / "project"
    shutil.copytree(made, folder)
    monkeypatch.chdir(folder)
    return folder


def assert_reads(store):
    wanted = open_store(STORE, groups=["mixed"]).group("mixed").logits(1)
    assert np.array_equal(store.group("mixed").logits(1), wanted)


@pytest.mark.parametrize(
    "name", ["resnet8", "resnet8.zarr", str(STORE), Path("resnet8"), STORE.resolve]
)
def test_a_store_is_found_by_name_and_by_path(here, name):
    store = decant.open(name() if callable(name) else name)
    assert (store.name, store.teacher.network) == ("resnet8", "resnet8")
    assert set(store.manifests) == {"clean", "plain", "mixed"}
    assert_reads(store)
    assert np.array_equal(store.clean.labels("test"), np.load("data/prepared/test_labels.npy"))


def test_the_project_is_found_from_a_folder_in_it(here, monkeypatch):
    (here / "docs").mkdir()
    wanted = decant.open("resnet8").group("plain").logits(0)
    monkeypatch.chdir(here / "docs")
    store = decant.open("resnet8")
    assert np.array_equal(store.group("plain").logits(0), wanted)
    assert len(store.loader(device="cpu")) == 7  # of the prepared data set above


@pytest.mark.parametrize("way", ["up", "link", "linked store folder"])
def test_a_store_of_the_project_is_one_however_it_is_named(here, tmp_path, monkeypatch, way):
    (here / "docs").mkdir()
    (tmp_path / "link").symlink_to(here)
    (tmp_path / "stores").symlink_to(here / "data/stores")
    path = {
        "up": Path("../data/stores/resnet8.zarr"),
        "link": tmp_path / "link/data/stores/resnet8.zarr",
        "linked store folder": tmp_path / "stores/resnet8.zarr",
    }[way]
    monkeypatch.chdir(here / "docs")
    version = here / "data/versions/resnet8.zarr/plain"
    version.parent.mkdir(parents=True, exist_ok=True)
    version.write_text(json.dumps({"manifest": "0" * 64}))
    with pytest.raises(StaleStoreError):
        decant.open(path).group("plain")


def test_an_opened_store_is_that_store_wherever_one_works(here, tmp_path, monkeypatch):
    store, there = decant.open("resnet8"), tmp_path / "there"
    wanted = store.group("plain").logits(0)
    (there / "data/stores").mkdir(parents=True)
    monkeypatch.chdir(there)
    assert np.array_equal(store.group("plain").logits(0), wanted)
    assert len(store.loader(device="cpu")) == 7


def test_a_store_that_is_dumped_again_has_to_be_opened_again(here):
    store = decant.open("resnet8")
    shutil.rmtree("data/versions/resnet8.zarr")
    sign(STORE, "plain", lambda manifest: manifest["header"]["teacher"].update(top1_accuracy=0.5))
    with pytest.raises(decant.DecantError, match="open it again"):
        store.group("plain")
    with pytest.raises(decant.DecantError, match="open it again"):
        store.loader(share=0.0, device="cpu")
    assert store.group("mixed").views
    assert decant.open("resnet8").group("plain").views


def test_images_may_be_chosen_by_numpy(here):
    store = decant.open("resnet8")
    chosen = np.flatnonzero(np.load("data/prepared/train_labels.npy") == 3)[:2]
    strip = store.strip(view=np.int64(1), images=chosen)
    assert [example.index for example in strip.examples] == chosen.tolist()


def test_a_store_elsewhere_needs_no_project(here, tmp_path, monkeypatch):
    moved = tmp_path / "elsewhere" / "mine.zarr"
    shutil.copytree(STORE, moved)
    monkeypatch.chdir(moved.parent)
    store = decant.open("mine.zarr")
    assert store.name == "mine"
    assert len(store.loader(prepared=here / "data/prepared", device="cpu")) == 7


def test_a_store_is_read_at_its_address_and_where_it_is_pinned(here, tmp_path, monkeypatch):
    pytest.importorskip("obstore")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    wanted = open_store(STORE, groups=["mixed"]).group("mixed").logits(1)
    with http_server(STORE) as server:
        url = server.url("resnet8.zarr")
        store = decant.open(url)
        assert url in repr(store)
        assert np.array_equal(store.group("mixed").logits(1), wanted)
        content = yaml.load(Path("params.yaml"))
        content["remote_stores"] = {"resnet8": url}
        content["dumps"], content["students"] = {}, {}
        with Path("params.yaml").open("w") as file:
            yaml.dump(content, file)
        for path in STORE.rglob("c.*"):  # a pinned store's folder holds no views
            path.unlink()
        asked = server.requests["plain/logits/c.1.0.0"]
        pinned = decant.open("resnet8")
        assert np.array_equal(pinned.group("mixed").logits(1), wanted)
        assert pinned.group("plain").logits(1).shape == wanted.shape
        assert server.requests["plain/logits/c.1.0.0"] == asked + 1
        shutil.rmtree(STORE)  # as in a new clone
        assert decant.open("resnet8").manifests == store.manifests


def test_it_says_what_it_is(here):
    lines = repr(decant.open("resnet8")).splitlines()
    manifest = json.loads((STORE / "mixed/manifest.json").read_bytes())
    teacher = manifest["header"]["teacher"]
    assert lines[0] == "Store resnet8 (data/stores/resnet8.zarr)"
    assert (
        f"top-1 {teacher['top1_accuracy']:.2%}, weights {teacher['weights_sha256'][:12]}"
        in lines[1]
    )
    assert "digits: 412 training and 359 test images, 10 classes" in lines[2]
    assert [line.split()[0] for line in lines[3:]] == ["clean", "plain", "mixed"]
    for part in (
        "3 views (random)",
        "mixup alpha 1",
        "dense",
        "64 features",
        manifest["digest"][:12],
    ):
        assert part in lines[5]


def test_a_stranger_s_names_do_not_move_the_cursor(here):
    for group in ("clean", "plain", "mixed"):
        sign(STORE, group, lambda m: m["header"]["teacher"].update(network="\x1b[2Jevil\n"))
    shutil.rmtree("data/versions", ignore_errors=True)
    assert all(line.isprintable() for line in repr(decant.open("resnet8")).splitlines())


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnet9", r"no store 'resnet9'; did you mean 'resnet8'\? Below data/stores: resnet8"),
        ("some/folder", "no store 'some/folder'; Below data/stores: resnet8"),
        ("", "name a store, a folder or an address"),
        ("ftp://host/x.zarr", "no address of a store"),
        ("https://me:secret@host/x.zarr", "must hold no user name"),
    ],
)
def test_mistakes_are_told(here, name, message):
    with pytest.raises(decant.DecantError, match=message):
        decant.open(name)


def test_where_there_are_no_stores(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(decant.DecantError, match=r"holds none .`decant repro` makes them"):
        decant.open("resnet8")


def test_a_group_that_is_not_there(here):
    shutil.rmtree(STORE / "mixed")
    store = decant.open("resnet8")
    assert set(store.manifests) == {"clean", "plain"}
    assert len(store.loader(share=0.0, device="cpu")) == 7
    with pytest.raises(GroupMissingError):
        store.loader(share=0.5)
    with pytest.raises(GroupMissingError):
        store.group("mixed")
    with pytest.raises(decant.DecantError, match="group: expected one of plain, mixed"):
        store.group("clean")


def test_another_data_set_is_refused(here):
    data = load_prepared(Path("data/prepared"))
    data.train.images[0, 0, 0] ^= 1
    digest = fingerprint(data.train, data.test, data.class_names)
    save_prepared(replace(data, fingerprint=digest), Path("other"))
    store = decant.open("resnet8")
    for use in (store.loader, store.dataset, store.show):
        with pytest.raises(DatasetMismatchError, match="other images or labels"):
            use(prepared="other")


def test_a_store_of_another_version_is_refused_as_in_training(here):
    version = Path("data/versions/resnet8.zarr/plain")
    assert version.exists()
    content = json.loads(version.read_bytes())
    version.write_text(json.dumps({**content, "views": 7}))
    with pytest.raises(StaleStoreError, match="has 3 views, not 7"):
        decant.open("resnet8").loader(share=0.0)
