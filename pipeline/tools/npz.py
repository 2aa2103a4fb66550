"""npz files of numbers: written with the same bytes every time, read without trusting them.

An npz file may come from anyone. numpy reads it, after a look at what its parts claim: nothing is
unpickled, and no array is read whose header does not state the expected shape, or states more numbers than
the file holds, so a small file cannot ask for much memory (numpy allocates whatever a header states).
"""

import io
import math
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from pipeline.core.arrays import UNREADABLE
from pipeline.core.errors import DecantError
from pipeline.store.format.manifest_text import MAX_RATIO, SMALL_BYTES

_SUFFIX = ".npy"
# Of later versions a header may say that it takes gigabytes, and all of them are read; numpy writes
# them for records alone.
_VERSION = (1, 0)
_COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_UNREADABLE = (*UNREADABLE, OSError, RuntimeError, zipfile.BadZipFile, zlib.error)


class NpzError(DecantError):
    """An npz file that is damaged or does not hold what it should; says which and what."""


def npz_bytes(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """The bytes of an npz file, which depend on nothing but the arrays and their order."""
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()


class NpzReader:
    """An open npz file; a context manager. Errors are NpzError."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._zip = zipfile.ZipFile(path)
        except _UNREADABLE as error:
            raise self._error(f"not an npz file ({error})") from error
        members = self._zip.infolist()
        if any(member.compress_type not in _COMPRESSIONS for member in members):
            # Others may ask for gigabytes of memory before they give a byte.
            raise self._error("compressed in another way than npz files are")
        names = [member.filename for member in members]
        self.names = tuple(name.removesuffix(_SUFFIX) for name in names if name.endswith(_SUFFIX))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._zip.close()

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape that an array's header states."""
        return self._header(name)[0]

    def read(
        self, name: str, shape: tuple[int, ...], kinds: str, dtype: str | None = None
    ) -> NDArray[Any]:
        """An array of a shape whose dtype is of one of `kinds` (numpy's letters, as "iu").

        With `dtype` it is converted, if that changes no number.
        """
        stated, kind = self._header(name)
        if stated != shape or kind.kind not in kinds:
            expected = f"{shape} of kind {' or '.join(kinds)}"
            raise self._error(f"{name} is {kind} {stated}, expected {expected}")
        self._check_size(name, math.prod(shape) * kind.itemsize)
        try:
            with self._zip.open(name + _SUFFIX) as file:
                array = np.ascontiguousarray(npy.read_array(file, allow_pickle=False))
        except _UNREADABLE as error:
            raise self._error(f"{name} cannot be read ({error})") from error
        except MemoryError:
            what = f"{name} is more than this machine's memory has room for; take one with more"
            raise self._error(what) from None
        if dtype is None:
            return array.reshape(shape)
        with np.errstate(invalid="ignore", over="ignore"):
            converted = array.astype(dtype)
        if kind.kind != "f" and not np.array_equal(converted, array):
            raise self._error(f"{name} holds numbers that do not fit {np.dtype(dtype).name}")
        return converted

    def _check_size(self, name: str, size: int) -> None:
        """Numbers are there before memory is allocated, and not compressed beyond what numbers are."""
        member = self._zip.getinfo(name + _SUFFIX)
        stored = min(member.compress_size, self.path.stat().st_size)  # the first may lie
        if size > member.file_size:
            raise self._error(f"{name} is cut off: {member.file_size:,} bytes, expected {size:,}")
        if size > SMALL_BYTES and size > MAX_RATIO * stored:
            raise self._error(
                f"{name} holds {size:,} bytes of numbers out of {stored:,} bytes of a file; if you trust "
                "its source, write it anew without compression"
            )

    def text(self, name: str, limit: int = 2**22) -> str:
        """A text that was stored as an array without axes, of at most `limit` bytes."""
        shape, kind = self._header(name)
        if shape != () or kind.kind != "U" or kind.itemsize > limit:
            raise self._error(f"{name} is {kind} {shape}, expected a text")
        return str(self.read(name, (), "U").item())

    def _header(self, name: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
        if name not in self.names:
            raise self._error(f"holds no array {name}; it has: {', '.join(self.names[:20])}")
        try:
            with self._zip.open(name + _SUFFIX) as file:
                if (version := npy.read_magic(file)) != _VERSION:
                    raise ValueError(f"version {version}")
                shape, _, dtype = npy.read_array_header_1_0(file)
        except _UNREADABLE as error:
            raise self._error(f"{name} is no array ({error})") from error
        if dtype.hasobject or any(size < 0 for size in shape):
            raise self._error(f"{name} holds {dtype} {shape}, not numbers")
        return shape, dtype

    def _error(self, what: str) -> NpzError:
        return NpzError(f"{self.path}: {what}")
