"""Reading npy files, which may come from anyone."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.format import MAGIC_PREFIX
from numpy.typing import NDArray

# What reading damaged or forged files may raise, in numpy, safetensors and json.
UNREADABLE = (
    ValueError,
    KeyError,
    TypeError,
    EOFError,
    OverflowError,
    RecursionError,
)


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
