"""npz files of numbers: written with the same bytes every time, read without trusting them.

An npz file may come from anyone. Nothing in it is unpickled, and no array is read whose header does
not state the expected shape, so a small file cannot ask for much memory.
"""

import io
import math
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from pipeline.core.errors import DecantError

_SUFFIX = ".npy"
# Of later versions a header may say that it takes gigabytes, and all of them are read; numpy writes
# them for records alone.
_VERSION = (1, 0)
_COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_UNREADABLE = (
    ValueError,
    EOFError,
    OSError,
    RuntimeError,
    NotImplementedError,
    zipfile.BadZipFile,
    zlib.error,
)


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
        found = self._zip.namelist()
        if any(info.compress_type not in _COMPRESSIONS for info in self._zip.infolist()):
            # Others may ask for gigabytes of memory before they give a byte.
            raise self._error("compressed in another way than npz files are")
        self.names = tuple(name.removesuffix(_SUFFIX) for name in found if name.endswith(_SUFFIX))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._zip.close()

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape that an array's header states."""
        with self._open(name) as file:
            return self._header(name, file)[0]

    def read(
        self, name: str, shape: tuple[int, ...], kinds: str, dtype: str | None = None
    ) -> NDArray[Any]:
        """An array of a shape whose dtype is of one of `kinds` (numpy's letters, as "iu").

        With `dtype` it is converted, if that changes no number.
        """
        with self._open(name) as file:
            found, by_columns, kind = self._header(name, file)
            if found != shape or kind.kind not in kinds:
                expected = f"{shape} of kind {' or '.join(kinds)}"
                raise self._error(f"{name} is {kind} {found}, expected {expected}")
            size = math.prod(shape) * kind.itemsize
            try:
                data = file.read(size)
            except _UNREADABLE as error:
                raise self._error(f"{name} cannot be read ({error})") from error
        if len(data) != size:
            raise self._error(f"{name} ends early")
        array = np.frombuffer(data, kind).reshape(shape, order="F" if by_columns else "C")
        if dtype is None:
            return np.ascontiguousarray(array)
        with np.errstate(invalid="ignore", over="ignore"):
            converted = np.ascontiguousarray(array.astype(dtype))
        if kind.kind != "f" and not np.array_equal(converted, array):
            raise self._error(f"{name} holds numbers that do not fit {np.dtype(dtype).name}")
        return converted

    def text(self, name: str, limit: int = 2**22) -> str:
        """A text that was stored as an array without axes, of at most `limit` bytes."""
        with self._open(name) as file:
            shape, _, kind = self._header(name, file)
        if shape != () or kind.kind != "U" or kind.itemsize > limit:
            raise self._error(f"{name} is {kind} {shape}, expected a text")
        return str(self.read(name, (), "U").item())

    def _open(self, name: str) -> IO[bytes]:
        try:
            return self._zip.open(name + _SUFFIX)
        except KeyError:
            listed = ", ".join(self.names[:20])
            raise self._error(f"holds no array {name}; it has: {listed}") from None
        except _UNREADABLE as error:
            raise self._error(f"{name} cannot be read ({error})") from error

    def _header(self, name: str, file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
        try:
            version = npy.read_magic(file)
            if version != _VERSION:
                raise ValueError(f"version {version}")
            shape, by_columns, dtype = npy.read_array_header_1_0(file)
        except _UNREADABLE as error:
            raise self._error(f"{name} is no array ({error})") from error
        if dtype.hasobject or any(size < 0 for size in shape):
            raise self._error(f"{name} holds {dtype} {shape}, not numbers")
        return shape, by_columns, dtype

    def _error(self, what: str) -> NpzError:
        return NpzError(f"{self.path}: {what}")
