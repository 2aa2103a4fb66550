"""Files of remote stores on this disk, bounded, shared by all processes; each by its sha256.

Files are checked when they are added (sha256) and whenever they are read (CRC): a damaged one counts as
absent. When more than the bound is kept, those that were not read for longest go.
"""

import contextlib
import hashlib
import os
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import platformdirs
from filelock import AsyncFileLock, FileLock

from pipeline.core.files import StorageError
from pipeline.core.machine import Machine
from pipeline.store.format.codecs import CRC_BYTES, crc32c
from pipeline.store.format.manifest import FileFacts

GIGABYTE = 10**9


class Cache:
    """A folder of at most `limit` bytes, but for the file that was added last."""

    def __init__(self, folder: Path, limit: int) -> None:
        self.folder, self.limit = folder, limit

    @classmethod
    def of(cls, machine: Machine) -> "Cache":
        """The cache of this machine, or, where it names no folder, of this user."""
        named = machine.cache_folder
        folder = Path(named).expanduser() if named else platformdirs.user_cache_path("decant")
        return cls(folder / "views", int(machine.cache_gigabytes * GIGABYTE))

    def has(self, facts: FileFacts) -> bool:
        """Whether there is a file of its size."""
        try:
            return self._path(facts).stat().st_size == facts.size
        except OSError:
            return False

    def read(self, facts: FileFacts) -> bytes | None:
        """A file's bytes; None where it is not there, or damaged, and then it is removed.

        Where their sha256 is right, but their CRC is not, the manifest is wrong, and the file stays.
        """
        path = self._path(facts)
        try:
            data = path.read_bytes()
        except OSError:
            return None
        with contextlib.suppress(OSError):  # another user's, or read only
            os.utime(path)
        if len(data) == facts.size and (intact(data, facts) or _digest(data) == facts.sha256):
            return data
        path.unlink(missing_ok=True)
        return None

    def add(self, facts: FileFacts, data: bytes) -> None:
        """Keep bytes, which the caller has checked. Raises StorageError where the disk refuses."""
        path = self._path(facts)
        part = path.with_name(f"{path.name}.{os.getpid()}.part")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            part.write_bytes(data)
            with FileLock(self.folder / "lock"):
                os.replace(part, path)
                self._shrink(path)
        except OSError as error:
            part.unlink(missing_ok=True)
            advice = "make room there, or name another folder (machine.cache_folder)"
            why = error.strerror or type(error).__name__
            raise StorageError(f"{self.folder}: cannot keep a view ({why}): {advice}") from error

    @contextlib.asynccontextmanager
    async def fetching(self, facts: FileFacts) -> AsyncIterator[None]:
        """Whoever is inside fetches a file; others, also of other processes, wait."""
        path = self.folder / "locks" / facts.sha256[:2]
        lock = AsyncFileLock(path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            await lock.acquire()
        except OSError as error:
            advice = "name another folder (machine.cache_folder)"
            raise StorageError(f"{self.folder}: {error.strerror}: {advice}") from error
        try:
            yield
        finally:
            await lock.release()

    def _path(self, facts: FileFacts) -> Path:
        return self.folder / "files" / facts.sha256[:2] / facts.sha256[2:]

    def _shrink(self, newest: Path) -> None:
        """Remove what was not read for longest, parts of killed processes among it."""
        found = []
        for path in (self.folder / "files").glob("??/*"):
            with contextlib.suppress(FileNotFoundError):
                stat = path.stat()
                found.append((stat.st_mtime_ns, stat.st_size, path))
        total = sum(size for _, size, _ in found)
        for _, size, path in sorted(found):
            if total <= self.limit:
                break
            if path != newest:
                path.unlink(missing_ok=True)
                total -= size


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def intact(data: bytes, facts: FileFacts) -> bool:
    """Whether bytes are the listed ones, as their CRC tells, or, where none is listed, their sha256."""
    if facts.crc32c is None:
        return _digest(data) == facts.sha256
    payload, stored = np.frombuffer(data, np.uint8)[:-CRC_BYTES], data[-CRC_BYTES:]
    return crc32c(payload) == facts.crc32c == int.from_bytes(stored, "little")
