"""Parameters of training: the section `training` and its schedule."""

import math
from typing import Annotated, Literal

from pydantic import Field

from pipeline.core.params import Fraction, checked

BatchStatistics = Literal["synchronised", "own", "averaged"]


@checked
class Schedule:
    """How the learning rate changes over training.

    `step` multiplies it by `factor` after each of the `milestones`; `cosine` lets it fall to zero along half
    a cosine; `one_cycle` raises it linearly from a twenty-fifth over `warmup` and then lets it fall along
    half a cosine.
    """

    name: Literal["step", "cosine", "one_cycle"]
    milestones: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        default=(), description="of step: epochs after which the learning rate falls; they increase"
    )
    factor: Fraction = Field(
        default=0.1, description="of step: what the learning rate is multiplied by"
    )
    warmup: Fraction = Field(
        default=0.25, description="of one_cycle: part of training in which it rises"
    )

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


@checked
class TrainingParams:
    """The recipe of a training run: the section `training` of params.yaml, or a part of it per entry."""

    epochs: int = Field(ge=1, description="passes over the training set")
    batch_size: int = Field(ge=2, description="images of a step; the last batch may be smaller")
    learning_rate: float = Field(gt=0, description="of SGD, at its peak")
    momentum: Fraction = Field(description="of SGD, Nesterov's not")
    weight_decay: float = Field(
        ge=0, description="of SGD: this part of each weight joins its gradient"
    )
    schedule: Schedule
    evaluate_every: int = Field(
        default=1,
        ge=1,
        description="epochs between two looks at the test accuracy (the last epoch is always looked at; "
        "nothing is selected by it)",
    )
    precision: Literal["float32", "bfloat16"] = Field(
        default="float32",
        description="of forward and backward passes; weights and losses stay float32",
    )
    batch_statistics: BatchStatistics = Field(
        default="synchronised",
        description="of a network on several processes (torchrun): what batch normalisation sees, all images "
        "of a batch, or each process its own part (running statistics those of the first, or averaged); of "
        "no effect on one process",
    )

    def __post_init__(self) -> None:
        late = [milestone for milestone in self.schedule.milestones if milestone >= self.epochs]
        if late:
            raise ValueError(
                f"schedule.milestones {late} lie beyond the {self.epochs} epochs of training"
            )
