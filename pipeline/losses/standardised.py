"""Losses on logits that each image's standard deviation has scaled: `rescaled` and `zscore`."""

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from pipeline.losses.hinton import kl_divergence

# The square of a deviation below this one is no normal float32.
NO_DEVIATION = 1.1e-19
# Sums of squares of larger numbers may overflow in float32.
HUGE = 2.0**48


def rescaled(
    student_logits: Tensor,
    teacher_logits: Tensor,
    targets: Tensor,
    *,
    gamma: float,
    alpha: float,
) -> Tensor:
    """gamma * CE(s', y) + alpha * KL(t' || s'), where z' = z / std(z).

    std is the unbiased standard deviation over the classes of one image, without an epsilon; the
    gradient flows through the student's. A row without deviation (its logits are equal, or float32
    cannot hold the square of what they differ by) is not divided: it counts as uniform, and its
    gradient is that of the logits as they are. So value and gradient are finite for every finite row.

    Choi et al., "Understanding the Role of Mixup in Knowledge Distillation", WACV 2023.
    """
    student, teacher = unit_deviation(student_logits), unit_deviation(teacher_logits)
    return gamma * cross_entropy(student, targets) + alpha * kl_divergence(teacher, student)


def zscore(
    student_logits: Tensor,
    teacher_logits: Tensor,
    targets: Tensor,
    *,
    temperature: float,
    gamma: float,
    alpha: float,
) -> Tensor:
    """gamma * CE(s, y) + alpha * T^2 * KL(Z(t)/T || Z(s)/T), with standardised logits Z.

    Z(z) = (z - mean(z)) / (std(z) + 1e-7). Mean and standard deviation are over the classes of one
    image; T is the authors' base temperature. std is unbiased, as in their code (the paper writes
    the population's, which is smaller by 0.5 % at 100 classes).

    Sun et al., "Logit Standardization in Knowledge Distillation", CVPR 2024, algorithms 1 and 2.
    """
    student, teacher = standardised(student_logits), standardised(teacher_logits)
    soft = temperature**2 * kl_divergence(teacher / temperature, student / temperature)
    return gamma * cross_entropy(student_logits, targets) + alpha * soft


def unit_deviation(logits: Tensor) -> Tensor:
    """Divide each row of [B,C] by its unbiased standard deviation, if it has one.

    A row whose deviation is below 1e-19 stays as it is: equal logits, or nearly so, are uniform.
    """
    scaled = within_range(logits)
    deviation = scaled.std(dim=1, keepdim=True)
    # Equal logits may have a deviation, of rounding. Where it is 0, so is its gradient in torch.
    least, most = logits.detach().aminmax(dim=1, keepdim=True)
    flat = (deviation < NO_DEVIATION) | (least == most)
    return torch.where(flat, logits, scaled / deviation.masked_fill(flat, 1.0))


def standardised(logits: Tensor) -> Tensor:
    """Shift and scale each row of [B,C] to mean 0 and unbiased standard deviation 1; equal logits to 0."""
    logits = within_range(logits)
    centred = logits - logits.mean(dim=1, keepdim=True)
    return centred / (logits.std(dim=1, keepdim=True) + 1e-7)


def within_range(logits: Tensor) -> Tensor:
    """Rows of [B,C] whose squares would overflow, divided by their largest; all others as they are.

    Only for what does not depend on a row's scale: the divisor passes no gradient.
    """
    largest = logits.detach().abs().amax(dim=1, keepdim=True)
    return logits / largest.masked_fill(largest < HUGE, 1.0)
