"""Losses on relations between the images of a batch: `dist` (on logits) and `rkd` (on features).

The loss of a batch is therefore not the mean of the losses of its rows.
"""

import torch
from torch import Tensor
from torch.linalg import vector_norm
from torch.nn.functional import cross_entropy, smooth_l1_loss

# Guards divisions by the norm of a constant row (as in the authors' code) and by a mean distance of 0.
EPSILON = 1e-8
# The square of a smaller distance is not a normal float32.
NO_DISTANCE = 1.1e-19


def dist(
    student_logits: Tensor,
    teacher_logits: Tensor,
    targets: Tensor,
    *,
    temperature: float,
    gamma: float,
    inter: float,
    intra: float,
) -> Tensor:
    """gamma * CE + T^2 * (inter * inter-class + intra * intra-class relation).

    With Y = softmax(logits / T), the inter-class relation is the mean over images of 1 -
    Pearson(student's row of Y, teacher's row), and the intra-class relation is the same for columns, a
    mean over classes. `inter` and `intra` are the paper's beta and gamma; T^2 is in the
    released code, not in the paper's listing.

    Huang et al., "Knowledge Distillation from A Stronger Teacher", NeurIPS 2022, equations 6 to 10.
    """
    student = torch.softmax(student_logits / temperature, dim=1)
    teacher = torch.softmax(teacher_logits / temperature, dim=1)
    inter_class = 1 - pearson(student, teacher).mean()
    intra_class = 1 - pearson(student.T, teacher.T).mean()
    relations = inter * inter_class + intra * intra_class
    return gamma * cross_entropy(student_logits, targets) + temperature**2 * relations


def pearson(a: Tensor, b: Tensor) -> Tensor:
    """Pearson's correlation of each row of a [R, C] with the same row of b; [R], in [-1, 1].

    >>> pearson(torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[6.0, 4.0, 2.0]])).round(decimals=4)
    tensor([-1.])
    """
    a = a - a.mean(dim=1, keepdim=True)
    b = b - b.mean(dim=1, keepdim=True)
    correlation: Tensor = (a * b).sum(dim=1) / (
        vector_norm(a, dim=1) * vector_norm(b, dim=1) + EPSILON
    )
    return correlation


def rkd(
    student_logits: Tensor,
    student_features: Tensor,
    teacher_features: Tensor,
    targets: Tensor,
    *,
    gamma: float,
    distance: float,
    angle: float,
) -> Tensor:
    """gamma * CE + distance * distance-wise + angle * angle-wise loss, on penultimate features.

    Distance-wise: the Huber loss (delta 1) between the students' and the teacher's Euclidean
    distances of all pairs of images, each divided by its mean over the pairs that differ.
    Angle-wise: the same for the cosines of the angles of all triples. Means are over all ordered pairs
    and triples of the batch, including those with the same image twice, as in the authors' code. Student
    and teacher may have different numbers of features.

    Park et al., "Relational Knowledge Distillation", CVPR 2019, equations 4 to 9.
    """
    student_distances, student_cosines = _geometry(student_features)
    teacher_distances, teacher_cosines = _geometry(teacher_features)
    distances = smooth_l1_loss(student_distances, teacher_distances)
    angles = smooth_l1_loss(student_cosines, teacher_cosines)
    return gamma * cross_entropy(student_logits, targets) + distance * distances + angle * angles


def _geometry(features: Tensor) -> tuple[Tensor, Tensor]:
    """Relative distances of all pairs [B,B], and cosines of the angles at each image [B,B,B]."""
    # Norms of differences, because |a|^2 + |b|^2 - 2ab loses its digits in float32. No boolean indexing:
    # its result has no fixed size, which a CUDA graph needs.
    differences = features[None, :, :] - features[:, None, :]
    distances = vector_norm(differences, dim=2)
    mean = distances.sum() / (distances > 0).sum().clamp(min=1)
    # The direction between equal features is undefined; dividing by 1 keeps the gradient finite.
    directions = differences / distances.masked_fill(distances < NO_DISTANCE, 1.0)[:, :, None]
    cosines = directions @ directions.transpose(1, 2)
    return distances / mean.clamp(min=EPSILON), cosines
