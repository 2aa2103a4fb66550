"""Where a training stands, told a few times a second."""

import time
from collections.abc import Callable

from torch import Tensor

from pipeline.training.loop import Trainer
from pipeline.training.progress import Tick

TICK_SECONDS = 0.25


class StepReporter:
    """Turns training steps into ticks, a few a second, so that reading the loss costs nothing."""

    def __init__(self, name: str, trainer: Trainer, report: Callable[[Tick], None]) -> None:
        self.name, self.report = name, report
        self.total = trainer.params.epochs * trainer.batches.count
        self.first: int | None = None
        self.images = 0
        self.last = 0.0

    def __call__(self, trainer: Trainer, loss: Tensor) -> None:
        """Called after each step."""
        done = trainer.epoch * trainer.batches.count + trainer.images_in_epoch
        if self.first is None:  # a resumed run starts later than at the first image
            self.first = trainer.epoch * trainer.batches.count
        self.images = done - self.first
        now = time.monotonic()
        if now - self.last < TICK_SECONDS:
            return
        self.last = now
        self.report(self.tick(trainer, loss.item()))

    def tick(self, trainer: Trainer, loss: float) -> Tick:
        """Where training stands, with the given loss."""
        seen = [a for a in trainer.curves.test_top1_accuracy if a == a]
        accuracy = f" accuracy {seen[-1]:.2%}" if seen else ""
        done = trainer.epoch * trainer.batches.count + trainer.images_in_epoch
        return Tick(self.name, done, self.total, f"loss {loss:.3f}{accuracy}")
