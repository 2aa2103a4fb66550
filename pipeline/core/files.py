"""Work folders, files that survive a kill, and publishing by rename.

The lock is flock itself: filelock's would know neither the holder's machine, pid and command, nor whether
forked children hold it still.

A stage computes in `data/.work/<key>/`, which is locked while it runs and kept between runs, and
then publishes the finished files: they are hard-linked into a staging folder, the old result is
renamed away and the staging folder takes its place. Readers see the old result, none, or the new
one, never a part. A published file shares its bytes with the work folder (and, in time, with DVC's
cache), so nothing ever changes a file in place: every write makes a new file and renames it.
"""

import contextlib
import errno
import hashlib
import json
import os
import secrets
import shutil
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Any, Self

from pipeline.core.errors import DecantError
from pipeline.core.locks import Holder, check_kept, lock, one_machine_mount, sign, sign_off

TEMPORARY = ".tmp-"
LOCK = "lock"
STAGING = "publish"
_REMOVED = ".removed-"  # in the name of a folder that is being deleted, and is nobody's


class PublishError(DecantError):
    """Work that cannot go on or be published; the message says how to mend it."""


class StorageError(PublishError):
    """The file system refused (full, read-only, ...); the OSError is the cause."""


class WorkFolderBusyError(PublishError):
    """Another process holds the work folder: `holder`, as far as it is known.

    `mount`: what keeps locks within each machine, where a holder elsewhere left its signature there.
    """

    def __init__(self, path: Path, holder: Holder, mount: str | None = None) -> None:
        self.holder = holder
        if mount is not None:
            super().__init__(
                f"{path}: signed by {holder}, and locks reach no other machine here ({mount}). Wait for it; "
                f"if it runs no more, delete {path / LOCK} and run the same command again"
            )
            return
        # A lock outlives its process where children that were forked go on.
        who = f"what {holder}, which has ended, left running" if holder.has_ended else holder
        super().__init__(
            f"{path}: in use by {who}. Wait for it or stop it, then run the same command again"
        )


def canonical_json(value: Any) -> bytes:
    """The one JSON text of a value: sorted keys, indented, ASCII, a newline at the end.

    Raises ValueError for NaN and infinities, which JSON does not have.
    """
    text = json.dumps(value, sort_keys=True, indent=1, ensure_ascii=True, allow_nan=False)
    return text.encode("ascii") + b"\n"


def work_key(facts: Mapping[str, Any]) -> str:
    """Name of a computation's work folder: 16 hex digits of the sha256 of its canonical facts."""
    return hashlib.sha256(canonical_json(dict(facts))).hexdigest()[:16]


def rewrite(path: Path, data: bytes) -> None:
    """Write a file of the user's as `durable_write`: what a link points to, with the mode that it has."""
    path = path.resolve()
    with _explained(f"cannot write {path}"):
        mode = stat.S_IMODE(path.stat().st_mode) if path.exists() else None
        durable_write(path, data)
        if mode is not None:
            path.chmod(mode)


def durable_write(path: Path, *parts: bytes | memoryview) -> None:
    """Write a file, part after part, so that a kill at any instant leaves it complete, absent or as it was.

    A temporary file beside it is written, synced and renamed; folders are made as needed. An old
    file is replaced, never changed: other links to it keep its bytes. Of two writers the last one wins.
    Raises StorageError where the file system refuses.
    """
    # A name of its own: another process may be writing the same file.
    temporary = path.with_name(f"{TEMPORARY}{secrets.token_hex(4)}-{path.name}")
    size = sum(memoryview(part).nbytes for part in parts)
    with _explained(f"cannot write {path} ({size:,} bytes)"):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("xb") as file:
                file.writelines(parts)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise
        _sync_folder(path.parent)


def write_changed(path: Path, data: bytes) -> None:
    """Write a file unless it holds these bytes; one that does keeps its links and its time.

    Raises StorageError where the file system refuses.
    """
    with contextlib.suppress(OSError):
        if path.stat().st_size == len(data) and path.read_bytes() == data:
            return
    durable_write(path, data)


class WorkFolder:
    """The folder in which one computation keeps its resumable work; a context manager.

    Inside the `with`, `path` exists and belongs to this process alone (flock, which the system
    drops when the process ends, however it ends); what a killed one left half-written is removed.
    Raises WorkFolderBusyError, naming the holder, where another process has it, also one of another
    machine, and StorageError where the folder cannot be made or its file system keeps no locks.
    """

    def __init__(self, root: Path, key: str) -> None:
        self.path = root / key
        self._lock: int | None = None

    def __enter__(self) -> Self:
        with _explained(f"cannot use the work folder {self.path}"):
            while self._lock is None:
                self._lock = self._acquire()
            try:
                sign(self._lock)
                for leftover in self.path.rglob(TEMPORARY + "*"):
                    leftover.unlink()
            except BaseException:
                self.__exit__(None, None, None)
                raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._lock is not None:  # else removed
            sign_off(self._lock)
            os.close(self._lock)
            self._lock = None

    def publish(self, files: Mapping[str, Path], target: Path) -> None:
        """Make the folder `target` hold exactly `files` (path inside it -> finished file).

        The files are hard-linked where that is possible, else copied. Safe to repeat after a kill
        at any step. Raises StorageError where the file system refuses; the old target is then in
        place.
        """
        assert self._lock is not None, "publish inside the `with`"
        staging = self.path / STAGING
        new, old = staging / "new" / target.name, staging / "old" / target.name
        with _explained(f"cannot publish {target}"):
            _bring_back(old, target)  # after a kill between the two renames
            _remove(staging)
            for name, source in sorted(files.items()):
                _link(source, new / _checked(name))
            for folder, _, _ in os.walk(new, topdown=False):
                _sync_folder(Path(folder))
            target.parent.mkdir(parents=True, exist_ok=True)
            old.parent.mkdir(parents=True)
            _swap(new, target, old)
            _sync_folder(target.parent)
            _remove(staging)

    def remove(self) -> None:
        """Delete the folder and all work in it; nothing else may be done with it afterwards."""
        assert self._lock is not None, "remove inside the `with`"
        with _explained(f"cannot remove {self.path}"):
            # Out of the way first: who opens the folder meanwhile is to find it whole, or not at all.
            aside = self.path.with_name(f"{self.path.name}{_REMOVED}{secrets.token_hex(4)}")
            os.rename(self.path, aside)
            self.__exit__(None, None, None)  # NFS keeps, renamed, what is deleted while it is open
            _remove(aside)

    def _acquire(self) -> int | None:
        """Open and lock; None where the lock file was removed meanwhile and has to be made anew."""
        path = self.path / LOCK
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except (FileNotFoundError, FileExistsError):
            in_the_way = os.path.lexists(self.path) and not self.path.is_dir()
            links = (place for place in (path, *path.parents) if place.is_symlink())
            if in_the_way or not all(link.exists() for link in links):
                raise
            return None  # removed between the two calls, or inside the first
        try:
            lock(handle)
            with contextlib.suppress(FileNotFoundError):  # removed before it was locked
                if os.path.samestat(path.stat(), os.fstat(handle)):
                    self._check(path, handle)
                    return handle
        except BlockingIOError:
            holder = Holder.of(handle)
            os.close(handle)
            raise WorkFolderBusyError(self.path, holder) from None
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)
        return None

    def _check(self, path: Path, handle: int) -> None:
        """Check that the lock is one, for processes elsewhere too."""
        check_kept(path, handle)
        holder = Holder.of(handle)
        if holder.is_elsewhere and (mount := one_machine_mount(self.path)):
            raise WorkFolderBusyError(self.path, holder, mount)


def _checked(name: str) -> str:
    parts = PurePosixPath(name).parts
    if not parts or name.startswith("/") or ".." in parts:
        raise ValueError(f"{name!r} is not a path inside the folder that is published")
    return name


def _link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError as error:
        # Another file system, too many links, or a file system or owner that allows none.
        if error.errno not in (
            errno.EXDEV,
            errno.EMLINK,
            errno.EPERM,
            errno.EOPNOTSUPP,
            errno.ENOTSUP,
            errno.ENOSYS,
        ):
            raise
        shutil.copyfile(source, target)
        with target.open("rb") as file:
            os.fsync(file.fileno())


def _swap(new: Path, target: Path, old: Path) -> None:
    try:
        if os.path.lexists(target):
            os.rename(target, old)
        os.rename(new, target)
    except BaseException:  # Ctrl-C too
        _bring_back(old, target)
        raise


def _bring_back(old: Path, target: Path) -> None:
    if os.path.lexists(old) and not os.path.lexists(target):
        os.rename(old, target)


def work_folders(root: Path) -> list[Path]:
    """The folders in a root, by name; what is left of one whose removal was killed is removed.

    Raises StorageError where it cannot be.
    """
    folders = []
    for folder in sorted(root.glob("*")):
        if _REMOVED in folder.name:
            with _explained(f"cannot remove {folder}"):
                _remove(folder)
        elif folder.is_dir():
            folders.append(folder)
    return folders


def _remove(folder: Path) -> None:
    while folder.exists():
        with contextlib.suppress(FileNotFoundError):  # another process deletes it, too
            shutil.rmtree(folder)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


_ADVICE = {
    errno.ENOSPC: "the disk is full: free some space and run the same command again; finished work "
    "is kept",
    errno.EDQUOT: "your quota is used up: free some space and run the same command again; finished "
    "work is kept",
    errno.EROFS: "the file system is read-only: make it writable, or work in a copy elsewhere",
    errno.EACCES: "no permission: make the folder writable for you, or work in a copy elsewhere",
    errno.EPERM: "not permitted: make the folder writable for you, or work in a copy elsewhere",
    errno.ENOTEMPTY: "another process has just published there: if what it made is not what you want, "
    "run the same command again",
    errno.ENOLCK: "its file system keeps no locks, without which two commands could write into one folder: "
    "have it mounted with them (NFSv3: rpc.statd has to run; Lustre: -o flock), or move the project to "
    "another disk (docs/clusters.md)",
    errno.EXDEV: "the work folder and the target have to be on one file system",
}


@contextlib.contextmanager
def _explained(what: str) -> Iterator[None]:
    """Turn an OSError into a StorageError that says what was being done and what helps."""
    try:
        yield
    except OSError as error:
        number = error.errno if error.errno is not None else 0
        advice = _ADVICE.get(number, error.strerror or str(error))
        raise StorageError(f"{what}: {advice}") from error


WORK = Path("data/.work")
PREPARED = Path("data/prepared")
STORES = Path("data/stores")
VERSIONS = Path("data/versions")
TEACHERS = Path("data/teachers")
METRICS = Path("reports/metrics.json")


def in_git(path: Path) -> bool:
    """Whether git keeps a result, and DVC's cache does not."""
    return path == METRICS or VERSIONS in path.parents
