"""Reading chunks: straight from file to memory, checked on the way.

A view of CIFAR-100's logits is 10 MB in one file; it is read, its CRC computed and its numbers
checked in about five times what copying it in memory takes.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.store.format.codecs import CRC_BYTES, crc32c, decompress
from pipeline.store.format.errors import DamagedFileError, NonFiniteError, PlanError, WrongSizeError
from pipeline.store.format.files import check_sized, open_sized, read_into
from pipeline.store.format.layout import ArraySpec, Index
from pipeline.store.format.manifest import FileFacts

_INFINITY = 0x7C00  # of positive float16 bit patterns the first that is not finite
_MINUS_INFINITY = 0xFC00  # and of negative ones


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


def read_chunk(
    store: Path,
    group: str,
    spec: ArraySpec,
    index: Index,
    facts: FileFacts,
    out: NDArray[Any] | None = None,
) -> NDArray[Any]:
    """One whole chunk, padding included, into `out` if given (C-contiguous, the chunk's shape).

    Raises MissingFileError, LinkError or WrongSizeError; DamagedFileError where the CRC is not the
    file's own or not the one in `facts` (then files were exchanged).
    """
    path = f"{group}/{spec.file(index)}"
    if problem := spec.codec.size_problem(facts.size, spec.chunk_bytes):
        raise WrongSizeError(store, path, problem)
    chunk = np.empty(spec.chunks, spec.dtype) if out is None else out
    assert chunk.flags.c_contiguous
    assert chunk.dtype == spec.dtype
    dense = spec.codec.level is None
    payload = (
        chunk.reshape(-1).view(np.uint8) if dense else np.empty(facts.size - CRC_BYTES, np.uint8)
    )
    tail = bytearray(CRC_BYTES)
    with open_sized(store, path, facts.size) as handle:
        if not read_into(handle, [payload.data, memoryview(tail)]):
            raise DamagedFileError(store, path, "was cut short while it was read")
    stored = int.from_bytes(tail, "little")
    if crc32c(payload) != stored:
        raise DamagedFileError(store, path, "its CRC does not match its bytes")
    if facts.crc32c is not None and facts.crc32c != stored:
        raise DamagedFileError(store, path, "an intact file, but not the one of the manifest")
    if not dense:
        try:
            decompress(spec.codec, payload.tobytes(), chunk)
        except ValueError as error:
            raise DamagedFileError(store, path, f"cannot be decompressed ({error})") from error
    return chunk


def read_array(
    store: Path,
    group: str,
    spec: ArraySpec,
    lead: Index,
    files: Mapping[str, FileFacts],
    out: NDArray[Any] | None = None,
) -> NDArray[Any]:
    """The chunks at one place of the leading axis (`lead`, empty where there is none).

    Shape [views of a chunk, N, ...], or [N, ...] without a leading axis; into `out` if given (of
    that shape, C-contiguous). Errors as for `read_chunk`; NonFiniteError for logits or features
    that are infinite or NaN; PlanError for flips that are neither true nor false.
    """
    count, *rest = spec.shape[spec.lead :]
    shape = (*spec.chunks[: spec.lead], count, *rest)
    if out is None:  # what a listing claims is not allocated before the files are seen
        for number in range(spec.grid[spec.lead]):
            path = spec.file((*lead, number, *(0 for _ in rest)))
            check_sized(store, f"{group}/{path}", files[path].size)
    result = np.empty(shape, spec.dtype) if out is None else out
    assert result.shape == shape, (result.shape, shape)
    for number in range(spec.grid[spec.lead]):
        index = (*lead, number, *(0 for _ in rest))
        rows = slice(number * spec.chunks[spec.lead], (number + 1) * spec.chunks[spec.lead])
        part = result[(*(slice(None) for _ in lead), rows)]
        facts = files[spec.file(index)]
        if part.shape == spec.chunks and part.flags.c_contiguous:
            read_chunk(store, group, spec, index, facts, part)
        else:
            chunk = read_chunk(store, group, spec, index, facts)
            part[...] = chunk[tuple(map(slice, part.shape))]
        path = f"{group}/{spec.file(index)}"
        if spec.role == "values" and not all_finite(part):
            raise NonFiniteError(store, path, "holds infinite or NaN numbers")
        if spec.dtype.kind == "b" and int(part.view(np.uint8).max(initial=0)) > 1:
            raise PlanError(store, path, "holds bytes that are neither true nor false")
    return result
