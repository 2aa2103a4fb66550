"""Decoupled knowledge distillation (`dkd`), with a rule for mixed targets."""

import math

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, log_softmax

TAKEN_OUT = -1e37


def dkd(
    student_logits: Tensor,
    teacher_logits: Tensor,
    targets: Tensor,
    epoch: float | Tensor,
    *,
    temperature: float,
    gamma: float,
    alpha: float,
    beta: float,
    warmup_epochs: float,
) -> Tensor:
    """gamma * CE(s, y) + w * T^2 * (alpha * TCKD + beta * NCKD).

    For an image of class c, at temperature T: TCKD is the KL divergence between the teacher's and
    the student's (probability of c, probability of all others); NCKD the one between their
    distributions over the other classes, with c taken out. w = min(1, k / warmup_epochs) in the
    k-th epoch (k from 1), as the authors count.

    With mixed targets the paper defines nothing. Our rule is that of cross-entropy, which is
    linear in the targets: an image that is class a by lam and class b by 1 - lam has lam times the
    TCKD and NCKD of class a plus (1 - lam) times those of class b, each with the other class among
    its "others". One-hot targets give exactly the paper's loss, and the loss is continuous in lam.
    Only the two largest targets of a row are looked at.

    Zhao et al., "Decoupled Knowledge Distillation", CVPR 2022, equations 6 and 7.
    """
    student, teacher = student_logits / temperature, teacher_logits / temperature
    weights, classes = targets.topk(2, dim=1)
    first, second = (
        weights[:, k] * _decoupled(student, teacher, classes[:, k : k + 1], alpha, beta)
        for k in (0, 1)
    )
    soft = _warmup(epoch, warmup_epochs) * temperature**2 * (first + second).mean()
    return gamma * cross_entropy(student_logits, targets) + soft


def _decoupled(
    student: Tensor, teacher: Tensor, classes: Tensor, alpha: float, beta: float
) -> Tensor:
    """alpha * TCKD + beta * NCKD of each image [B], for its class (classes: i8 [B,1])."""
    student_target, student_others = _split(student, classes)
    teacher_target, teacher_others = _split(teacher, classes)
    tckd = (teacher_target.exp() * (teacher_target - student_target)).sum(dim=1)
    nckd = (teacher_others.exp() * (teacher_others - student_others)).sum(dim=1)
    return alpha * tckd + beta * nckd


def _split(logits: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
    """Log-probabilities of (class, all others) [B,2], and of each class among the others [B,C]."""
    is_class = torch.arange(logits.shape[1], device=logits.device) == classes
    # Finite, so that 0 * (log q - log p) of the class that is taken out is 0, not NaN; and far below
    # all logits, also those of a low temperature.
    others = logits.masked_fill(is_class, TAKEN_OUT)
    total = logits.logsumexp(dim=1, keepdim=True)
    pair = (logits.gather(1, classes) - total, others.logsumexp(dim=1, keepdim=True) - total)
    return torch.cat(pair, dim=1), log_softmax(others, dim=1)


def _warmup(epoch: float | Tensor, warmup_epochs: float) -> float | Tensor:
    if warmup_epochs == 0:
        return 1.0
    if isinstance(epoch, Tensor):  # progress that lives on the device
        return ((epoch.floor() + 1) / warmup_epochs).clamp(max=1)
    return min((math.floor(epoch) + 1) / warmup_epochs, 1.0)
