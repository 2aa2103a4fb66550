"""A student's job as it crosses to a worker, and how the worker reads the store behind it.

Where the store lies at the same place there (a shared disk), it is read in place; a pinned one is read at
its address; of others the files are fetched from the head as they are needed, once a node, and kept like
those of remote stores. Each is checked against the manifests, which come with the job.
"""

import asyncio
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from zarr.abc.store import ByteRequest
from zarr.core.buffer import Buffer, BufferPrototype
from zarr.storage import MemoryStore

from pipeline.cluster.tasks import Fetch
from pipeline.distill.epochs import StoreViews
from pipeline.store.format.address import Address, Place
from pipeline.store.format.errors import DamagedFileError, StoreError
from pipeline.store.format.manifest import FileFacts, Manifest
from pipeline.store.read import Store, open_store
from pipeline.store.remote.cache import Cache
from pipeline.training.jobs import Job


@dataclass(frozen=True)
class SentStore:
    """A store as a worker is told of it: where it lies, and the manifests of the groups that are read."""

    place: Place
    manifests: Mapping[str, Manifest]

    @classmethod
    def of(cls, store: Store) -> "SentStore":
        """Of a store that is open here."""
        place = store.folder if isinstance(store.folder, Address) else store.folder.absolute()
        return cls(place, {name: store.group(name).manifest for name in store.groups})

    def open(self, fetch: Fetch, cache: Cache) -> Store:
        """The store as it is read on this machine."""
        if isinstance(self.place, Address):
            return Store(self.place, dict(self.manifests), cache)
        if (store := self._in_place(self.place)) is not None:
            return store
        files = partial(SentFiles, self.place, cache=cache, fetch=fetch)
        return Store(self.place, dict(self.manifests), files=files)

    def _in_place(self, folder: Path) -> Store | None:
        try:
            store = open_store(folder, groups=list(self.manifests))
        except (StoreError, OSError):  # not here, or not for this user to read
            return None
        same = {name: store.group(name).manifest for name in store.groups} == self.manifests
        return store if same else None


class SentFiles(MemoryStore):
    """The files of a group, fetched from the head. Reading raises DamagedFileError for other bytes."""

    def __init__(self, folder: Path, manifest: Manifest, *, cache: Cache, fetch: Fetch) -> None:
        super().__init__(read_only=True)
        self._folder, self._manifest, self._cache, self._fetch = folder, manifest, cache, fetch

    def with_read_only(self, read_only: bool = False) -> "SentFiles":
        """Itself; nothing is ever written."""
        assert read_only
        return self

    async def getsize(self, key: str) -> int:
        """Bytes of a file."""
        return self._manifest.files[key].size

    async def get(
        self,
        key: str,
        prototype: BufferPrototype | None = None,
        byte_range: ByteRequest | None = None,
    ) -> Buffer | None:
        """A whole file."""
        assert byte_range is None, "files are read whole"
        assert prototype is not None
        facts = self._manifest.files[key]
        data = await asyncio.to_thread(self._cache.read, facts)
        if data is None:
            async with self._cache.fetching(facts):
                data = await asyncio.to_thread(self._bring, key, facts)
        return prototype.buffer.from_bytes(data)

    def _bring(self, key: str, facts: FileFacts) -> bytes:
        if (kept := self._cache.read(facts)) is not None:  # another process has fetched it
            return kept
        path = f"{self._manifest.group}/{key}"
        data = self._fetch(str(self._folder / path))
        if hashlib.sha256(data).hexdigest() != facts.sha256:
            what = "its bytes are not those of the manifest any more"
            raise DamagedFileError(self._folder, path, what)
        self._cache.add(facts, data)
        return data


def sent_job(job: Job) -> Job:
    """A job whose store, if it reads one, is a SentStore: it can be pickled. Records are the head's."""
    if not isinstance(job.epochs, StoreViews):
        return job
    store: Any = SentStore.of(job.epochs.store)
    return replace(job, epochs=replace(job.epochs, store=store), teacher=None)


def received_job(job: Job, fetch: Fetch, cache: Cache) -> Job:
    """What `sent_job` was made of, with its store open here."""
    if not isinstance(job.epochs, StoreViews):
        return job
    store: Any = job.epochs.store
    return replace(job, epochs=replace(job.epochs, store=store.open(fetch, cache)))
