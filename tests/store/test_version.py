"""Versions of stores: what git keeps of them, and what a store that does not fit is told."""

import json
import shutil
from dataclasses import replace

import pytest
from store_samples import DATASET, TEACHER, make_store, write_clean, write_group

from pipeline.store.format.check import read_manifest
from pipeline.store.format.errors import StoreError
from pipeline.store.format.layout import GROUPS, root_metadata
from pipeline.store.format.version import partial_error, version_error, version_text, write_versions


@pytest.fixture
def store(tmp_path):
    return make_store(tmp_path, views=2)


@pytest.fixture
def versions(store, tmp_path):
    folder = tmp_path / "versions" / store.name
    write_versions(store, GROUPS, folder)
    return folder


def test_a_store_is_of_its_own_version(store, versions):
    assert sorted(path.name for path in versions.iterdir()) == sorted(GROUPS)
    for group in GROUPS:
        manifest = read_manifest(store, group)
        assert version_error(store, manifest, versions) is None
        facts = json.loads((versions / group).read_bytes())
        assert facts["manifest"] == manifest.digest
        assert facts["teacher"]["weights_sha256"] == TEACHER.weights_sha256


def test_groups_that_are_no_longer_dumped_lose_their_version(store, versions):
    write_versions(store, ["clean", "plain"], versions)
    assert sorted(path.name for path in versions.iterdir()) == ["clean", "plain"]


def test_where_nothing_is_known_nothing_is_refused(store, tmp_path):
    manifest = read_manifest(store, "plain")
    assert version_error(store, manifest, tmp_path / "nowhere") is None
    assert partial_error(store, tmp_path / "nowhere") is None


CHANGES = {
    "of a teacher with weights efefefefefef..., not cdcdcdcdcdcd...": {
        "teacher": replace(TEACHER, weights_sha256="ef" * 32)
    },
    "was made for another data set": {"dataset": replace(DATASET, fingerprint="12" * 32)},
    "has 3 views, not 2": {"views": 3},
    "was dumped in another way": {"precision": "tf32"},
}


@pytest.mark.parametrize("what", CHANGES)
def test_another_version_says_what_is_different(store, versions, tmp_path, what):
    options = {"views": 2, **CHANGES[what]}
    write_group(tmp_path / "other.zarr", "plain", **options)
    manifest = read_manifest(tmp_path / "other.zarr", "plain")
    error = version_error(store, manifest, versions)
    assert error is not None
    assert what in str(error)
    assert f"To mend it: `dvc pull {store}/plain`" in str(error)


@pytest.mark.parametrize(
    "text", [b"", b"{", b"[]", b"null", b"\xff\x00", b'{"a": 1}', b"[" * 60000]
)
def test_a_damaged_version_is_told(store, versions, text):
    (versions / "plain").write_bytes(text)
    error = version_error(store, read_manifest(store, "plain"), versions)
    assert f"`git checkout {versions / 'plain'}`" in str(error)


@pytest.mark.parametrize("change", [{"teacher": 3}, {"teacher": None}, {"views": "\x1b[2J"}])
def test_a_version_of_strange_types_is_another_one(store, versions, change):
    facts = json.loads((versions / "plain").read_bytes())
    (versions / "plain").write_text(json.dumps({**facts, **change}))
    error = version_error(store, read_manifest(store, "plain"), versions)
    assert str(error).isprintable()
    assert "stale: it " in str(error)


@pytest.mark.parametrize("gone", [*GROUPS, "zarr.json"])
def test_a_store_in_part_says_what_is_missing(store, versions, gone):
    assert partial_error(store, versions) is None
    path = store / gone
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    error = partial_error(store, versions)
    assert f"{store}: was pulled in part, without {gone}" in str(error)
    assert f"`dvc pull {store}`" in str(error)


@pytest.mark.parametrize("stray", ["plain.orig", ".DS_Store", "plain~"])
def test_other_files_beside_the_versions_are_no_groups(store, versions, stray):
    (versions / stray).write_text("left over")
    assert partial_error(store, versions) is None


def test_a_store_that_was_never_there_is_not_in_part(store, versions):
    shutil.rmtree(store)
    assert partial_error(store, versions) is None


def test_versions_of_a_damaged_store_are_not_written(store, versions):
    before = {path.name: path.read_bytes() for path in versions.iterdir()}
    (store / "mixed/manifest.json").write_bytes(b"{}")
    with pytest.raises(StoreError):
        write_versions(store, GROUPS, versions)
    assert {path.name: path.read_bytes() for path in versions.iterdir()} == before


def test_the_same_store_has_the_same_version(tmp_path):
    texts = set()
    for name in ("one", "other"):
        folder = tmp_path / f"{name}.zarr"
        write_clean(folder)
        (folder / "zarr.json").write_bytes(root_metadata())
        texts.add(version_text(read_manifest(folder, "clean")))
    assert len(texts) == 1
