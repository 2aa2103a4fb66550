"""Losses on logits divided by the standard deviation of each image's logits: `rescaled` and `zscore`."""

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from pipeline.losses.hinton import kd_soft_only, kl_divergence

# The square of a smaller standard deviation is not a normal float32.
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
    gradient flows through the student's. A row with standard deviation 0 (its logits are equal, or differ
    so little that float32 cannot hold the square) is not divided: it counts as uniform, and its gradient
    is that of unscaled logits. So value and gradient are finite for every finite row.

    Choi et al., "Understanding the Role of Mixup in Knowledge Distillation", WACV 2023.

    >>> student = Tensor([[1.0, 2.0, 3.0]])  # the teacher's logits differ in scale and shift only
    >>> rescaled(student, 10 * student - 7, Tensor([[0.0, 0.0, 1.0]]), gamma=0.0, alpha=1.0).abs() < 1e-6
    tensor(True)
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
    image; T is the authors' base temperature. std is unbiased, as in their code (the paper has the
    population's, which is smaller by 0.5 % at 100 classes).

    Sun et al., "Logit Standardization in Knowledge Distillation", CVPR 2024, algorithms 1 and 2.
    """
    student, teacher = standardised(student_logits), standardised(teacher_logits)
    soft = kd_soft_only(student, teacher, temperature=temperature)
    return gamma * cross_entropy(student_logits, targets) + alpha * soft


def unit_deviation(logits: Tensor) -> Tensor:
    """Divide each row of [B,C] by its unbiased standard deviation, unless that is below 1e-19.

    >>> unit_deviation(torch.tensor([[1.0, 2.0, 3.0], [0.0, 4.0, 8.0], [5.0, 5.0, 5.0]]))
    tensor([[1., 2., 3.],
            [0., 1., 2.],
            [5., 5., 5.]])
    """
    scaled = within_range(logits)
    deviation = scaled.std(dim=1, keepdim=True)
    # Rounding may give equal logits a deviation above 0. Where it is 0, torch's gradient of it is 0 too.
    least, most = logits.detach().aminmax(dim=1, keepdim=True)
    flat = (deviation < NO_DEVIATION) | (least == most)
    return torch.where(flat, logits, scaled / deviation.masked_fill(flat, 1.0))


def standardised(logits: Tensor) -> Tensor:
    """Shift and scale each row of [B,C] to mean 0 and unbiased standard deviation 1; equal logits to 0.

    >>> standardised(torch.tensor([[1.0, 2.0, 3.0], [5.0, 5.0, 5.0]])).round(decimals=3)
    tensor([[-1.,  0.,  1.],
            [ 0.,  0.,  0.]])
    """
    # One quotient for each use: a gradient is then summed in the order of the plain formula, bit for bit.
    mean = within_range(logits).mean(dim=1, keepdim=True)
    centred = within_range(logits) - mean
    return centred / (within_range(logits).std(dim=1, keepdim=True) + 1e-7)


def within_range(logits: Tensor) -> Tensor:
    """Divide rows of [B,C] whose squares would overflow by their largest logit; others are unchanged.

    Only for functions that do not depend on the scale of a row: the divisor has no gradient.
    """
    largest = logits.detach().abs().amax(dim=1, keepdim=True)
    return logits / largest.masked_fill(largest < HUGE, 1.0)
