"""How far logits lie apart: against loops written from the definitions."""

import math

import numpy as np
import pytest

from pipeline.results.metrics import kl_divergence
from pipeline.store.format import lossy
from pipeline.store.write.difference import Difference, measure, merge


@pytest.fixture
def pair() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.Generator(np.random.Philox(key=3))
    reference = rng.normal(0, 3, (60, 7)).astype(np.float16)
    return reference, (reference + rng.normal(0, 0.5, (60, 7))).astype(np.float32)


def slow_kl(p_logits: list[float], q_logits: list[float], temperature: float) -> float:
    def log_softmax(logits: list[float]) -> list[float]:
        total = math.log(sum(math.exp(value / temperature) for value in logits))
        return [value / temperature - total for value in logits]

    pairs = zip(log_softmax(p_logits), log_softmax(q_logits), strict=True)
    return sum(math.exp(log_p) * (log_p - log_q) for log_p, log_q in pairs)


def test_measures_are_those_of_slow_loops(pair) -> None:
    reference, other = pair
    rows = [(p.tolist(), q.tolist()) for p, q in zip(reference, other, strict=True)]
    apart = [abs(a - b) for p, q in rows for a, b in zip(p, q, strict=True)]
    found = measure(reference, other)
    assert found.rows == 60
    assert found.kl_t1 == pytest.approx(sum(slow_kl(p, q, 1.0) for p, q in rows) / 60)
    assert found.kl_t4 == pytest.approx(sum(slow_kl(p, q, 4.0) for p, q in rows) / 60)
    changed = sum(p.index(max(p)) != q.index(max(q)) for p, q in rows)
    assert 0 < changed < 60
    assert found.top1_disagreement == pytest.approx(changed / 60)
    assert found.max_abs_difference == max(apart)
    assert found.mean_abs_difference == pytest.approx(sum(apart) / len(apart))


def test_the_divergence_is_that_of_the_metrics(pair) -> None:
    found = measure(*pair)
    assert found.kl_t1 == pytest.approx(kl_divergence(*pair))
    assert found.kl_t4 == pytest.approx(kl_divergence(*pair, temperature=4.0))


def test_equal_logits_are_no_difference_apart(pair) -> None:
    reference, _ = pair
    assert set(measure(reference, reference).facts().values()) == {0.0}
    shifted = measure(reference.astype(np.float32), reference.astype(np.float32) + 1)
    assert shifted.kl_t1 == pytest.approx(0, abs=1e-12)
    assert shifted.kl_t1 >= 0
    assert shifted.max_abs_difference == pytest.approx(1)


def test_blocks_and_parts_merge_to_the_whole(pair, monkeypatch) -> None:
    whole = measure(*pair)
    parts = merge([measure(pair[0][:13], pair[1][:13]), measure(pair[0][13:], pair[1][13:])])
    monkeypatch.setattr(lossy, "_BLOCK_NUMBERS", 9 * 7)
    blocks = measure(*pair)
    for name, value in vars(whole).items():
        assert getattr(parts, name) == pytest.approx(value)
        assert getattr(blocks, name) == pytest.approx(value)


def test_facts_have_four_digits() -> None:
    found = Difference(
        rows=3,
        kl_t1=1.23456e-7,
        kl_t4=0.0,
        top1_disagreement=1 / 3,
        mean_abs_difference=2.0,
        max_abs_difference=12345.6,
    )
    assert found.facts() == {
        "kl_t1": 1.235e-7,
        "kl_t4": 0.0,
        "top1_disagreement": 0.3333,
        "mean_abs_difference": 2.0,
        "max_abs_difference": 12350.0,
    }


@pytest.mark.parametrize("shapes", [((3, 4), (3, 5)), ((0, 4), (0, 4)), ((4,), (4,))])
def test_what_cannot_be_compared_is_refused(shapes) -> None:
    with pytest.raises(ValueError, match="cannot be compared"):
        measure(*map(np.zeros, shapes))
