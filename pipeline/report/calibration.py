"""Likelihood and calibration on the scale that a method trains, before and after a temperature.

A loss that rescales the logits says nothing of their raw scale, so NLL, ECE and KL are taken of the
method's own scaled logits (`losses.scaled_logits`), then again after dividing them by the temperature
that minimises the NLL of a fixed sample of clean training images. No temperature is fitted on the
images that are evaluated on.
"""

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.losses import SCALES, scaled_logits
from pipeline.metrics import TEMPERATURE_BOUNDS, ece, fit_temperature, kl_divergence, nll
from pipeline.report.runs import TrainSample

ECE_BINS = 15

Logits = NDArray[np.float32]


def own_scale(loss: str | None, logits: Logits) -> Logits:
    """Logits [n, C] on the scale on which a loss takes probabilities of them; None: hard labels."""
    if loss not in SCALES:
        return logits
    scaled: Logits = scaled_logits(loss, torch.from_numpy(logits)).numpy()
    return scaled


def calibrate(
    loss: str | None,
    test: Logits,
    labels: NDArray[np.int32],
    *,
    teacher: Logits | None = None,
    sample: TrainSample | None = None,
    teacher_sample: TrainSample | None = None,
) -> dict[str, float]:
    """NLL and KL (nats) and ECE (fraction) of one network, as they are and after fitting.

    Names: nll, ece, kl, temperature, fitted_nll, fitted_ece, fitted_kl. Both networks of a KL
    (teacher || student) are on the student's method's scale; after fitting, each is divided by a
    temperature of its own. What cannot be computed is left out, and so is a temperature at a bound:
    where every image of the sample is right, none is best.

    Args:
        test: f4 [N, C], with labels i4 [N]; teacher: f4 [N, C], the teacher's, if there is one.
        sample, teacher_sample: of the training images.
    """
    own = own_scale(loss, test)
    found = {"nll": nll(own, labels), "ece": ece(own, labels, ECE_BINS)}
    scaled_teacher = None if teacher is None else own_scale(loss, teacher)
    if scaled_teacher is not None:
        found["kl"] = kl_divergence(scaled_teacher, own)
    temperature = _fit(loss, sample)
    if temperature is None:
        return found
    found["temperature"] = temperature
    found["fitted_nll"] = nll(own, labels, temperature)
    found["fitted_ece"] = ece(own, labels, ECE_BINS, temperature)
    teacher_temperature = _fit(loss, teacher_sample)
    if scaled_teacher is not None and teacher_temperature is not None:
        found["fitted_kl"] = kl_divergence(scaled_teacher / teacher_temperature, own / temperature)
    return found


def _fit(loss: str | None, sample: TrainSample | None) -> float | None:
    if sample is None:
        return None
    temperature = fit_temperature(own_scale(loss, sample.logits), sample.labels)
    low, high = TEMPERATURE_BOUNDS
    return temperature if 1.001 * low < temperature < high / 1.001 else None
