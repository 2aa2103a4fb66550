"""Codecs: how the numbers of a chunk become the bytes of its file.

Whatever the codec, the last four bytes of a file are the CRC-32C of all before them, so that a
flipped bit never reads as a number. Zarr itself encodes (`encode`); decoding is done here, where
sizes are checked before anything is allocated.
"""

from dataclasses import dataclass
from typing import Any

import google_crc32c
import numpy as np
from numcodecs import zstd
from numpy.typing import NDArray

CRC_BYTES = 4
_ZSTD_LEVELS = range(1, 23)


@dataclass(frozen=True, kw_only=True)
class Codec:
    """How logits and features are stored; plans and labels are always `dense`.

    `dense` is the numbers as they are; `zstd` compresses them without loss, at a `level` of 1 to
    22.
    """

    name: str = "dense"
    level: int | None = None

    def __post_init__(self) -> None:
        if self.name not in CODECS:
            raise ValueError(f"codec: expected one of {', '.join(CODECS)}, found {self.name!r}")
        if (self.name == "zstd") != (self.level is not None):
            raise ValueError("codec: zstd needs a level, and dense has none")
        if self.level is not None and self.level not in _ZSTD_LEVELS:
            raise ValueError(f"codec: expected a level of 1 to 22, found {self.level}")

    @property
    def lossy(self) -> bool:
        """Whether the numbers that are read differ from those that were written."""
        return CODECS[self.name].lossy

    def chain(self, dtype: np.dtype[Any]) -> list[dict[str, Any]]:
        """The codecs of Zarr's array metadata."""
        raw: dict[str, Any] = {"name": "bytes"}
        if dtype.itemsize > 1:
            raw["configuration"] = {"endian": "little"}
        compress = {"name": "zstd", "configuration": {"level": self.level, "checksum": False}}
        return [raw, *([compress] if self.name == "zstd" else []), {"name": "crc32c"}]

    def size_problem(self, size: int, decoded: int) -> str | None:
        """Why a file of `size` bytes cannot hold `decoded` bytes of numbers; None if it can."""
        if self.name == "dense":
            expected = decoded + CRC_BYTES
            return None if size == expected else f"{size} bytes, expected {expected}"
        bound = decoded + decoded // 64 + 1024
        return None if CRC_BYTES < size <= bound else f"{size} bytes, expected at most {bound}"


@dataclass(frozen=True)
class _Kind:
    lossy: bool


CODECS: dict[str, _Kind] = {
    "dense": _Kind(lossy=False),
    "zstd": _Kind(lossy=False),
}


def crc32c(data: Any) -> int:
    """CRC-32C of a contiguous array or of bytes."""
    return int(google_crc32c.value(data))


def decompress(codec: Codec, data: bytes, values: NDArray[Any]) -> None:
    """Decode the bytes of a chunk (without its CRC) into a C-contiguous array of its shape.

    Raises ValueError where they are not of that codec or hold more than fits; nothing larger than
    `values` is ever allocated.
    """
    assert codec.name == "zstd", "dense chunks are read straight into memory"
    values[...] = 0  # a frame that holds too little must not leave what was in memory before
    try:
        zstd.decompress(data, values.reshape(-1).view(np.uint8))
    except RuntimeError as error:
        raise ValueError(str(error)) from error
