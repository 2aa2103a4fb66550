"""Trust: Zarr reads a group through a store that hands it only what the group's manifest lists.

Zarr gets the metadata that the layout demands, never a file's, and of chunks the bytes whose size and
CRC are the manifest's. What would be large is seen to be there, in that size, before it is allocated.
"""

import math
import warnings
from collections.abc import Iterable, Mapping
from typing import Any, Self

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.abc.store import ByteRequest, Store
from zarr.core.buffer import Buffer, BufferPrototype, default_buffer_prototype
from zarr.core.sync import sync
from zarr.storage import WrapperStore

from pipeline.core.errors import DecantError
from pipeline.store.format.address import Place
from pipeline.store.format.codecs import CRC_BYTES, crc32c, frame_bytes
from pipeline.store.format.errors import (
    DamagedFileError,
    LimitError,
    MissingFileError,
    NonFiniteError,
    PlanError,
    StoreError,
    WrongSizeError,
)
from pipeline.store.format.layout import METADATA, ArraySpec, Index
from pipeline.store.format.manifest import FileFacts

_INFINITY = 0x7C00  # of positive float16 bit patterns the first that is not finite
_MINUS_INFINITY = 0xFC00  # and of negative ones
_FRAME_HEADER = 18  # bytes, at most


class TrustedStore(WrapperStore[Store]):
    """A group's files, as Zarr may see them.

    Args:
        store: the files as they lie there, keys being paths inside the group.
        folder: of the whole store (or its address), for messages, and `group` the group's name.
        arrays: the arrays of the group, by path.
        files: the facts of every chunk that is read; CRC None: any that is the file's own.

    Reading raises MissingFileError, WrongSizeError or DamagedFileError (also where the CRC is not the
    manifest's: files were exchanged), PlanError for flips that are neither true nor false.
    """

    def __init__(
        self,
        store: Store,
        folder: Place,
        group: str,
        arrays: Mapping[str, ArraySpec],
        files: Mapping[str, FileFacts],
    ) -> None:
        super().__init__(store)
        self._folder, self._group, self._specs, self._files = folder, group, arrays, files
        self._opened: dict[str, zarr.Array[Any]] = {}

    def read(self, path: str, lead: Index = (), out: NDArray[Any] | None = None) -> NDArray[Any]:
        """The numbers of an array, at one place of the chunks' leading axis or everywhere.

        Shape [N, ...] of one view, [views, N, ...] of a block of a plan; into `out` if given (of that
        shape, C-contiguous). Raises NonFiniteError for logits or features that are infinite or NaN,
        LimitError where memory has no room for them.
        """
        spec, indices = self._specs[path], list(self._specs[path].indices(lead))
        sync(self._check_sizes(map(spec.file, indices)))
        places = [_place(spec, index) for index in indices]
        first, last = places[0][0].start, places[-1][0].stop
        if out is None:
            single = bool(lead) and spec.chunks[0] == 1
            out = self._allocate(spec, (*((last - first,) * (not single)), *spec.shape[1:]))
        assert out.flags.c_contiguous
        whole = out.reshape((last - first, *spec.shape[1:]))
        for index, place in zip(indices, places, strict=True):  # one by one: so much memory at once
            rows = slice(place[0].start - first, place[0].stop - first)
            self._read_chunk(spec, index, place, whole[(rows, *place[1:])])
        return out

    def _allocate(self, spec: ArraySpec, shape: Index) -> NDArray[Any]:
        try:
            return np.empty(shape, spec.dtype)
        except MemoryError:
            size = math.prod(shape) * spec.dtype.itemsize
            what = f"{size:,} bytes of numbers, more than this machine's memory has room for"
            raise self._error(LimitError, spec.path, what) from None

    def _read_chunk(
        self, spec: ArraySpec, index: Index, place: tuple[slice, ...], out: NDArray[Any]
    ) -> None:
        buffer = default_buffer_prototype().nd_buffer.from_numpy_array(out)
        try:
            self.array(spec.path).get_basic_selection(place, out=buffer)
        except DecantError:
            raise
        except (ValueError, RuntimeError) as error:
            what = f"cannot be decompressed ({error})"
            raise self._error(DamagedFileError, spec.file(index), what) from error
        if spec.role == "values" and not all_finite(out):
            raise self._error(NonFiniteError, spec.file(index), "holds infinite or NaN numbers")

    def array(self, path: str) -> zarr.Array[Any]:
        """An array, whose chunks are written even where they hold nothing but fill values."""
        if path not in self._opened:
            mode: Any = "r" if self.read_only else "r+"
            with zarr.config.set({"array.write_empty_chunks": True}), warnings.catch_warnings():
                warnings.filterwarnings("ignore", "Numcodecs codecs are not in the Zarr version 3")
                array = zarr.open_array(self, path=path, mode=mode, zarr_format=3)
            assert isinstance(array, zarr.Array), type(array)
            self._opened[path] = array
        return self._opened[path]

    async def get(
        self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None
    ) -> Buffer:
        """Metadata or a whole chunk; Zarr asks for nothing else."""
        assert byte_range is None, "chunks are read whole"
        path, _, name = key.rpartition("/")
        if name == METADATA:
            return prototype.buffer.from_bytes(self._specs[path].metadata())
        try:
            data = await self._store.get(key, prototype)
        except OSError as error:
            raise self._unreadable(key, error) from error
        if data is None:  # to Zarr a chunk of fill values
            raise self._error(MissingFileError, key, "missing")
        self._check_size(key, len(data))
        self._check_chunk(key, self._specs[path], data.as_numpy_array().view(np.uint8))
        return data

    async def _check_sizes(self, keys: Iterable[str]) -> None:
        for key in keys:
            try:
                self._check_size(key, await self._store.getsize(key))
            except OSError as error:
                raise self._unreadable(key, error) from error

    def _check_size(self, key: str, size: int) -> None:
        expected, spec = self._files[key].size, self._specs[key.rpartition("/")[0]]
        problem = spec.codec.size_problem(expected, spec.chunk_bytes)
        if problem is None and size != expected:
            problem = f"{size} bytes, expected {expected}"
        if problem is not None:
            raise self._error(WrongSizeError, key, problem)

    def _check_chunk(self, key: str, spec: ArraySpec, data: NDArray[np.uint8]) -> None:
        payload, listed = data[:-CRC_BYTES], self._files[key].crc32c
        stored = int.from_bytes(data[-CRC_BYTES:].tobytes(), "little")
        if crc32c(payload) != stored:
            raise self._error(DamagedFileError, key, "its CRC does not match its bytes")
        if listed is not None and listed != stored:
            what = "an intact file, but not the one of the manifest"
            raise self._error(DamagedFileError, key, what)
        if spec.codec.level is not None:
            size = frame_bytes(payload[:_FRAME_HEADER].tobytes())
            if size != spec.chunk_bytes:
                what = (
                    f"cannot be decompressed (a frame of {size} bytes, expected {spec.chunk_bytes})"
                )
                raise self._error(DamagedFileError, key, what)
        if spec.dtype.kind == "b" and int(payload.max(initial=0)) > 1:
            raise self._error(PlanError, key, "holds bytes that are neither true nor false")

    def _unreadable(self, key: str, error: OSError) -> StoreError:
        if isinstance(error, FileNotFoundError | NotADirectoryError):
            return self._error(MissingFileError, key, "missing")
        return self._error(DamagedFileError, key, f"cannot be read ({error.strerror or error})")

    def _error(self, kind: type[StoreError], key: str, what: str) -> StoreError:
        return kind(self._folder, f"{self._group}/{key}", what)

    def _with_store(self, store: Store) -> Self:
        return type(self)(store, self._folder, self._group, self._specs, self._files)


def _place(spec: ArraySpec, index: Index) -> tuple[slice, ...]:
    """The numbers of an array that a chunk holds."""
    return tuple(
        slice(number * chunk, min((number + 1) * chunk, size))
        for number, chunk, size in zip(index, spec.chunks, spec.shape, strict=True)
    )


def all_finite(values: NDArray[Any]) -> bool:
    """Whether no number is infinite or NaN; float16 by bit patterns, 5 times as fast as `isfinite`.

    Those that are not finite are the largest ones: among signed integers the positive, among
    unsigned integers the negative.
    """
    if values.dtype.kind != "f" or not values.size:
        return True
    if values.dtype.itemsize > 2:
        return bool(np.isfinite(values).all())
    return (
        int(values.view("<i2").max()) < _INFINITY
        and int(values.view("<u2").max()) < _MINUS_INFINITY
    )
