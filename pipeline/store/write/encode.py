"""Encoding: the bytes of a chunk's file, as Zarr writes them.

Only writers need this module, and with it Zarr; a reader never hands a store to Zarr.
"""

import warnings
from typing import Any

import zarr
from numpy.typing import NDArray
from zarr.core.buffer import Buffer, default_buffer_prototype
from zarr.storage import MemoryStore

from pipeline.store.format.layout import METADATA, ArraySpec


def encode(spec: ArraySpec, values: NDArray[Any]) -> bytes:
    """The file of one chunk of an array; `values` has the chunk's shape and the array's dtype.

    Zarr writes it into memory, from which the caller writes it to disk in one durable step.
    """
    buffer = default_buffer_prototype().buffer
    files: dict[str, Buffer] = {METADATA: buffer.from_bytes(spec.chunk_metadata())}
    # Without this setting a chunk that equals the fill value would not be written at all.
    with zarr.config.set({"array.write_empty_chunks": True}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Numcodecs codecs are not in the Zarr version 3 spec")
        array = zarr.open_array(MemoryStore(files), mode="r+")
        assert isinstance(array, zarr.Array), type(array)
        assert array.shape == values.shape, (array.shape, values.shape)
        assert array.dtype == values.dtype, (array.dtype, values.dtype)
        array[...] = values
    del files[METADATA]
    (chunk,) = files.values()
    return chunk.to_bytes()
