"""Writing npy files durably, and reading those that may come from anyone."""

import io
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np
from numpy.lib.format import MAGIC_PREFIX, header_data_from_array_1_0, write_array_header_1_0
from numpy.typing import NDArray

from pipeline.core.files import durable_write

# What reading damaged or forged files may raise, in numpy, safetensors and json.
UNREADABLE = (
    ValueError,
    KeyError,
    TypeError,
    EOFError,
    OverflowError,
    RecursionError,
    SyntaxError,
    TokenError,
)


def write_array(path: Path, array: NDArray[Any]) -> None:
    """Write an array in C order as `np.save` would, byte for byte, but durably: see `durable_write`."""
    header = io.BytesIO()
    write_array_header_1_0(header, header_data_from_array_1_0(array))
    durable_write(path, header.getvalue(), array.data)  # no copy: arrays may fill half the memory


def read_array(path: Path) -> NDArray[Any]:
    """The array of an npy file, in memory of its own.

    A header that claims more numbers than there are costs no memory. Raises ValueError where the file
    is no npy file or damaged, OSError where it cannot be read.
    """
    with path.open("rb") as file:
        if file.read(len(MAGIC_PREFIX)) != MAGIC_PREFIX:  # np.load would also open archives
            raise ValueError("is not a readable array (no npy file)")
    try:
        return np.array(np.load(path, mmap_mode="r", allow_pickle=False))
    except UNREADABLE as error:
        raise ValueError(f"is not a readable array ({error})") from None
