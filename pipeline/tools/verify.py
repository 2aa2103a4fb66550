"""Verifying a store: every problem of every group, found without trusting any of it."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory

from zarr.abc.store import Store as ZarrStore
from zarr.core.sync import sync

from pipeline.store.format.address import Address, Place
from pipeline.store.format.check import (
    content_errors,
    presence_errors,
    present_groups,
    read_manifest,
    root_errors,
)
from pipeline.store.format.errors import (
    PlanError,
    StoreError,
    UnreachableError,
    as_pinned,
    mended_as,
)
from pipeline.store.format.layout import SPLITS
from pipeline.store.format.manifest import Manifest
from pipeline.store.read import CleanGroup, ViewGroup
from pipeline.store.remote.cache import GIGABYTE, Cache
from pipeline.tools.pin import pin_of
from pipeline.views.params import CLEAN


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong.

    Attributes:
        path: inside the store.
        kind: name of the error.
        message: all of it, in one line.
        what: the message without the path and the hint.
        hint: how to mend it.
    """

    path: str
    kind: str
    message: str
    what: str
    hint: str


def verify_store(folder: Path, *, deep: bool = False) -> list[Problem]:
    """Check a store; an empty list means that it is good.

    Checked are presence and sizes, the hashes of manifest, metadata and plans, the CRC of every
    chunk, that logits and features are finite and that plans are possible; `deep` hashes every
    file. Of each file the first problem is told. All of a pinned store of the project is fetched, and hashed.
    """
    problems: list[Problem] = []
    told: set[str] = set()
    for error in _errors(folder, deep):
        if error.path in told and not isinstance(error, PlanError):
            continue
        told.add(error.path)
        problems.append(problem(error))
    return problems


def problem(error: StoreError) -> Problem:
    """An error as a problem."""
    return Problem(error.path, type(error).__name__, str(error), error.what, error.hint)


def _errors(folder: Path, deep: bool) -> Iterator[StoreError]:
    address, _ = pin_of(folder)
    if address is not None:
        yield from _pinned_errors(folder, address)
        return
    yield from root_errors(folder)
    for group in present_groups(folder):
        try:
            manifest = read_manifest(folder, group)
        except StoreError as error:
            yield error
            continue
        yield from presence_errors(folder, manifest)
        yield from content_errors(folder, manifest, deep=deep)
        yield from _read_errors(folder, manifest)


def _read_errors(
    place: Place, manifest: Manifest, cache: Cache | None = None
) -> Iterator[StoreError]:
    """What is wrong with what training can read from a group."""
    if manifest.group != CLEAN:
        yield from ViewGroup(place, manifest, cache).plan_errors()
    yield from _raised(_reads(place, manifest, cache))


def _raised(reads: Iterable[Callable[[], object]]) -> Iterator[StoreError]:
    for read in reads:
        try:
            read()
        except StoreError as error:
            yield error


def _pinned_errors(folder: Path, address: Address) -> Iterator[StoreError]:
    """What is wrong with a store that is read in place: all of it is fetched, and nothing kept."""
    from pipeline.store.remote.files import RemoteFiles  # needs the extra `remote`

    yield from (as_pinned(error, address) for error in root_errors(folder))
    with TemporaryDirectory() as name:
        cache = Cache(Path(name), GIGABYTE)
        for group in present_groups(folder):
            try:
                with mended_as(address):
                    manifest = read_manifest(folder, group)
                files = RemoteFiles(address, manifest, cache)
                sync(files.check_unchanged())
            except StoreError as error:
                yield error
                continue
            for found in chain(
                presence_errors(folder, manifest, pinned=True),
                content_errors(folder, manifest, deep=True, pinned=True),
            ):
                yield as_pinned(found, address)
            metadata = (partial(_fetched, files, path) for path in manifest.metadata)
            for found in chain(_raised(metadata), _read_errors(address, manifest, cache)):
                yield found
                if isinstance(found, UnreachableError):
                    return


def _fetched(files: ZarrStore, path: str) -> None:
    sync(files.getsize(path))


def _reads(
    folder: Place, manifest: Manifest, cache: Cache | None = None
) -> Iterator[Callable[[], object]]:
    """All logits, features and labels of a group."""
    if manifest.group == CLEAN:
        clean = CleanGroup(folder, manifest, cache)
        for split in SPLITS:
            yield partial(clean.logits, split)
            yield partial(clean.labels, split)
            if manifest.feature_dim is not None:
                yield partial(clean.features, split)
        return
    views = ViewGroup(folder, manifest, cache)
    for v in range(views.views):
        yield partial(views.logits, v)
        if manifest.feature_dim is not None:
            yield partial(views.features, v)
