"""Parquet files of arrays; the only module that needs pyarrow, which decant does not install."""

import io
from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray


def parquet_bytes(arrays: Mapping[str, NDArray[Any]], facts: str) -> bytes:
    """A parquet file with a row for each image.

    Arrays [N] become columns, arrays [N, K] columns of lists (float16 as float32, which more
    programs read; `crop_yx` the columns `crop_y` and `crop_x`), `facts` metadata of the schema.
    Raises ValueError where pyarrow is not installed.
    """
    try:
        pyarrow, parquet = map(import_module, ("pyarrow", "pyarrow.parquet"))
    except ImportError:
        raise ValueError(
            "writing parquet needs pyarrow (pandas writes it with pyarrow as well): install it with "
            "`pip install -e '.[parquet]'`, or use --format npz"
        ) from None
    columns = {
        name: pyarrow.array(column)
        if column.ndim == 1
        else pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(column.ravel()), column.shape[1])
        for name, column in _columns(arrays)
    }
    table = pyarrow.table(columns).replace_schema_metadata({"decant": facts})
    buffer = io.BytesIO()
    parquet.write_table(table, buffer)
    return buffer.getvalue()


def _columns(arrays: Mapping[str, NDArray[Any]]) -> Iterator[tuple[str, NDArray[Any]]]:
    count = len(next(iter(arrays.values())))
    yield "image", np.arange(count, dtype=np.int32)
    for name, array in arrays.items():
        if name == "crop_yx":
            yield "crop_y", np.ascontiguousarray(array[:, 0])
            yield "crop_x", np.ascontiguousarray(array[:, 1])
        else:
            yield name, array.astype(np.float32) if array.dtype == np.float16 else array
