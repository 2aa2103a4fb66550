"""The loss of a distillation method, as the training loop calls it."""

from typing import Any

from torch import Tensor

from pipeline.distill.params import Method
from pipeline.losses.registry import bind, own_code_sha256
from pipeline.losses.signatures import check_options, needs_features
from pipeline.views.batches import Batch


class DistillationLoss:
    """The loss of a method, as a `BatchLoss`. Raises ValueError for a wrong loss or hyper-parameter.

    >>> method = Method("soft", "kd_soft_only", {"temperature": 4.0})
    >>> DistillationLoss(method).facts()
    {'loss': 'kd_soft_only', 'options': {'temperature': 4.0}, 'own_code': None}
    """

    def __init__(self, method: Method) -> None:
        check_options(method.loss, method.options)
        self.method = method
        self.needs_features = needs_features(method.loss)
        self._loss = bind(method.loss)

    def __call__(self, logits: Tensor, features: Tensor, batch: Batch, epoch: Tensor) -> Tensor:
        """Student logits f4 [B, C], features f4 [B, D], batch, progress in epochs [] -> scalar, nats."""
        inputs = {
            "student_logits": logits,
            "student_features": features,
            "teacher_logits": batch.teacher_logits,
            "teacher_features": batch.teacher_features,
            "targets": batch.targets,
            "epoch": epoch,
        }
        return self._loss(inputs, **self.method.options)

    def facts(self) -> dict[str, Any]:
        """Everything that determines its value; for the user's own loss, the sha256 of its code."""
        digest = own_code_sha256(self.method.loss)
        return {"loss": self.method.loss, "options": self.method.options, "own_code": digest}
