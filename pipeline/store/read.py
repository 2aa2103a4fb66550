"""Opening a store for training: checked on opening, and again whenever a view is read.

No number of a store reaches a caller unless its group's manifest is intact, its metadata and plan
have the manifest's hashes, and the view's own CRC is right and the one that the manifest lists.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from math import ceil
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from zarr.abc.store import Store as ZarrStore
from zarr.storage import LocalStore

from pipeline.core.machine import Machine
from pipeline.store.format.address import Address, Place
from pipeline.store.format.check import (
    content_errors,
    dataset_error,
    presence_errors,
    read_manifest,
    root_errors,
)
from pipeline.store.format.errors import (
    DamagedFileError,
    GroupMissingError,
    PlanError,
    StoreError,
    mended_as,
)
from pipeline.store.format.layout import GROUPS, PLAN_VIEWS_PER_CHUNK, SPLITS, group_arrays
from pipeline.store.format.lossy import decode_logits, logit_parts
from pipeline.store.format.manifest import DatasetInfo, Manifest
from pipeline.store.format.trust import TrustedStore
from pipeline.store.remote.cache import Cache
from pipeline.views.params import CLEAN, Group
from pipeline.views.params import GROUPS as VIEW_GROUPS
from pipeline.views.plans import PLAN_ARRAYS, View, check_view

Half = NDArray[np.float16]
Files = Callable[[Manifest], ZarrStore]


class _GroupReader:
    """What the clean group and the groups of views share; holds no open file and no numbers."""

    def __init__(
        self,
        folder: Place,
        manifest: Manifest,
        cache: Cache | None = None,
        *,
        files: Files | None = None,
    ) -> None:
        self.folder = folder
        self.name = manifest.group
        self.manifest = manifest
        self._specs = group_arrays(manifest.shape)
        opened = _files(folder, manifest, cache) if files is None else files(manifest)
        self._store = TrustedStore(opened, folder, self.name, self._specs, manifest.files)

    @property
    def num_classes(self) -> int:
        """Number of classes, C."""
        return self.manifest.header.dataset.classes

    @property
    def feature_dim(self) -> int | None:
        """Width of the features, D; None where the group has none."""
        return self.manifest.feature_dim

    def _read(
        self, path: str, lead: tuple[int, ...] = (), out: NDArray[Any] | None = None
    ) -> NDArray[Any]:
        if path not in self._specs:
            what = f"the group holds no {path}: the teacher was dumped without features"
            raise GroupMissingError(self.folder, self.name, what)
        return self._store.read(path, lead, out)

    def _read_logits(self, prefix: str, lead: tuple[int, ...], out: Half | None = None) -> Half:
        """Logits f2 [N, C], of one view where `lead` names it, from whatever they are stored as."""
        codec, path = self.manifest.header.codec, f"{prefix}logits"
        parts = logit_parts(codec, self.num_classes)
        if len(parts) == 1:
            return self._read(path, lead, out)
        arrays = {part.suffix: self._read(path + part.suffix, lead) for part in parts}
        try:
            return decode_logits(codec, arrays, self.num_classes, out)
        except ValueError as error:
            where = f"{self.name}/{path}{parts[1].suffix}"
            raise DamagedFileError(self.folder, where, str(error)) from error


class ViewGroup(_GroupReader):
    """The plain or the mixed group: plan, logits, features of each view of N training images."""

    @property
    def views(self) -> int:
        """Number of views, V."""
        return self.manifest.views

    @property
    def num_images(self) -> int:
        """Number of training images, N."""
        return self.manifest.header.dataset.train_images

    def plan(self, v: int) -> View:
        """The plan of view `v`. Raises PlanError where no view can have such values."""
        return next(self.plans([v]))

    def plans(self, numbers: Iterable[int]) -> Iterator[View]:
        """The plans of some views, in turn; of neighbours, which share files, these are read once."""
        block, arrays = -1, dict[str, NDArray[Any]]()
        for v in numbers:
            self._check_number(v)
            wanted, place = divmod(v, PLAN_VIEWS_PER_CHUNK)
            if wanted != block:
                block, arrays = wanted, self._read_plans((wanted,))
            yield self._view(arrays, place, v)

    def plan_arrays(self) -> dict[str, NDArray[Any]]:
        """The plans of all views: the group's PLAN_ARRAYS, each [V, N, ...]. Raises PlanError."""
        plans = self._read_plans(())
        for v in range(self.views):
            self._view(plans, v, v)
        return plans

    def plan_errors(self) -> Iterator[StoreError]:
        """What is wrong with the plans, view by view; each file of them is read once."""
        for block in range(ceil(self.views / PLAN_VIEWS_PER_CHUNK)):
            try:
                plans = self._read_plans((block,))
            except StoreError as error:
                yield error
                continue
            first = block * PLAN_VIEWS_PER_CHUNK
            for v in range(first, min(first + PLAN_VIEWS_PER_CHUNK, self.views)):
                try:
                    self._view(plans, v - first, v)
                except PlanError as error:
                    yield error

    def logits(self, v: int, out: Half | None = None) -> Half:
        """The teacher's logits in view `v`: f2 [N, C], in data-set order.

        `out`, if given, is filled and returned. Raises MissingFileError, WrongSizeError,
        DamagedFileError or NonFiniteError where the file is not what the manifest says.
        """
        self._check_number(v)
        return self._read_logits("", (v,), out)

    def features(self, v: int, out: Half | None = None) -> Half:
        """The teacher's penultimate features in view `v`: f2 [N, D]; otherwise as `logits`.

        Raises GroupMissingError where the store holds none.
        """
        self._check_number(v)
        return self._read("features", (v,), out)

    @property
    def _group(self) -> Group:
        return cast(Group, self.name)

    def _read_plans(self, lead: tuple[int, ...]) -> dict[str, NDArray[Any]]:
        return {name: self._read(name, lead) for name in PLAN_ARRAYS[self._group]}

    def _check_number(self, v: int) -> None:
        if not 0 <= v < self.views:
            raise IndexError(f"view {v} of {self.folder / self.name}, which has {self.views}")

    def _view(self, plans: dict[str, NDArray[Any]], place: int, v: int) -> View:
        view = View.from_arrays({name: array[place] for name, array in plans.items()})
        recipe = self.manifest.header.recipe
        assert recipe is not None, "views have a recipe"
        if problems := check_view(self._group, view, recipe.augmentation):
            raise PlanError(self.folder, self.name, f"view {v}: {'; '.join(problems)}")
        return view


class CleanGroup(_GroupReader):
    """The clean images: logits, features and labels of the training and the test split."""

    def logits(self, split: str) -> Half:
        """The teacher's logits on a split ("train" or "test"): f2 [n, C]."""
        return self._read_logits(f"{_checked_split(split)}/", ())

    def features(self, split: str) -> Half:
        """The teacher's penultimate features on a split: f2 [n, D]."""
        return self._read(f"{_checked_split(split)}/features")

    def labels(self, split: str) -> NDArray[np.int32]:
        """The class of every image of a split: i4 [n]."""
        path = f"{_checked_split(split)}/labels"
        labels = self._read(path)
        if not 0 <= int(labels.min()) <= int(labels.max()) < self.num_classes:
            what = f"labels that are not one of {self.num_classes} classes"
            raise DamagedFileError(self.folder, f"{self.name}/{path}", what)
        return labels


class Store:
    """An opened store: the groups that were asked for.

    Args:
        cache: where views of a remote store are kept; see `open_store`.
        files: the files of a group as they lie there; None: those of the folder or address.
    """

    def __init__(
        self,
        folder: Place,
        manifests: dict[str, Manifest],
        cache: Cache | None = None,
        *,
        files: Files | None = None,
    ) -> None:
        self.folder = folder
        self._views = {
            group: ViewGroup(folder, manifest, cache, files=files)
            for group, manifest in manifests.items()
            if group in VIEW_GROUPS
        }
        clean = manifests.get(CLEAN)
        self._clean = None if clean is None else CleanGroup(folder, clean, cache, files=files)

    @property
    def groups(self) -> tuple[str, ...]:
        """Names of the opened groups."""
        return (*((CLEAN,) if self._clean is not None else ()), *self._views)

    @property
    def clean(self) -> CleanGroup:
        """The clean group, if it was opened."""
        assert self._clean is not None, "open the group `clean` to read it"
        return self._clean

    def group(self, name: str) -> ViewGroup:
        """The plain or mixed group, if it was opened."""
        assert name in self._views, f"open the group {name!r} to read it; open: {self.groups}"
        return self._views[name]


def open_store(
    place: Path | str,
    *,
    groups: Sequence[str],
    dataset: DatasetInfo | None = None,
    address: Address | None = None,
    cache: Cache | None = None,
) -> Store:
    """Open the named groups of a store and check all but the views themselves.

    Groups that are not named are not looked at; they may be damaged or absent. Raises a StoreError that
    names the file and the command that mends it; DecantError for what is no address, or where the extra
    `remote` is not installed; ValueError for a group that no store has.

    Args:
        place: a folder, or an address (s3://, gs://, https://, http://) at which the store is read in place.
        dataset: the one that the store has to belong to.
        address: where the views are read, of a pinned store, whose folder holds metadata and manifests.
        cache: where views of a remote store are kept; None: with the bound and place of `Machine`.
    """
    for group in groups:
        if group not in GROUPS:
            raise ValueError(f"groups: expected some of {', '.join(GROUPS)}, found {group!r}")
    if isinstance(place, str) and "://" in place:
        address = Address.parse(place)
        manifests = _fetched_manifests(address, groups)
    else:
        with mended_as(address):
            manifests = _checked_manifests(Path(place), groups, pinned=address is not None)
    where = Path(place) if address is None else address
    for manifest in manifests.values():
        if dataset is not None and (mismatch := dataset_error(where, manifest, dataset)):
            raise mismatch
    return Store(where, manifests, cache)


def _checked_manifests(folder: Path, groups: Sequence[str], *, pinned: bool) -> dict[str, Manifest]:
    for error in root_errors(folder):
        raise error
    manifests = {group: read_manifest(folder, group) for group in groups}
    for manifest in manifests.values():
        for error in chain(
            presence_errors(folder, manifest, pinned=pinned),
            content_errors(folder, manifest, deep=False, pinned=pinned),
        ):
            raise error
    return manifests


def _files(place: Place, manifest: Manifest, cache: Cache | None) -> ZarrStore:
    """The files of a group, as they lie there."""
    if isinstance(place, Path):
        return LocalStore(place / manifest.group, read_only=True)
    from pipeline.store.remote.files import RemoteFiles  # needs the extra `remote`

    return RemoteFiles(place, manifest, cache or Cache.of(Machine(data_root="")))


def _fetched_manifests(address: Address, groups: Sequence[str]) -> dict[str, Manifest]:
    from pipeline.store.remote.files import fetch_manifests  # needs the extra `remote`

    return {group: manifest for group, (manifest, _) in fetch_manifests(address, groups).items()}


def _checked_split(split: str) -> str:
    if split not in SPLITS:
        raise ValueError(f"split: expected one of {', '.join(SPLITS)}, found {split!r}")
    return split
