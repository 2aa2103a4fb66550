"""What the lossy codecs keep of logits, and what is read back.

    bitround  logits f2 [N, C], their mantissas rounded to `keep_bits` bits (half to even)
    int8      logits u1 [N, C], the codes; logits_steps f2 [N, 2], a row's offset and step
    topk      logits f2 [N, k], the largest of a row in falling order; logits_classes u1, u2 or u4
              [N, k], whose they are; logits_rest f4 [N], the logit that each other class gets

`int8`: a logit is offset + step * code, so that it is wrong by half a step at most (and, as it is
read back as float16, by that format's rounding). The offset is the row's lowest logit, the step
the 255th part of the row's range, rounded up to float16 so that the highest is reached.

`topk`: the other C - k classes share what the kept ones leave of the probability at T = 1 in equal
parts. Their common logit is therefore the logarithm of the mean of exp(logit) over them: softmax of
the kept logits and of it gives every kept class, and all others together, exactly the teacher's
probability. All C logits are read back, and a student's KL is the usual one over all classes, but
against this spread: it wants the other classes to be equally likely. At T = 1 the spread costs
(remaining probability) * KL(teacher among the others || uniform); at a higher T it also gives the
others more than the teacher does, since the mean of exp is dominated by the largest of them. Both
are measured when a store is made.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.store.format.codecs import Codec

Half = NDArray[np.float16]
_LARGEST = 65504.0  # of float16
_MANTISSA_BITS = 10
_CODES = 255
_BLOCK_NUMBERS = 2**20  # of a block of rows: temporaries stay in the processor's cache


@dataclass(frozen=True)
class Part:
    """One of the arrays that logits are stored as: `logits` and a suffix.

    `width` is the length of its last axis and `dimension` that axis' name; both None where a row
    holds one number.
    """

    suffix: str
    dtype: str
    dimension: str | None = None
    width: int | None = None


def logit_parts(codec: Codec, classes: int) -> tuple[Part, ...]:
    """The arrays that logits of C classes are stored as, `logits` first."""
    if codec.name == "int8":
        return Part("", "u1", "class", classes), Part("_steps", "f2", "offset_step", 2)
    if codec.top_k is not None:
        size = 1 if classes <= 2**8 else 2 if classes <= 2**16 else 4
        return (
            Part("", "f2", "rank", codec.top_k),
            Part("_classes", f"u{size}", "rank", codec.top_k),
            Part("_rest", "f4"),
        )
    return (Part("", "f2", "class", classes),)


def encode_logits(codec: Codec, logits: Half) -> dict[str, NDArray[Any]]:
    """The arrays of `logit_parts`, by suffix, that stand for finite logits f2 [N, C]."""
    count, classes = logits.shape
    if not codec.lossy:
        return {"": logits}
    arrays: dict[str, NDArray[Any]] = {
        part.suffix: np.empty((count, *([part.width] if part.width else [])), part.dtype)
        for part in logit_parts(codec, classes)
    }
    for rows in row_blocks(count, classes):
        encoded = _encode_block(codec, logits[rows])
        for suffix, array in arrays.items():
            array[rows] = encoded[suffix]
    return arrays


def decode_logits(
    codec: Codec, arrays: Mapping[str, NDArray[Any]], classes: int, out: Half | None = None
) -> Half:
    """The logits f2 [N, C] that arrays of `encode_logits` stand for, into `out` if given.

    All are finite if the arrays are. Raises ValueError for classes that do not exist or occur
    twice in a row.
    """
    stored = arrays[""]
    if out is None:
        out = np.empty((len(stored), classes), np.float16)
    assert out.shape == (len(stored), classes), out.shape
    for rows in row_blocks(len(stored), classes):
        block = {suffix: array[rows] for suffix, array in arrays.items()}
        if codec.name == "int8":
            offset, step = block["_steps"].astype(np.float32).T[:, :, np.newaxis]
            out[rows] = _clipped(offset + step * block[""])
        elif codec.top_k is not None:
            _spread(block, out[rows])
        else:
            out[rows] = block[""]
    return out


def largest_errors(codec: Codec, logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """How far what is read can be from each of the logits f8 [N, C]: f8 [N, C].

    Float16's own rounding is not part of it. Of `topk` it is that of the kept logits, which are
    stored as they are.
    """
    errors = np.zeros_like(logits)
    if codec.keep_bits is not None:
        # Half a unit of the last kept place; the rounding may reach into the next power of two.
        errors = np.abs(logits) * 2.0 ** -(codec.keep_bits + 1)
    elif codec.name == "int8":
        step = np.ptp(logits, axis=1, keepdims=True) / _CODES
        errors += step / 2 * (1 + 2.0**-_MANTISSA_BITS)
    return errors


def row_blocks(count: int, width: int) -> Iterator[slice]:
    """Blocks of rows that are handled together, so that temporaries stay small."""
    size = max(1, _BLOCK_NUMBERS // width)
    return (slice(start, min(start + size, count)) for start in range(0, count, size))


def _encode_block(codec: Codec, logits: Half) -> dict[str, NDArray[Any]]:
    if codec.name == "int8":
        return _to_steps(logits)
    if codec.top_k is not None:
        return _to_top(logits, codec.top_k)
    assert codec.keep_bits is not None
    return {"": round_bits(logits, codec.keep_bits)}


def round_bits(logits: Half, keep_bits: int) -> Half:
    """Round mantissas to `keep_bits` bits, half to even; what would become infinite is clamped.

    Numcodecs' BitRound, except that it turns the largest numbers into infinities.
    """
    drop = np.uint16(_MANTISSA_BITS - keep_bits)
    mask = np.uint16(0xFFFF >> drop << drop)
    bits = logits.view(np.uint16)
    half = np.uint16((1 << (int(drop) - 1)) - 1)
    rounded = (bits + half + (bits >> drop & np.uint16(1))) & mask
    magnitude = np.minimum(rounded & np.uint16(0x7FFF), np.uint16(0x7BFF) & mask)
    result: Half = (magnitude | (bits & np.uint16(0x8000))).view(np.float16)
    return result


def _to_steps(logits: Half) -> dict[str, NDArray[Any]]:
    low = logits.min(axis=1)
    exact = (logits.max(axis=1).astype(np.float64) - low) / _CODES
    step = exact.astype(np.float16)
    step = np.where(step < exact, np.nextafter(step, np.float16(np.inf)), step)
    above = logits.astype(np.float64) - low[:, np.newaxis]
    # A row of equal logits has no range: all its codes are 0.
    codes = above / np.where(step > 0, step, 1).astype(np.float64)[:, np.newaxis]
    codes = np.clip(np.rint(codes), 0, _CODES).astype(np.uint8)
    return {"": codes, "_steps": np.stack([low, step], axis=1)}


def _to_top(logits: Half, k: int) -> dict[str, NDArray[Any]]:
    exact = logits.astype(np.float64)
    order = np.argsort(-exact, axis=1, kind="stable")  # of equal logits the first class goes first
    top, others = order[:, :k], np.take_along_axis(exact, order[:, k:], axis=1)
    kept = np.take_along_axis(logits, top, axis=1)
    return {"": kept, "_classes": top, "_rest": shared_logit(others)[:, 0]}


def shared_logit(others: NDArray[np.float64]) -> NDArray[np.float64]:
    """What `topk` gives each of the other classes for their logits f8 [N, C - k]: f8 [N, 1]."""
    highest = others.max(axis=1, keepdims=True)
    shared: NDArray[np.float64] = highest + np.log(
        np.exp(others - highest).mean(axis=1, keepdims=True)
    )
    return shared


def _spread(block: Mapping[str, NDArray[Any]], out: Half) -> None:
    classes = block["_classes"].astype(np.int64)
    if classes.size and int(classes.max()) >= out.shape[1]:
        raise ValueError(f"names the class {int(classes.max())} of {out.shape[1]}")
    if (np.diff(np.sort(classes, axis=1), axis=1) == 0).any():
        raise ValueError("names a class twice in one row")
    out[...] = _clipped(block["_rest"])[:, np.newaxis]
    np.put_along_axis(out, classes, block[""], axis=1)


def _clipped(values: NDArray[np.float32]) -> Half:
    return np.clip(values, -_LARGEST, _LARGEST).astype(np.float16)
