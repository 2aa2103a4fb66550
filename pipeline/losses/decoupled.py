"""Decoupled knowledge distillation (`dkd`), with a rule for mixed targets."""

import math

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, log_softmax

EXCLUDED = -1e37


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

    For an image of class c, at temperature T: TCKD is the KL divergence between the teacher's and the
    student's (probability of c, probability of all others); NCKD is the KL divergence between their
    distributions over the other classes, without c. w = min(1, k / warmup_epochs) in the k-th epoch
    (k from 1), as the authors count.

    The paper does not define the loss for mixed targets. We make it linear in the targets, as
    cross-entropy is: an image of class a with weight lam and class b with weight 1 - lam has lam times
    the TCKD and NCKD of class a plus (1 - lam) times those of class b, each with the other class among
    its "others". For one-hot targets this is exactly the paper's loss, and the loss is continuous in
    lam. Only the two largest targets of a row are used.

    Zhao et al., "Decoupled Knowledge Distillation", CVPR 2022, equations 6 and 7.

    >>> student, teacher, targets = Tensor([[0, 0, 0]]), Tensor([[1, 0, 2]]), Tensor([[1, 0, 0]])
    >>> options = {"temperature": 1.0, "gamma": 0.0, "alpha": 0.0, "warmup_epochs": 20.0}
    >>> dkd(student, teacher, targets, 3.5, beta=1.0, **options)  # NCKD alone, in the fourth of 20 epochs
    tensor(0.0656)
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
    # Finite, so that 0 * (log q - log p) of the excluded class is 0 and not NaN; and far below all logits,
    # also at a low temperature.
    others = logits.masked_fill(is_class, EXCLUDED)
    total = logits.logsumexp(dim=1, keepdim=True)
    pair = (logits.gather(1, classes) - total, others.logsumexp(dim=1, keepdim=True) - total)
    return torch.cat(pair, dim=1), log_softmax(others, dim=1)


def _warmup(epoch: float | Tensor, warmup_epochs: float) -> float | Tensor:
    if warmup_epochs == 0:
        return 1.0
    if isinstance(epoch, Tensor):  # on the device
        return ((epoch.floor() + 1) / warmup_epochs).clamp(max=1)
    return min((math.floor(epoch) + 1) / warmup_epochs, 1.0)
