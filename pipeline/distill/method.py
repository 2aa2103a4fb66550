"""What a student minimises, as the training loop calls it."""

from typing import Any

from torch import Tensor

from pipeline.distill.params import Method
from pipeline.losses.registry import bind, own_code_sha256
from pipeline.losses.signatures import check_options, needs_features
from pipeline.views.batches import Batch


class DistillationLoss:
    """A method's loss, handed what it asks for by name; a `BatchLoss`.

    Raises ValueError where the loss or a hyper-parameter is wrong.
    """

    def __init__(self, method: Method) -> None:
        check_options(method.loss, method.options)
        self.method = method
        self.needs_features = needs_features(method.loss)
        self._loss = bind(method.loss)

    def __call__(self, logits: Tensor, features: Tensor, batch: Batch, epoch: Tensor) -> Tensor:
        """Student logits f4 [B, C], features f4 [B, D], batch, progress in epochs [] -> scalar, nats."""
        given = {
            "student_logits": logits,
            "student_features": features,
            "teacher_logits": batch.teacher_logits,
            "teacher_features": batch.teacher_features,
            "targets": batch.targets,
            "epoch": epoch,
        }
        return self._loss(given, **self.method.options)

    def facts(self) -> dict[str, Any]:
        """All that its value follows from; of the user's own loss, the sha256 of its code."""
        digest = own_code_sha256(self.method.loss)
        return {"loss": self.method.loss, "options": self.method.options, "own_code": digest}
