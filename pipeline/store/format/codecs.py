"""Codecs: how logits and features are stored, and how an array's numbers become a file's bytes.

Whatever the codec, the last four bytes of a file are the CRC-32C of all before them, so that a
flipped bit never reads as a number. Zarr encodes and decodes; what lossy codecs do to logits is in
`lossy`.
"""

from dataclasses import dataclass
from typing import Any, Self

import google_crc32c
from pydantic import Field

from pipeline.core.params import checked

CRC_BYTES = 4
_ZSTD_MAGIC = bytes.fromhex("28b52ffd")


@checked
class Codec:
    """How a group's logits are stored; the key `codec` of a dump.

    `dense` is the float16 numbers as they are, and `zstd` compresses them without loss. The others
    lose something, of the logits alone: features come back as they were, plans and labels are
    `dense` always.
    """

    name: str = Field(
        default="dense", description="dense, zstd (without loss), bitround, int8 or topk"
    )
    level: int | None = Field(
        default=None, description="of zstd, 1 to 22; null: files are not compressed"
    )
    keep_bits: int | None = Field(
        default=None, description="of bitround: bits of the mantissa that are kept, 1 to 9"
    )
    top_k: int | None = Field(
        default=None, description="of topk: classes whose logits are kept, fewer than there are"
    )

    def __post_init__(self) -> None:
        if self.name not in CODECS:
            raise ValueError(f"codec: expected one of {', '.join(CODECS)}, found {self.name!r}")
        kind = CODECS[self.name]
        for key, (low, high) in _RANGES.items():
            value = getattr(self, key)
            if value is None and key in kind.needs:
                raise ValueError(f"codec: {self.name} needs a {key} ({_range(low, high)})")
            if value is not None and key not in (*kind.needs, *kind.takes):
                raise ValueError(f"codec: {self.name} has no {key}")
            if value is not None and not low <= value <= (high or value):
                raise ValueError(f"codec: expected a {key} {_range(low, high)}, found {value}")

    @property
    def lossy(self) -> bool:
        """Whether the logits that are read differ from those that were written."""
        return CODECS[self.name].lossy

    @property
    def lossless(self) -> Self:
        """The codec of what is stored beside the logits: compressed where they are."""
        if self.level is None:
            return type(self)()
        return type(self)(name="zstd", level=self.level)

    def __str__(self) -> str:
        words = [self.name]
        if self.keep_bits is not None:
            words.append(f"{self.keep_bits} bits")
        if self.top_k is not None:
            words.append(f"k = {self.top_k}")
        if self.level is not None:
            words.append(f"level {self.level}" if self.name == "zstd" else f"zstd {self.level}")
        return ", ".join(words)

    def chain(self, itemsize: int) -> list[dict[str, Any]]:
        """The codecs of Zarr's array metadata, for an array of `dense`, `zstd` or `bitround`."""
        chain: list[dict[str, Any]] = [{"name": "bytes"}, {"name": "crc32c"}]
        if itemsize > 1:
            chain[0]["configuration"] = {"endian": "little"}
        if self.level is not None:
            configuration = {"level": self.level, "checksum": False}
            chain.insert(1, {"name": "zstd", "configuration": configuration})
        if self.keep_bits is not None:
            configuration = {"keepbits": self.keep_bits}
            chain.insert(0, {"name": "numcodecs.bitround", "configuration": configuration})
        return chain

    def size_problem(self, size: int, decoded: int) -> str | None:
        """Why a file of `size` bytes cannot hold `decoded` bytes of numbers; None if it can."""
        if self.level is None:
            expected = decoded + CRC_BYTES
            return None if size == expected else f"{size} bytes, expected {expected}"
        bound = decoded + decoded // 64 + 1024
        return None if CRC_BYTES < size <= bound else f"{size} bytes, expected at most {bound}"


@dataclass(frozen=True, kw_only=True)
class _Kind:
    """Whether numbers are lost, and which fields of `Codec` have to and may be given."""

    lossy: bool = False
    needs: tuple[str, ...] = ()
    takes: tuple[str, ...] = ()


CODECS: dict[str, _Kind] = {
    "dense": _Kind(),
    "zstd": _Kind(needs=("level",)),
    "bitround": _Kind(lossy=True, needs=("level", "keep_bits")),
    "int8": _Kind(lossy=True, takes=("level",)),
    "topk": _Kind(lossy=True, needs=("top_k",), takes=("level",)),
}
_RANGES: dict[str, tuple[int, int | None]] = {
    "level": (1, 22),
    "keep_bits": (1, 9),
    "top_k": (1, None),
}


def _range(low: int, high: int | None) -> str:
    return f"of at least {low}" if high is None else f"of {low} to {high}"


def crc32c(data: Any) -> int:
    """CRC-32C of a contiguous array or of bytes."""
    return int(google_crc32c.value(data))


def frame_bytes(data: bytes) -> int | None:
    """What a zstd frame says that it holds (RFC 8878, 3.1.1.1); None where it does not say.

    Asked before Zarr decompresses, which allocates whatever a frame asks for; numcodecs has no
    function that tells.

    Args:
        data: the frame, or its first 18 bytes.
    """
    if data[:4] != _ZSTD_MAGIC or len(data) < 5:
        return None
    descriptor = data[4]
    single = bool(descriptor & 0x20)
    width = (int(single), 2, 4, 8)[descriptor >> 6]
    start = 5 + (not single) + (0, 1, 2, 4)[descriptor & 3]
    if width == 0 or len(data) < start + width:
        return None
    return int.from_bytes(data[start : start + width], "little") + (256 if width == 2 else 0)
