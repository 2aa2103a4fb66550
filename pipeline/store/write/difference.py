"""How far two sets of logits of the same images lie apart: in nats, in classes and in numbers."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.store.format.lossy import row_blocks

_DIGITS = 4


@dataclass(frozen=True, kw_only=True)
class Difference:
    """How logits differ from reference logits.

    Attributes:
        rows: number of images compared.
        kl_t1, kl_t4: mean over images of KL(reference || other) of the softmaxes of logits / T at
            T = 1 and T = 4, in nats, without the factor T^2.
        top1_disagreement: fraction of images whose largest logit is at another class (of equal
            logits the first counts).
        mean_abs_difference, max_abs_difference: of single logits.
    """

    rows: int
    kl_t1: float
    kl_t4: float
    top1_disagreement: float
    mean_abs_difference: float
    max_abs_difference: float

    def facts(self) -> dict[str, float]:
        """The measures by name, to 4 digits: machines agree on those, not on the last ones."""
        return {
            name: float(f"{value:.{_DIGITS}g}")
            for name, value in asdict(self).items()
            if name != "rows"
        }


def measure(reference: NDArray[Any], other: NDArray[Any]) -> Difference:
    """Compare logits [N, C] of any float dtype with reference logits of the same images.

    Everything is computed in float64. Raises ValueError for shapes that differ or hold nothing.
    """
    if reference.shape != other.shape or reference.ndim != 2 or 0 in reference.shape:
        raise ValueError(f"logits of shapes {reference.shape} and {other.shape} cannot be compared")
    blocks = row_blocks(*reference.shape)
    return merge(
        _measure_block(reference[rows].astype(np.float64), other[rows].astype(np.float64))
        for rows in blocks
    )


def merge(differences: Iterable[Difference]) -> Difference:
    """The difference over all images of several."""
    parts = list(differences)
    rows = sum(part.rows for part in parts)

    def mean(name: str) -> float:
        return float(sum(getattr(part, name) * part.rows for part in parts)) / rows

    return Difference(
        rows=rows,
        kl_t1=mean("kl_t1"),
        kl_t4=mean("kl_t4"),
        top1_disagreement=mean("top1_disagreement"),
        mean_abs_difference=mean("mean_abs_difference"),
        max_abs_difference=max(part.max_abs_difference for part in parts),
    )


def _measure_block(reference: NDArray[np.float64], other: NDArray[np.float64]) -> Difference:
    apart = np.abs(reference - other)
    changed = reference.argmax(axis=1) != other.argmax(axis=1)
    return Difference(
        rows=len(reference),
        kl_t1=_kl(reference, other, 1.0),
        kl_t4=_kl(reference, other, 4.0),
        top1_disagreement=float(changed.mean()),
        mean_abs_difference=float(apart.mean()),
        max_abs_difference=float(apart.max()),
    )


def _kl(reference: NDArray[np.float64], other: NDArray[np.float64], temperature: float) -> float:
    log_p, log_q = _log_softmax(reference / temperature), _log_softmax(other / temperature)
    divergence = (np.exp(log_p) * (log_p - log_q)).sum(axis=1).mean()
    return max(0.0, float(divergence))  # rounding may leave it a hair below


def _log_softmax(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    shifted = scores - scores.max(axis=1, keepdims=True)
    result: NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return result
