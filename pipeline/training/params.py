"""Parameters of training: the section `training`, its schedule, and where a value comes from."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pipeline.core.params import Above, AtLeast, Between


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """How the learning rate changes over training.

    `step` multiplies it by `factor` after each of the `milestones` (epochs); `cosine` lets it fall to
    zero along half a cosine; `one_cycle` raises it linearly from a twenty-fifth over the first `warmup`
    part of training and then lets it fall along half a cosine.
    """

    name: Literal["step", "cosine", "one_cycle"]
    milestones: tuple[Annotated[int, AtLeast(1)], ...] = ()
    factor: Annotated[float, Between(0, 1)] = 0.1
    warmup: Annotated[float, Between(0, 1)] = 0.25

    def __post_init__(self) -> None:
        if self.name == "step" and list(self.milestones) != sorted(set(self.milestones)):
            raise ValueError(f"milestones must increase, found {list(self.milestones)}")
        if self.name != "step" and self.milestones:
            raise ValueError(f"milestones belong to the step schedule, not to {self.name}")

    def multiplier(self, epoch: float, epochs: int) -> float:
        """Factor on the peak learning rate at a moment of training, in epochs from 0 to `epochs`."""
        if self.name == "step":
            return self.factor ** sum(epoch >= milestone for milestone in self.milestones)
        progress = epoch / epochs
        if self.name == "cosine":
            return (1 + math.cos(math.pi * progress)) / 2
        if progress < self.warmup:
            return 0.04 + 0.96 * progress / self.warmup
        fall = (progress - self.warmup) / (1 - self.warmup) if self.warmup < 1 else 1.0
        return (1 + math.cos(math.pi * fall)) / 2


@dataclass(frozen=True, kw_only=True)
class TrainingParams:
    """The recipe of a training run: the section `training` of params.yaml, or a part of it per entry.

    `evaluate_every` is the number of epochs between two looks at the test accuracy (the last epoch is
    always looked at; nothing is selected by it). `precision` is the type of the forward and backward
    passes; weights and losses stay float32.
    """

    epochs: Annotated[int, AtLeast(1)]
    batch_size: Annotated[int, AtLeast(2)]
    learning_rate: Annotated[float, Above(0)]
    momentum: Annotated[float, Between(0, 1)]
    weight_decay: Annotated[float, AtLeast(0)]
    schedule: Schedule
    evaluate_every: Annotated[int, AtLeast(1)] = 1
    precision: Literal["float32", "bfloat16"] = "float32"

    def __post_init__(self) -> None:
        late = [milestone for milestone in self.schedule.milestones if milestone >= self.epochs]
        if late:
            raise ValueError(
                f"schedule.milestones {late} lie beyond the {self.epochs} epochs of training"
            )


def source_key(entry: str, overrides: Mapping[str, Any], name: str) -> str:
    """The key of params.yaml that a value of an entry's recipe comes from: its own, or the shared one.

    Args:
        entry: its path, such as students.kd; overrides: its own `training`.
    """
    return f"{entry}.training.{name}" if name in overrides else f"training.{name}"
