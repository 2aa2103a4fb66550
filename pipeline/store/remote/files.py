"""A remote store's manifests, and its groups' files as Zarr reads them: fetched once, checked, kept."""

import asyncio
import hashlib
from collections.abc import Iterable
from typing import Any

from zarr.abc.store import ByteRequest
from zarr.core.buffer import Buffer, BufferPrototype
from zarr.core.sync import sync
from zarr.storage import ObjectStore

from pipeline.core.errors import DecantError
from pipeline.store.format.address import Address
from pipeline.store.format.check import root_error
from pipeline.store.format.errors import (
    ChangedStoreError,
    DamagedFileError,
    ForbiddenError,
    GroupMissingError,
    MetadataError,
    MissingFileError,
    StoreError,
    WrongSizeError,
)
from pipeline.store.format.layout import GROUPS, MANIFEST, METADATA, root_metadata
from pipeline.store.format.manifest import FileFacts, Manifest
from pipeline.store.format.manifest_text import MAX_MANIFEST_BYTES, parse_manifest
from pipeline.store.remote.cache import Cache, intact
from pipeline.store.remote.objects import connect, fetch

_ROUNDS = 3  # between fetching and reading another process may need the room
_DIFFERENT = (MissingFileError, WrongSizeError, DamagedFileError, MetadataError)


class RemoteFiles(ObjectStore[Any]):
    """The files of a group that a manifest lists, below a store's address.

    Nothing is sent before something is read: processes may be forked until then. Reading raises a
    StoreError; ChangedStoreError where the manifest at the address is not this one any more.
    """

    def __init__(self, address: Address, manifest: Manifest, cache: Cache) -> None:
        super().__init__(connect(address), read_only=True)
        self._address, self._manifest, self._cache = address, manifest, cache

    def with_read_only(self, read_only: bool = False) -> "RemoteFiles":
        """Itself; nothing is ever written."""
        assert read_only
        return self

    async def getsize(self, key: str) -> int:
        """Bytes of a file, which is fetched for that if it is not in the cache."""
        facts = self._manifest.files[key]
        await self._bring(key, facts)
        return facts.size

    async def get(
        self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None
    ) -> Buffer:
        """A whole file."""
        assert byte_range is None, "files are read whole"
        facts = self._manifest.files[key]
        for _ in range(_ROUNDS):
            await self._bring(key, facts)
            data = await asyncio.to_thread(self._cache.read, facts)
            if data is not None:
                return prototype.buffer.from_bytes(data)
        what = "files vanish from it, or are damaged, before they are read"
        raise DecantError(f"{self._cache.folder}: {what}; raise machine.cache_gigabytes")

    async def _bring(self, key: str, facts: FileFacts) -> None:
        if self._cache.has(facts):
            return
        async with self._cache.fetching(facts):
            if not self._cache.has(facts):
                data = await self._fetch(key, facts)
                await asyncio.to_thread(self._cache.add, facts, data)

    async def _fetch(self, key: str, facts: FileFacts) -> bytes:
        path = f"{self._manifest.group}/{key}"
        try:
            data = await fetch(self.store, self._address, path, facts.size)
            if len(data) != facts.size:
                what = f"{len(data):,} bytes, expected {facts.size:,}"
                raise WrongSizeError(self._address, path, what)
            digest = await asyncio.to_thread(hashlib.sha256, data)
            if digest.hexdigest() != facts.sha256:
                what = "its bytes are not those of the manifest"
                raise DamagedFileError(self._address, path, what)
            if not intact(data, facts):  # else it would be fetched again and again
                raise DamagedFileError(self._address, path, "its CRC is not that of the manifest")
        except _DIFFERENT:
            await self.check_unchanged()
            raise
        return data

    async def check_unchanged(self) -> None:
        """Raise ChangedStoreError where another manifest, or none, is at the address now."""
        ours = self._manifest
        try:
            theirs = (await _manifest(self.store, self._address, ours.group))[0].digest
        except GroupMissingError:
            theirs = ""
        if theirs == ours.digest:
            return
        found = f"has manifest {theirs[:12]}..." if theirs else "is gone"
        what = f"has changed: it was pinned or opened with manifest {ours.digest[:12]}..., and {found} now"
        raise ChangedStoreError(self._address, ours.group, what)


def fetch_manifests(
    address: Address, groups: Iterable[str] | None = None
) -> dict[str, tuple[Manifest, bytes]]:
    """The manifests of a store's groups (None: of all that are there), checked, each with its text.

    The store's own metadata are checked too. Raises a StoreError; GroupMissingError for a group that is
    not there, or where none is.
    """

    async def fetch_all() -> dict[str, tuple[Manifest, bytes]]:
        client = connect(address)
        try:
            data = await fetch(client, address, METADATA, MAX_MANIFEST_BYTES)
        except MissingFileError:  # as in a part of a store: a group of views is enough
            data = root_metadata()
        if data != root_metadata():
            raise root_error(address, data)
        found: dict[str, tuple[Manifest, bytes]] = {}
        failed: StoreError | None = None
        for group in GROUPS if groups is None else groups:
            try:
                found[group] = await _manifest(client, address, group)
            except (GroupMissingError, ForbiddenError) as error:  # S3 may forbid what is not there
                failed = error if failed is None or isinstance(error, ForbiddenError) else failed
        if failed is not None and (groups is not None or not found):
            raise failed
        return found

    return sync(fetch_all())


async def _manifest(client: Any, address: Address, group: str) -> tuple[Manifest, bytes]:
    try:
        raw = await fetch(client, address, f"{group}/{MANIFEST}", MAX_MANIFEST_BYTES)
    except MissingFileError as error:
        raise GroupMissingError(address, group, "no such group at this address") from error
    return parse_manifest(raw, address, group), raw
