"""Losses on unscaled logits: Hinton's `kd`, its soft part alone, and `mse`."""

from torch import Tensor
from torch.nn.functional import cross_entropy, kl_div, log_softmax, mse_loss


def kl_divergence(teacher_logits: Tensor, student_logits: Tensor) -> Tensor:
    """KL(teacher || student): sum over classes, mean over the batch; nats.

    >>> kl_divergence(Tensor([[0.0, 0.0], [1.0, 1.0]]), Tensor([[0.0, 0.0], [0.0, 2.0]]))
    tensor(0.2169)
    """
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

    >>> logits = Tensor([[0.0, 0.0]])
    >>> kd(logits, logits, Tensor([[1.0, 0.0]]), temperature=4.0, gamma=1.0, alpha=1.0)
    tensor(0.6931)
    """
    soft = kd_soft_only(student_logits, teacher_logits, temperature=temperature)
    return gamma * cross_entropy(student_logits, targets) + alpha * soft


def kd_soft_only(student_logits: Tensor, teacher_logits: Tensor, *, temperature: float) -> Tensor:
    """T^2 * KL(t/T || s/T): `kd` without the labels.

    >>> kd_soft_only(Tensor([[0.0, 0.0]]), Tensor([[4.0, 0.0]]), temperature=2.0)
    tensor(1.3113)
    """
    teacher, student = teacher_logits / temperature, student_logits / temperature
    return temperature**2 * kl_divergence(teacher, student)


def mse(
    student_logits: Tensor,
    teacher_logits: Tensor,
    targets: Tensor,
    *,
    gamma: float,
    alpha: float,
) -> Tensor:
    """gamma * CE(s, y) + alpha * mean over classes and batch of (s - t)^2.

    The mean over classes is the authors' reduction. If both rows of logits have mean zero, it is twice the
    limit of T^2 * KL(t/T || s/T) for large T.

    >>> logits = Tensor([[1.0, -1.0]])
    >>> mse(logits, logits + 2, Tensor([[1.0, 0.0]]), gamma=0.0, alpha=1.0)
    tensor(4.)

    Kim et al., "Comparing Kullback-Leibler Divergence and Mean Squared Error Loss in Knowledge
    Distillation", IJCAI 2021.
    """
    matching = mse_loss(student_logits, teacher_logits)
    return gamma * cross_entropy(student_logits, targets) + alpha * matching
