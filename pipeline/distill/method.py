"""method."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from pipeline.losses.registry import check_options, needs_features, own_code_sha256, resolve
from pipeline.training.loop import LossFunction
from pipeline.views.batches import Batch


@dataclass(frozen=True)
class Method:
    """One entry of `methods`: a loss (a name of LOSSES, or a dotted path) and its hyper-parameters."""

    name: str
    loss: str
    options: dict[str, Any]

    @classmethod
    def parse(cls, name: str, entry: dict[str, Any]) -> "Method":
        """Read an entry. Raises ValueError where the loss or a hyper-parameter is wrong."""
        if "loss" not in entry:
            raise ValueError("loss: missing; expected the name of a loss")
        options = {key: value for key, value in entry.items() if key != "loss"}
        check_options(entry["loss"], options)
        return cls(name, entry["loss"], options)

    @property
    def needs_features(self) -> bool:
        """Whether the loss reads the teacher's features."""
        return needs_features(self.loss)

    def facts(self) -> dict[str, Any]:
        """What a record says of the method."""
        return {"name": self.name, "loss": self.loss, **self.options}

    def source_sha256(self) -> str | None:
        """sha256 of the code of a user's own loss; None for a built-in one."""
        return own_code_sha256(self.loss)

    def loss_function(self) -> LossFunction:
        """The loss as the training loop calls it."""
        function: Callable[..., Tensor] = resolve(self.loss)

        def compute(logits: Tensor, features: Tensor, batch: Batch, epoch: Tensor) -> Tensor:
            teacher = batch.teacher_logits, batch.teacher_features
            assert teacher[0] is not None
            return function(logits, features, *teacher, batch.targets, epoch, **self.options)

        return compute
