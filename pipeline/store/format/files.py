"""Reading files of a folder that nobody vouches for.

Regular files and links to them are read, as DVC's caches need; linked directories, pipes and
devices are not. Nothing is read before its size is known to be the expected one.
"""

import contextlib
import hashlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path

from pipeline.store.format.errors import (
    DamagedFileError,
    LinkError,
    MissingFileError,
    StoreError,
    WrongSizeError,
)


@dataclass(frozen=True)
class Found:
    """What lies at a path: a file's size (of a link: its target's), or what is wrong there."""

    size: int = 0
    error: StoreError | None = None


def scan(store: Path, group: str, folders: set[str]) -> dict[str, Found]:
    """Everything below a group's folder, by path inside the group.

    Only the expected `folders` (paths inside the group) are entered; any other is listed with its
    name and a slash at the end.
    """
    found: dict[str, Found] = {}
    pending = [""]
    while pending:
        inside = pending.pop()
        try:
            listed = list(os.scandir(store / group / inside))
        except OSError as error:
            path = f"{group}/{inside}"
            what = f"cannot be listed ({error.strerror})"
            found[inside] = Found(error=DamagedFileError(store, path, what))
            continue
        for entry in listed:
            path = f"{inside}{entry.name}"
            if entry.is_dir(follow_symlinks=False):
                if path in folders:
                    pending.append(path + "/")
                else:
                    found[path + "/"] = Found()
            else:
                found[path] = _look(store, f"{group}/{path}")
    return found


def _look(store: Path, path: str) -> Found:
    try:
        facts = os.stat(store / path)
    except OSError as error:
        what = "a link to nothing" if os.path.islink(store / path) else f"unreadable ({error})"
        return Found(error=MissingFileError(store, path, what))
    if stat.S_ISDIR(facts.st_mode):
        return Found(error=LinkError(store, path, "a linked directory; only files may be links"))
    if not stat.S_ISREG(facts.st_mode):
        return Found(error=LinkError(store, path, "neither a file nor a folder"))
    return Found(size=facts.st_size)


@contextlib.contextmanager
def open_sized(store: Path, path: str, size: int) -> Iterator[BufferedReader]:
    """Open a regular file of exactly `size` bytes.

    Raises MissingFileError, LinkError, WrongSizeError, or DamagedFileError where reading fails.
    """
    try:
        # Without O_NONBLOCK the opening of a pipe would wait for ever.
        handle = os.open(store / path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise MissingFileError(store, path, "missing") from error
    except OSError as error:
        raise DamagedFileError(store, path, f"cannot be opened ({error.strerror})") from error
    try:
        facts = os.fstat(handle)
        if not stat.S_ISREG(facts.st_mode):
            raise LinkError(store, path, "not a regular file")
        if facts.st_size != size:
            raise WrongSizeError(store, path, f"{facts.st_size} bytes, expected {size}")
        with open(handle, "rb", closefd=False) as file:
            yield file
    except OSError as error:
        raise DamagedFileError(store, path, f"cannot be read ({error.strerror})") from error
    finally:
        os.close(handle)


def read_file(store: Path, path: str, size: int) -> bytes:
    """The bytes of a file of exactly `size` bytes; errors as for `open_sized`."""
    with open_sized(store, path, size) as file:
        data = file.read(size)
    if len(data) != size:
        raise WrongSizeError(store, path, f"ends before its {size} bytes")
    return data


def hash_file(store: Path, path: str, size: int) -> str:
    """sha256 (hex) of a file of exactly `size` bytes; errors as for `open_sized`."""
    with open_sized(store, path, size) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
