"""Likelihood and calibration on the scale that a method trains, before and after a temperature.

A loss that rescales the logits says nothing of their raw scale, so NLL, ECE and KL are taken of the
method's own scaled logits (`losses.scaled_logits`), then again after dividing them by the temperature
that minimises the NLL of a fixed sample of clean training images. No temperature is fitted on the
images that are evaluated on.
"""

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.losses.registry import SCALES, scaled_logits
from pipeline.results.metrics import TEMPERATURE_BOUNDS, ece, fit_temperature, kl_divergence, nll
from pipeline.results.samples import TrainSample

ECE_BINS = 15

Logits = NDArray[np.float32]


def own_scale(loss: str | None, logits: Logits) -> Logits:
    """Logits [n, C] on the scale on which a loss takes probabilities of them; None: hard labels."""
    if loss not in SCALES:
        return logits
    scaled: Logits = scaled_logits(loss, torch.from_numpy(logits)).numpy()
    return scaled


def fitted_temperature(loss: str | None, sample: TrainSample | None) -> float | None:
    """The temperature that minimises the sample's NLL on a loss's scale.

    None without a sample, and where the best lies at a bound: where every image of the sample is
    right, none is best.
    """
    if sample is None:
        return None
    temperature = fit_temperature(own_scale(loss, sample.logits), sample.labels)
    low, high = TEMPERATURE_BOUNDS
    return temperature if 1.001 * low < temperature < high / 1.001 else None


def calibrate(
    loss: str | None,
    test: Logits,
    labels: NDArray[np.int32],
    *,
    teacher: Logits | None = None,
    temperature: float | None = None,
    teacher_temperature: float | None = None,
) -> dict[str, float]:
    """NLL and KL (nats) and ECE (fraction) of one network, as they are and after fitting.

    Names: nll, ece, kl, temperature, fitted_nll, fitted_ece, fitted_kl; what cannot be computed is left
    out. Both networks of a KL (teacher || student) are on the student's method's scale; fitted, each is
    divided by its own temperature.

    Args:
        test: f4 [N, C], with labels i4 [N]; teacher: f4 [N, C], the teacher's, if there is one.
        temperature, teacher_temperature: see `fitted_temperature`, both for this loss.
    """
    own = own_scale(loss, test)
    other = None if teacher is None else own_scale(loss, teacher)
    scores = {"nll": nll(own, labels), "ece": ece(own, labels, ECE_BINS)}
    if other is not None:
        scores["kl"] = kl_divergence(other, own)
    if temperature is None:
        return scores
    scores["temperature"] = temperature
    scores["fitted_nll"] = nll(own, labels, temperature)
    scores["fitted_ece"] = ece(own, labels, ECE_BINS, temperature)
    if other is not None and teacher_temperature is not None:
        scores["fitted_kl"] = kl_divergence(other / teacher_temperature, own / temperature)
    return scores
