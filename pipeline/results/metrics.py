"""Numbers about logits: accuracy, likelihood, calibration, agreement with a teacher.

Everything is computed in float64 from logits [N,C] of any float dtype and labels i4 [N]; fractions
lie in [0, 1], likelihoods and divergences are in nats, and all are means over the N images. NaN or
infinite logits, no images, or labels outside 0..C-1 raise ValueError: a number made of them would
mean nothing.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[Any]

# Bounds of the fitted temperature: at 1/1000 probabilities are 0 or 1, at 1000 uniform.
TEMPERATURE_BOUNDS = (1e-3, 1e3)


def top_k_accuracy(logits: NDArray[Any], labels: Integers, k: int = 1) -> float:
    """Fraction of images whose class is among the k largest logits.

    Of equal logits the one of the lower class index counts as the larger, as in `argmax`. With C
    classes or fewer asked for, k = min(k, C).
    """
    scores, labels = _checked(logits, labels)
    own = np.take_along_axis(scores, labels[:, None], axis=1)
    before = np.arange(scores.shape[1]) < labels[:, None]
    rank = ((scores > own) | ((scores == own) & before)).sum(axis=1)
    return float((rank < k).mean())


def top1_accuracy(logits: NDArray[Any], labels: Integers) -> float:
    """Fraction of images whose class has the largest logit; see `top_k_accuracy` for ties."""
    return top_k_accuracy(logits, labels, 1)


def likeliest(logits: NDArray[Any], count: int = 5) -> tuple[tuple[int, float], ...]:
    """The likeliest classes by the logits [C] of one image, and their probabilities to six decimals.

    Of equal ones the first comes first.

    >>> likeliest(np.log([0.1, 0.9]))
    ((1, 0.9), (0, 0.1))
    """
    exact = logits.astype(np.float64)
    weights = np.exp(exact - exact.max())
    order = np.argsort(-exact, kind="stable")[:count]
    probabilities = (weights[order] / weights.sum()).round(6)
    return tuple(zip(order.tolist(), probabilities.tolist(), strict=True))


def nll(logits: NDArray[Any], labels: Integers, temperature: float = 1.0) -> float:
    """Mean of -log softmax(logits / temperature) at the label; nats."""
    scores, labels = _checked(logits, labels)
    return _nll(scores, labels, temperature)


def ece(logits: NDArray[Any], labels: Integers, bins: int = 15, temperature: float = 1.0) -> float:
    """Expected calibration error: sum over bins of (images in it / N) * |accuracy - confidence|.

    Confidence is the largest probability of softmax(logits / temperature). Bins are of equal width
    over [0, 1] and closed on the right: bin b holds confidences in (b/bins, (b+1)/bins].

    Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, equation 3.
    """
    confidence, correct, members = confidences(logits, labels, bins, temperature)
    gaps = np.bincount(members, weights=correct - confidence, minlength=bins)
    return float(np.abs(gaps).sum() / len(labels))


def confidences(
    logits: NDArray[Any], labels: Integers, bins: int = 15, temperature: float = 1.0
) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.int64]]:
    """What `ece` sums: of each image its confidence, whether it is right, and its bin; [N] each."""
    scores, labels = _checked(logits, labels)
    confidence = np.exp(_log_softmax(scores / temperature)).max(axis=1)
    members = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    return confidence, scores.argmax(axis=1) == labels, members


def agreement(logits: NDArray[Any], other_logits: NDArray[Any]) -> float:
    """Fraction of images for which both have their largest logit at the same class."""
    scores, others = _checked_pair(logits, other_logits)
    return float((scores.argmax(axis=1) == others.argmax(axis=1)).mean())


def kl_divergence(
    teacher_logits: NDArray[Any], student_logits: NDArray[Any], temperature: float = 1.0
) -> float:
    """Mean KL(teacher || student) of the softmaxes of logits / temperature; nats, without T^2."""
    teacher, student = _checked_pair(teacher_logits, student_logits)
    log_p, log_q = _log_softmax(teacher / temperature), _log_softmax(student / temperature)
    return float((np.exp(log_p) * (log_p - log_q)).sum(axis=1).mean())


def fit_temperature(logits: NDArray[Any], labels: Integers) -> float:
    """The temperature in [1/1000, 1000] that minimises the NLL of softmax(logits / temperature).

    The NLL is convex in 1/temperature, so its minimum is found by bisecting the sign of its
    derivative (to a relative 1e-10). Where there is none inside, a bound is the answer: the lower
    one where every image is right, the upper one where logits say nothing (equal logits included).

    Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, section 4.2.
    """
    scores, labels = _checked(logits, labels)
    centred = scores - scores.max(axis=1, keepdims=True)
    own = np.take_along_axis(centred, labels[:, None], axis=1)[:, 0]

    def slope(log_scale: float) -> float:
        """Derivative of the NLL with respect to 1/temperature = exp(log_scale)."""
        log_p = _log_softmax(centred * np.exp(log_scale))
        return float(((np.exp(log_p) * centred).sum(axis=1) - own).mean())

    low, high = (-np.log(bound) for bound in reversed(TEMPERATURE_BOUNDS))
    if slope(low) >= 0:
        return TEMPERATURE_BOUNDS[1]
    if slope(high) <= 0:
        return TEMPERATURE_BOUNDS[0]
    while high - low > 1e-10:
        middle = (low + high) / 2
        low, high = (low, middle) if slope(middle) > 0 else (middle, high)
    return float(np.exp(-(low + high) / 2))


def _nll(scores: Floats, labels: Integers, temperature: float) -> float:
    log_p = _log_softmax(scores / temperature)
    return float(-np.take_along_axis(log_p, labels[:, None], axis=1).mean())


def _log_softmax(scores: Floats) -> Floats:
    shifted = scores - scores.max(axis=1, keepdims=True)
    result: Floats = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return result


def _checked(logits: NDArray[Any], labels: Integers) -> tuple[Floats, Integers]:
    scores = _finite(logits)
    if labels.shape != scores.shape[:1]:
        raise ValueError(f"{len(scores)} rows of logits, but labels of shape {labels.shape}")
    if labels.min() < 0 or labels.max() >= scores.shape[1]:
        raise ValueError(f"labels must lie in 0..{scores.shape[1] - 1}")
    return scores, labels.astype(np.int64)


def _checked_pair(logits: NDArray[Any], others: NDArray[Any]) -> tuple[Floats, Floats]:
    if logits.shape != others.shape:
        raise ValueError(f"logits of different shapes: {logits.shape} and {others.shape}")
    return _finite(logits), _finite(others)


def _finite(logits: NDArray[Any]) -> Floats:
    if logits.ndim != 2 or 0 in logits.shape:
        raise ValueError(f"logits must be images x classes, found shape {logits.shape}")
    scores: Floats = logits.astype(np.float64)
    if not np.isfinite(scores).all():
        raise ValueError("logits hold NaN or infinite values")
    return scores
