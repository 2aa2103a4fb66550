"""Losses on logits as they are: Hinton's `kd`, its soft part alone, and `mse`."""

from torch import Tensor
from torch.nn.functional import cross_entropy, kl_div, log_softmax, mse_loss


def kl_divergence(teacher_logits: Tensor, student_logits: Tensor) -> Tensor:
    """KL(teacher || student): sum over classes, mean over the batch; nats."""
    teacher, student = log_softmax(teacher_logits, dim=1), log_softmax(student_logits, dim=1)
    return kl_div(student, teacher, reduction="batchmean", log_target=True)


def kd(
    student_logits: Tensor,
    teacher_logits: Tensor,
    targets: Tensor,
    *,
    temperature: float,
    gamma: float,
    alpha: float,
) -> Tensor:
    """gamma * CE(s, y) + alpha * T^2 * KL(t/T || s/T).

    Hinton, Vinyals, Dean, "Distilling the Knowledge in a Neural Network", 2015.
    """
    soft = temperature**2 * kl_divergence(
        teacher_logits / temperature, student_logits / temperature
    )
    return gamma * cross_entropy(student_logits, targets) + alpha * soft


def kd_soft_only(
    student_logits: Tensor,
    teacher_logits: Tensor,
    *,
    temperature: float,
) -> Tensor:
    """T^2 * KL(t/T || s/T): `kd` without the labels."""
    return temperature**2 * kl_divergence(
        teacher_logits / temperature, student_logits / temperature
    )


def mse(
    student_logits: Tensor,
    teacher_logits: Tensor,
    targets: Tensor,
    *,
    gamma: float,
    alpha: float,
) -> Tensor:
    """gamma * CE(s, y) + alpha * mean over classes and batch of (s - t)^2.

    The mean over classes is the authors' reduction, and twice the limit of T^2 * KL(t/T || s/T)
    for a large T where both rows of logits have mean zero.

    Kim et al., "Comparing Kullback-Leibler Divergence and Mean Squared Error Loss in Knowledge
    Distillation", IJCAI 2021.
    """
    matching = mse_loss(student_logits, teacher_logits)
    return gamma * cross_entropy(student_logits, targets) + alpha * matching
