"""Lossy codecs: what is kept is kept exactly, and what is lost is bounded."""

import math

import numpy as np
import pytest
from numcodecs.bitround import BitRound
from store_samples import CODECS, LOSSY

from pipeline.store.format import lossy
from pipeline.store.format.codecs import Codec
from pipeline.store.format.lossy import decode_logits, encode_logits, logit_parts, round_bits
from pipeline.store.write.difference import measure

LARGEST = 65504.0


def rng() -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=7))


def some_logits(count: int = 500, classes: int = 40) -> np.ndarray:
    """Logits of every size, with rows that are hard: equal, tiny, enormous, tied."""
    scale = 10.0 ** rng().uniform(-6, 3.5, (count, 1))
    logits = (rng().normal(0, 1, (count, classes)) * scale).astype(np.float16)
    logits[0] = 3.5
    logits[1] = 0
    logits[2] = np.linspace(-LARGEST, LARGEST, classes)
    logits[3] = 6e-8 * (np.arange(classes) % 2)
    logits[4] = LARGEST
    logits[5, : classes // 2] = -LARGEST
    logits[6] = np.arange(classes) % 3
    assert np.isfinite(logits).all()
    return logits


def softmax(logits: np.ndarray) -> np.ndarray:
    shifted = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    return shifted / shifted.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)
def test_parts_are_what_is_made_of_logits(codec: Codec) -> None:
    logits = some_logits()
    arrays = encode_logits(codec, logits)
    parts = logit_parts(codec, 40)
    assert [part.suffix for part in parts] == list(arrays)
    for part in parts:
        array = arrays[part.suffix]
        assert array.dtype == part.dtype
        assert array.shape == ((500,) if part.width is None else (500, part.width))


@pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)
def test_what_is_read_is_finite_and_fills_a_buffer(codec: Codec) -> None:
    logits = some_logits()
    arrays = encode_logits(codec, logits)
    out = np.full_like(logits, np.nan)
    assert decode_logits(codec, arrays, 40, out) is out
    assert np.isfinite(out).all()
    assert np.array_equal(decode_logits(codec, arrays, 40), out)
    assert codec.lossy != np.array_equal(out, logits)


@pytest.mark.parametrize("codec", LOSSY.values(), ids=LOSSY)
def test_blocks_of_rows_do_not_show(codec: Codec, monkeypatch: pytest.MonkeyPatch) -> None:
    logits = some_logits()
    whole = encode_logits(codec, logits)
    read_back = decode_logits(codec, whole, 40)
    monkeypatch.setattr(lossy, "_BLOCK_NUMBERS", 7 * 40)
    parts = encode_logits(codec, logits)
    assert all(np.array_equal(parts[suffix], array) for suffix, array in whole.items())
    assert np.array_equal(decode_logits(codec, parts, 40), read_back)


def test_eight_bits_are_wrong_by_half_a_step_at_most() -> None:
    logits = some_logits()
    arrays = encode_logits(Codec(name="int8"), logits)
    offset, step = arrays["_steps"].astype(np.float64).T[:, :, np.newaxis]
    exact = logits.astype(np.float64)
    assert np.array_equal(offset[:, 0], exact.min(axis=1))
    apart = np.abs(offset + step * arrays[""] - exact)
    assert (apart <= step / 2 * (1 + 1e-12)).all()
    assert (apart.max(axis=1) > step[:, 0] / 4).sum() > 400  # the bound is not a loose one
    # The step is the 255th part of the range, and no more than float16 rounds up.
    span = (exact.max(axis=1) - exact.min(axis=1)) / 255
    assert (step[:, 0] >= span).all()
    assert (step[:, 0] <= np.maximum(span * (1 + 2**-10), span + 2**-24)).all()


def test_eight_bits_as_they_are_read() -> None:
    logits = some_logits()
    arrays = encode_logits(Codec(name="int8"), logits)
    read_back = decode_logits(Codec(name="int8"), arrays, 40)
    step = arrays["_steps"][:, 1:].astype(np.float64)
    magnitude = np.maximum(np.abs(read_back.astype(np.float64)), 2.0**-14)
    rounding = 2.0 ** (np.floor(np.log2(magnitude)) - 11)  # half a unit of float16's last place
    apart = np.abs(read_back.astype(np.float64) - logits.astype(np.float64))
    # The last term is float32's: the sum of offset and steps is computed in it.
    assert (apart <= step / 2 + rounding + 2**-22 * np.abs(logits.astype(np.float64))).all()
    for row in range(0, 500, 50):
        for c in range(0, 40, 7):
            exact = float(arrays["_steps"][row, 0]) + float(step[row, 0]) * int(arrays[""][row, c])
            clipped = min(max(exact, -LARGEST), LARGEST)
            assert abs(float(read_back[row, c]) - clipped) <= rounding[row, c] * 1.01


def test_rows_of_equal_logits_are_exact_in_eight_bits() -> None:
    logits = np.repeat(np.float16([[-LARGEST], [-0.1], [0], [6e-8], [LARGEST]]), 9, axis=1)
    arrays = encode_logits(Codec(name="int8"), logits)
    assert not arrays[""].any()
    assert np.array_equal(decode_logits(Codec(name="int8"), arrays, 9), logits)


@pytest.mark.parametrize("k", [1, 3, 39])
def test_top_k_keeps_its_classes_exactly(k: int) -> None:
    logits = some_logits()
    arrays = encode_logits(Codec(name="topk", top_k=k), logits)
    read_back = decode_logits(Codec(name="topk", top_k=k), arrays, 40)
    for row, kept, classes in zip(logits, arrays[""], arrays["_classes"], strict=True):
        order = sorted(range(40), key=lambda c: (-row[c], c))[:k]
        assert classes.tolist() == order
        assert np.array_equal(kept, row[order])
    rows = np.arange(500)[:, np.newaxis]
    assert np.array_equal(read_back[rows, arrays["_classes"]], arrays[""])
    assert np.array_equal(read_back.argmax(axis=1), logits.argmax(axis=1))


@pytest.mark.parametrize("k", [1, 3, 39])
def test_top_k_keeps_the_total_mass_of_the_others(k: int) -> None:
    logits = rng().normal(0, 4, (300, 40)).astype(np.float16)
    arrays = encode_logits(Codec(name="topk", top_k=k), logits)
    for row, classes, rest in zip(logits, arrays["_classes"], arrays["_rest"], strict=True):
        others = [float(row[c]) for c in range(40) if c not in classes]
        total = sum(math.exp(value) for value in others)
        assert (40 - k) * math.exp(float(rest)) == pytest.approx(total, rel=2e-6)  # float32's
    rebuilt = np.repeat(arrays["_rest"].astype(np.float64)[:, np.newaxis], 40, axis=1)
    np.put_along_axis(rebuilt, arrays["_classes"].astype(np.int64), arrays[""], axis=1)
    kept = np.take_along_axis(softmax(rebuilt), arrays["_classes"].astype(np.int64), axis=1)
    truth = np.take_along_axis(softmax(logits), arrays["_classes"].astype(np.int64), axis=1)
    np.testing.assert_allclose(kept, truth, rtol=4e-6)
    read_back = decode_logits(Codec(name="topk", top_k=k), arrays, 40)
    rounded = rebuilt.astype(np.float16)
    assert np.array_equal(read_back, rounded)


def test_the_divergence_of_top_k_is_that_among_the_others() -> None:
    """KL(teacher || read) at T = 1 is the remaining mass times KL(among the others || uniform)."""
    logits = rng().normal(0, 3, (200, 40)).astype(np.float16)
    codec = Codec(name="topk", top_k=5)
    read_back = decode_logits(codec, encode_logits(codec, logits), 40)
    expected = []
    for row in softmax(logits):
        others = np.sort(row)[:-5]
        mass = others.sum()
        among = others / mass
        expected.append(mass * (among * np.log(among * 35)).sum())
    # What is read is rounded to float16, and so is the logit that the others share.
    assert measure(logits, read_back).kl_t1 == pytest.approx(np.mean(expected), abs=1e-5)
    assert np.mean(expected) > 1e-3


def test_remaining_mass_far_below_what_float32_holds_is_kept() -> None:
    logits = np.float16([[200, 0, 1, 2], [-LARGEST, LARGEST, -LARGEST, -LARGEST]])
    codec = Codec(name="topk", top_k=1)
    read_back = decode_logits(codec, encode_logits(codec, logits), 4)
    shared = math.log((1 + math.e + math.e**2) / 3)
    assert read_back[0].tolist() == pytest.approx([200, shared, shared, shared], rel=1e-3)
    assert np.array_equal(read_back[1], logits[1])


@pytest.mark.parametrize(
    ("classes", "dtype"), [(2, "u1"), (256, "u1"), (257, "u2"), (65536, "u2"), (65537, "u4")]
)
def test_class_numbers_take_as_few_bytes_as_they_can(classes: int, dtype: str) -> None:
    codec = Codec(name="topk", top_k=1)
    assert logit_parts(codec, classes)[1].dtype == dtype
    logits = np.zeros((2, classes), np.float16)
    logits[0, -1] = logits[1, 0] = 1
    read_back = decode_logits(codec, encode_logits(codec, logits), classes)
    assert np.array_equal(read_back, logits)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a["_classes"].__setitem__((4, 1), 40), "names the class 40 of 40"),
        (lambda a: a["_classes"].__setitem__((4, 1), 255), "names the class 255 of 40"),
        (lambda a: a["_classes"].__setitem__((4, 1), a["_classes"][4, 0]), "a class twice"),
    ],
)
def test_classes_that_cannot_be_are_refused(change, message: str) -> None:
    codec = Codec(name="topk", top_k=3)
    arrays = encode_logits(codec, some_logits())
    change(arrays)
    with pytest.raises(ValueError, match=message):
        decode_logits(codec, arrays, 40)


def test_shared_logits_beyond_float16_do_not_become_infinite() -> None:
    codec = Codec(name="topk", top_k=1)
    arrays = encode_logits(codec, some_logits())
    arrays["_rest"][:2] = 1e38, -1e38
    assert np.isfinite(decode_logits(codec, arrays, 40)).all()


def all_finite_numbers() -> np.ndarray:
    numbers = np.arange(2**16, dtype=np.uint16).view(np.float16)
    return numbers[np.isfinite(numbers)]


@pytest.mark.parametrize("keep_bits", range(1, 10))
def test_rounding_bits_is_numcodecs_rounding(keep_bits: int) -> None:
    numbers = all_finite_numbers()
    theirs = BitRound(keepbits=keep_bits).encode(numbers).view(np.float16)
    ours = round_bits(numbers, keep_bits)
    fits = np.isfinite(theirs)
    assert 0 < (~fits).sum() < 2**11
    assert np.array_equal(ours[fits].view("u2"), theirs[fits].view("u2"))
    # What they round to infinity stays at the largest number of so many bits.
    largest = (2 - 2.0**-keep_bits) * 2**15
    assert set(ours[~fits].tolist()) == {largest, -largest}
    again = BitRound(keepbits=keep_bits).encode(ours).view(np.float16)
    assert np.array_equal(again.view("u2"), ours.view("u2"))


@pytest.mark.parametrize("keep_bits", range(1, 10))
def test_rounding_bits_is_wrong_by_half_a_unit_at_most(keep_bits: int) -> None:
    numbers = all_finite_numbers().astype(np.float64)
    ours = round_bits(all_finite_numbers(), keep_bits).astype(np.float64)
    exponent = np.floor(np.log2(np.maximum(np.abs(numbers), 2.0**-14)))
    unit = 2.0 ** (exponent - keep_bits)
    clamped = np.abs(numbers) > np.abs(ours).max()
    assert (np.abs(ours - numbers)[~clamped] <= unit[~clamped] / 2).all()
    assert (np.abs(ours - numbers)[clamped] <= unit[clamped]).all()
