"""What opening and verifying have in common: whether a group is what its manifest says."""

import json
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from pipeline.store.format.address import Place
from pipeline.store.format.errors import (
    WHOLE,
    DamagedFileError,
    DatasetMismatchError,
    ExtraFileError,
    GroupMissingError,
    LimitError,
    LinkError,
    ManifestMissingError,
    MetadataError,
    MissingFileError,
    SchemaError,
    StoreError,
    StoreMissingError,
    WrongSizeError,
)
from pipeline.store.format.files import hash_file, read_file, scan
from pipeline.store.format.layout import (
    GROUPS,
    MANIFEST,
    METADATA,
    SCHEMA,
    group_arrays,
    root_metadata,
)
from pipeline.store.format.manifest import DatasetInfo, Manifest
from pipeline.store.format.manifest_text import MAX_MANIFEST_BYTES, parse_manifest
from pipeline.views.params import CLEAN

_ROOT_BYTES = 2**16


def read_manifest(folder: Path, group: str) -> Manifest:
    """Read and check the manifest of a store's group; of the other files nothing is read.

    Raises StoreMissingError, GroupMissingError, ManifestMissingError, LinkError, and what
    `parse_manifest` raises.
    """
    _check_folder(folder, group)
    path = f"{group}/{MANIFEST}"
    try:
        size = os.stat(folder / path).st_size
    except OSError as error:
        what = "missing: the group was never finished, or was copied in part"
        raise ManifestMissingError(folder, path, what) from error
    if size > MAX_MANIFEST_BYTES:
        raise LimitError(folder, path, f"{size:,} bytes, at most {MAX_MANIFEST_BYTES:,} are read")
    return parse_manifest(read_file(folder, path, size), folder, group)


def present_groups(folder: Path) -> list[str]:
    """The groups of a store that are here, finished or not."""
    return [group for group in GROUPS if os.path.lexists(folder / group)]


def root_errors(folder: Path) -> Iterator[StoreError]:
    """What is wrong at the root of a store: other files than a store's, or no group at all.

    Its `zarr.json` may be absent where `clean` is: DVC pulls a group of views alone.
    """
    if not folder.is_dir():
        yield StoreMissingError(folder, "", "no such store")
        return
    try:
        names = set(os.listdir(folder))
    except OSError as error:
        yield DamagedFileError(folder, "", f"cannot be listed ({error.strerror})")
        return
    for name in sorted(names - {METADATA, *GROUPS}):
        yield ExtraFileError(folder, name, "does not belong to a store")
    if names.isdisjoint(GROUPS):
        yield GroupMissingError(folder, "", f"holds none of {', '.join(GROUPS)}")
    if METADATA not in names:
        if CLEAN in names:
            yield MissingFileError(folder, METADATA, "missing", mend=WHOLE)
        return
    expected = root_metadata()
    try:
        size = os.stat(folder / METADATA).st_size
        data = read_file(folder, METADATA, size) if size <= _ROOT_BYTES else b""
    except OSError as error:
        yield MissingFileError(folder, METADATA, f"cannot be read ({error.strerror})")
    except StoreError as error:
        yield error
    else:
        if data != expected:
            yield root_error(folder, data)


def presence_errors(
    folder: Path, manifest: Manifest, *, pinned: bool = False
) -> Iterator[StoreError]:
    """Files that are missing, extra, of another size, or that are linked folders or worse.

    Of a `pinned` store, which is read elsewhere, the metadata alone are here.
    """
    group = manifest.group
    files = manifest.metadata if pinned else manifest.files
    expected: dict[str, int | None] = {path: facts.size for path, facts in files.items()}
    expected[MANIFEST] = None  # its digest was checked when it was read
    folders = {str(parent) for path in expected for parent in PurePosixPath(path).parents}
    found = scan(folder, group, folders)
    for path in sorted(found.keys() | expected.keys()):
        where = f"{group}/{path}"
        if path not in found:
            yield MissingFileError(folder, where, "missing")
            continue
        size, error, wanted = found[path].size, found[path].error, expected.get(path)
        if error is not None:
            yield error
        elif path not in expected:
            yield ExtraFileError(folder, where, "is not in the group's manifest")
        elif wanted is not None and size != wanted:
            yield WrongSizeError(folder, where, f"{size} bytes, expected {wanted}")


def content_errors(
    folder: Path, manifest: Manifest, *, deep: bool, pinned: bool = False
) -> Iterator[StoreError]:
    """Files whose sha256 is not the manifest's: of metadata and plan, or (`deep`) of all.

    Of a `pinned` store: of the metadata.
    """
    arrays = group_arrays(manifest.shape).values()
    values = {
        path for spec in arrays if spec.role == "values" for path in map(spec.file, spec.indices())
    }
    files = manifest.metadata if pinned else manifest.files
    for path, facts in sorted(files.items()):
        if path in values and not deep:
            continue
        where = f"{manifest.group}/{path}"
        try:
            intact = hash_file(folder, where, facts.size) == facts.sha256
        except StoreError as error:
            yield error
            continue
        if not intact:
            kind = MetadataError if path.endswith(METADATA) else DamagedFileError
            yield kind(folder, where, "its bytes are not those of the manifest")


def dataset_error(folder: Place, manifest: Manifest, dataset: DatasetInfo) -> StoreError | None:
    """Why a store does not belong to a data set; None if it does."""
    ours, theirs = dataset, manifest.header.dataset
    if ours == theirs:
        return None
    if ours.name != theirs.name:
        what = f"made from the data set {theirs.name}, not {ours.name}"
    elif ours.class_names != theirs.class_names:
        same = sorted(ours.class_names) == sorted(theirs.class_names)
        what = f"made from {theirs.name} with its classes in another order"
        if not same:
            what = f"made from {theirs.name} with other classes"
    elif (ours.train_images, ours.test_images) != (theirs.train_images, theirs.test_images):
        what = (
            f"made from another subset of {theirs.name}: {theirs.train_images} training and "
            f"{theirs.test_images} test images, not {ours.train_images} and {ours.test_images}"
        )
    elif ours.fingerprint == theirs.fingerprint:
        what = (
            f"made from {theirs.name} under another normalisation (mean {_channels(theirs.mean)} and "
            f"std {_channels(theirs.std)}, not {_channels(ours.mean)} and {_channels(ours.std)})"
        )
    else:
        what = (
            f"made from other images or labels, or another subset, of {theirs.name} (fingerprint "
            f"{theirs.fingerprint[:12]}..., not {ours.fingerprint[:12]}...)"
        )
    return DatasetMismatchError(folder, manifest.group, what)


def _channels(values: Sequence[float]) -> str:
    return " ".join(f"{value:.6g}" for value in values)


def _check_folder(folder: Path, group: str) -> None:
    if not folder.is_dir():
        raise StoreMissingError(folder, "", "no such store")
    try:
        facts = os.lstat(folder / group)
    except OSError as error:
        raise GroupMissingError(folder, group, "the store has no such group") from error
    if not stat.S_ISDIR(facts.st_mode):
        raise LinkError(folder, group, "not a folder; only files of a store may be links")


def root_error(folder: Place, data: bytes) -> StoreError:
    """Why a store's own `zarr.json` is not what it should be."""
    try:
        schema = json.loads(data)["attributes"]["decant"]["schema"]
    except (ValueError, KeyError, TypeError, RecursionError):
        schema = SCHEMA
    if schema == SCHEMA:
        return MetadataError(folder, METADATA, "not the metadata of a store")
    what = f"schema {repr(schema)[:40]}, but this version reads {SCHEMA}"
    return SchemaError(folder, METADATA, what)
