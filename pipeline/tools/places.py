"""Where a store lies that somebody names: below data/stores, in a folder, or at an address."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Self

from pipeline.core.errors import DecantError
from pipeline.core.files import STORES, VERSIONS
from pipeline.core.params import load_yaml
from pipeline.store.format.address import PINNED, Address, Place
from pipeline.store.format.check import present_groups, read_manifest, root_errors
from pipeline.store.format.errors import mended_as
from pipeline.store.format.manifest import DatasetInfo, Manifest
from pipeline.store.format.version import version_error
from pipeline.store.read import Store, open_store
from pipeline.store.remote.cache import Cache
from pipeline.tools.pin import PARAMS, is_project_store, pin_of


@dataclass(frozen=True)
class StorePlace:
    """Where a store lies; it can be pickled.

    Attributes:
        folder: with its manifests, or the address of a store that is read there, manifests and all.
        address: where the views of a pinned store are read.
        cache: of views of a remote store; None: this user's.
        versions: what a store of a project has to be, by the project's commit.
    """

    folder: Place
    address: Address | None = None
    cache: Cache | None = None
    versions: Path | None = None

    @property
    def where(self) -> Place:
        """Where the views are read."""
        return self.folder if self.address is None else self.address

    @property
    def is_remote(self) -> bool:
        """Whether views are read from a bucket or a web server."""
        return isinstance(self.where, Address)

    def absolute(self) -> Self:
        """The same, whatever the working folder."""
        folder = self.folder.absolute() if isinstance(self.folder, Path) else self.folder
        versions = None if self.versions is None else self.versions.absolute()
        return replace(self, folder=folder, versions=versions)

    def manifests(self) -> dict[str, Manifest]:
        """The manifests of the groups that are there. Raises a StoreError where one is damaged."""
        if isinstance(self.folder, Address):
            from pipeline.store.remote.files import fetch_manifests  # needs the extra `remote`

            return {
                group: manifest for group, (manifest, _) in fetch_manifests(self.folder).items()
            }
        with mended_as(self.address):
            for error in root_errors(self.folder):
                raise error
            return {
                group: read_manifest(self.folder, group) for group in present_groups(self.folder)
            }

    def open(self, groups: Sequence[str], dataset: DatasetInfo | None = None) -> Store:
        """Open some of its groups, as `open_store` does.

        Raises StaleStoreError, too, for a store that is not the version of the project's commit.
        """
        place = self.folder if isinstance(self.folder, Path) else str(self.folder)
        store = open_store(
            place, groups=groups, dataset=dataset, address=self.address, cache=self.cache
        )
        if self.versions is not None:
            for group in groups:
                manifest = (store.clean if group == "clean" else store.group(group)).manifest
                with mended_as(self.address):
                    if stale := version_error(self.where, manifest, self.versions):
                        raise stale
        return store


def project_folder(start: Path | None = None) -> Path:
    """The project that one works in: the nearest folder above with stores or a params.yaml, or `start`."""
    start = Path() if start is None else start
    for folder in (start, *start.absolute().parents):
        if (folder / STORES).is_dir() or (folder / PARAMS).is_file():
            return folder
    return start


def find_store(name: str | os.PathLike[str], project: Path) -> StorePlace:
    """The store that is meant by a name (of one below data/stores), a folder, or an address.

    Raises DecantError where there is none, with the nearest names; and for what is no address.
    """
    if isinstance(name, str) and "://" in name:
        return StorePlace(Address.parse(name))
    path = Path(name).expanduser()
    if path.name in ("", ".."):
        raise DecantError(f"no store {str(name)!r}: name a store, a folder or an address")
    named = project / STORES / f"{path.name.removesuffix('.zarr')}.zarr"
    bare = len(path.parts) == 1
    folder = named if bare and (named.exists() or not path.exists()) else path
    if not is_project_store(folder, project):
        if not folder.exists():
            raise _no_store(str(name), project)
        return StorePlace(folder)
    address, cache = pin_of(folder, project)
    versions = project / VERSIONS / folder.name
    if folder.exists():
        return StorePlace(folder, address, cache, versions)
    if address is None:
        raise _no_store(str(name), project)
    return StorePlace(address, cache=cache, versions=versions)  # pinned, and not brought here yet


def _no_store(name: str, project: Path) -> DecantError:
    known = sorted(_names(project))
    if not known:
        what = f"{project / STORES} holds none (`decant repro` makes them, `dvc pull` fetches them)"
        return DecantError(f"no store {name!r}: {what}")
    near = get_close_matches(Path(name).name.removesuffix(".zarr"), known, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return DecantError(f"no store {name!r}; {hint}Below {project / STORES}: {', '.join(known)}")


def _names(project: Path) -> Iterable[str]:
    yield from (path.name.removesuffix(".zarr") for path in (project / STORES).glob("*.zarr"))
    if (project / PARAMS).is_file():
        pinned = load_yaml(project / PARAMS).get(PINNED)
        yield from (str(name) for name in pinned) if isinstance(pinned, dict) else ()
