"""Metrics against slow loops in plain Python, and at cases whose answer is known."""

import math

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from pipeline.results.metrics import (
    agreement,
    ece,
    fit_temperature,
    kl_divergence,
    nll,
    top1_accuracy,
    top_k_accuracy,
)

IMAGES, CLASSES = 200, 7


@pytest.fixture
def logits() -> np.ndarray:
    return (2 * np.random.default_rng(0).standard_normal((IMAGES, CLASSES))).astype(np.float32)


@pytest.fixture
def labels(logits) -> np.ndarray:
    """Labels drawn from softmax(logits / 2): the logits are overconfident, with temperature 2."""
    generator = np.random.default_rng(1)
    draws = [generator.choice(CLASSES, p=softmax(row / 2)) for row in logits.astype(np.float64)]
    return np.array(draws, dtype=np.int32)


def softmax(row) -> list[float]:
    powers = [math.exp(float(value)) for value in row]
    return [power / sum(powers) for power in powers]


@pytest.mark.parametrize("k", [1, 2, 5, 7, 50])
def test_top_k_accuracy_equals_sorting(logits, labels, k):
    right = 0
    for row, label in zip(logits.tolist(), labels.tolist(), strict=True):
        order = sorted(range(CLASSES), key=lambda c: (-row[c], c))
        right += label in order[:k]
    assert top_k_accuracy(logits, labels, k) == right / IMAGES


def test_top1_accuracy_is_that_of_argmax(logits, labels):
    assert top1_accuracy(logits, labels) == (logits.argmax(axis=1) == labels).mean()
    assert 0.2 < top1_accuracy(logits, labels) < 0.8


def test_ties_go_to_the_lower_class():
    logits = np.zeros((4, 4))
    labels = np.arange(4)
    assert [top_k_accuracy(logits, labels, k) for k in (1, 2, 3, 4)] == [0.25, 0.5, 0.75, 1.0]
    assert top1_accuracy(logits, labels) == (logits.argmax(axis=1) == labels).mean()


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_nll_equals_the_loop(logits, labels, temperature):
    terms = [
        -math.log(softmax(row / temperature)[label])
        for row, label in zip(logits.astype(np.float64), labels, strict=True)
    ]
    assert nll(logits, labels, temperature) == pytest.approx(sum(terms) / IMAGES, rel=1e-12)


def test_nll_of_extreme_logits_is_exact():
    logits = np.array([[1e4, 0.0], [0.0, 1e4]])
    assert nll(logits, np.array([0, 1])) == 0
    assert nll(logits, np.array([1, 0])) == 1e4


@pytest.mark.parametrize("bins", [1, 10, 15])
@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_ece_equals_the_loop(logits, labels, bins, temperature):
    groups: list[list[tuple[float, bool]]] = [[] for _ in range(bins)]
    for row, label in zip(logits.astype(np.float64), labels, strict=True):
        probabilities = softmax(row / temperature)
        confidence = max(probabilities)
        for b in range(bins):
            if b / bins < confidence <= (b + 1) / bins:
                groups[b].append((confidence, probabilities.index(confidence) == label))
    assert sum(len(group) for group in groups) == IMAGES
    expected = 0.0
    for group in filter(None, groups):
        accuracy = sum(right for _, right in group) / len(group)
        confidence = sum(value for value, _ in group) / len(group)
        expected += len(group) / IMAGES * abs(accuracy - confidence)
    assert ece(logits, labels, bins, temperature) == pytest.approx(expected, rel=1e-9)


def test_ece_of_certain_and_of_calibrated_answers():
    certain = np.array([[50.0, 0.0]] * 4)
    assert ece(certain, np.array([0, 0, 0, 0])) == pytest.approx(0, abs=1e-12)
    assert ece(certain, np.array([0, 0, 1, 1])) == pytest.approx(0.5)
    undecided = np.zeros((4, 2))
    assert ece(undecided, np.array([0, 0, 1, 1])) == pytest.approx(0, abs=1e-12)


def test_a_confidence_on_a_bin_edge_belongs_to_the_lower_bin():
    # Confidences 0.5 (right) and just above (wrong): two bins of [0, 1] keep them apart.
    logits = np.array([[0.0, 0.0], [1e-6, 0.0]])
    labels = np.array([0, 1])
    assert ece(logits, labels, bins=2) == pytest.approx(0.5, abs=1e-5)
    assert ece(logits, labels, bins=1) == pytest.approx(0.0, abs=1e-5)


def test_agreement(logits, labels):
    assert agreement(logits, logits) == 1
    assert agreement(logits, 3 * logits + 1) == 1
    assert agreement(logits, -logits) == 0
    half = logits.copy()
    half[: IMAGES // 2] *= -1
    assert agreement(logits, half) == 0.5


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_kl_divergence_equals_the_loop(logits, temperature):
    student = np.random.default_rng(2).standard_normal((IMAGES, CLASSES))
    total = 0.0
    for row, other in zip(logits.astype(np.float64), student, strict=True):
        p, q = softmax(row / temperature), softmax(other / temperature)
        total += sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
    found = kl_divergence(logits, student, temperature)
    assert found == pytest.approx(total / IMAGES, rel=1e-9)
    assert kl_divergence(logits, logits, temperature) == 0
    assert found != pytest.approx(kl_divergence(student, logits, temperature))


def test_temperature_is_where_an_independent_search_finds_it(logits, labels):
    found = fit_temperature(logits, labels)
    search = minimize_scalar(
        lambda t: nll(logits, labels, t),
        bounds=(0.05, 50),
        method="bounded",
        options={"xatol": 1e-9},
    )
    assert found == pytest.approx(search.x, rel=1e-4)
    assert 1.5 < found < 2.5, "the labels were drawn at temperature 2"
    assert nll(logits, labels, found) <= search.fun + 1e-12


def test_temperature_scales_with_the_logits(logits, labels):
    found = fit_temperature(logits, labels)
    for scale in (0.01, 20):
        scaled = fit_temperature(scale * logits.astype(np.float64), labels)
        assert scaled == pytest.approx(scale * found, rel=1e-6)


def test_temperature_does_not_see_a_constant(logits, labels):
    shifted = logits.astype(np.float64) + np.arange(IMAGES)[:, None]
    assert fit_temperature(shifted, labels) == pytest.approx(fit_temperature(logits, labels))


def test_temperature_stays_within_bounds(logits, labels):
    right = logits.argmax(axis=1)
    wrong = logits.argmin(axis=1)
    assert fit_temperature(logits, right) == 1e-3
    assert fit_temperature(logits, wrong) == 1e3
    assert fit_temperature(np.zeros((3, 2)), np.array([0, 1, 0])) == 1e3
    assert fit_temperature(1e4 * logits.astype(np.float64), wrong) == 1e3


def test_half_precision_logits_are_widened(logits, labels):
    half = logits.astype(np.float16)
    for metric in (nll, ece, fit_temperature):
        assert metric(half, labels) == metric(half.astype(np.float64), labels)


@pytest.mark.parametrize(
    ("logits", "labels", "message"),
    [
        (np.full((2, 3), np.nan), np.zeros(2, int), "NaN or infinite"),
        (np.full((2, 3), np.inf), np.zeros(2, int), "NaN or infinite"),
        (np.zeros((2, 3)), np.zeros(3, int), "2 rows of logits"),
        (np.zeros((2, 3)), np.array([0, 3]), r"labels must lie in 0\.\.2"),
        (np.zeros((2, 3)), np.array([0, -1]), r"labels must lie in 0\.\.2"),
        (np.zeros((0, 3)), np.zeros(0, int), "images x classes"),
        (np.zeros(3), np.zeros(3, int), "images x classes"),
    ],
)
def test_meaningless_input_is_refused(logits, labels, message):
    for metric in (top1_accuracy, nll, ece, fit_temperature):
        with pytest.raises(ValueError, match=message):
            metric(logits, labels)


def test_logits_of_different_shapes_are_refused():
    for metric in (agreement, kl_divergence):
        with pytest.raises(ValueError, match="different shapes"):
            metric(np.zeros((2, 3)), np.zeros((2, 4)))
