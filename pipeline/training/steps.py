"""What the steps of an epoch share besides their batches, in memory that stays where it is.

A step finds the images' order, its learning rate and its own number on the device and leaves its loss
there, so that it can be recorded once and replayed without the host (`graphs`).
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn


class StepTables:
    """The tables of one epoch, and where in them the current step is.

    Attributes:
        learning_rate: f4 [1], the current step's; what the optimiser reads.
        losses: f4 [S], of the steps that are done.
    """

    def __init__(self, images: int, steps: int, device: torch.device) -> None:
        self._order = torch.zeros(images, dtype=torch.int64, device=device)
        self._rates = torch.zeros(steps, device=device)
        self._progress = torch.zeros(steps, device=device)
        self._offsets = torch.arange(images, device=device)
        self._images_done = torch.zeros(1, dtype=torch.int64, device=device)
        self._step = torch.zeros(1, dtype=torch.int64, device=device)
        self.learning_rate = torch.zeros(1, device=device)
        self.losses = torch.zeros(steps, device=device)

    def start(
        self, order: NDArray[np.int64], rates: Sequence[float], progress: Sequence[float]
    ) -> None:
        """Begin an epoch: order i8 [N] of the images; rate and progress of each of the S steps."""
        self._order.copy_(torch.from_numpy(order))
        self._rates.copy_(torch.tensor(rates))
        self._progress.copy_(torch.tensor(progress))
        self._images_done.zero_()
        self._step.zero_()

    def begin_step(self, size: int) -> tuple[Tensor, Tensor]:
        """Make a step the current one.

        Returns the rows of its images, i8 [size], and its progress in epochs, f4 [].
        """
        torch.index_select(self._rates, 0, self._step, out=self.learning_rate)
        rows = self._order.index_select(0, self._offsets[:size] + self._images_done)
        return rows, self._progress.index_select(0, self._step)[0]

    def end_step(self, size: int, loss: Tensor) -> None:
        """Keep the current step's loss, a scalar, and go on to the next step."""
        self.losses.index_copy_(0, self._step, loss.detach().view(1).to(self.losses.dtype))
        self._images_done += size
        self._step += 1

    def state(self) -> list[Tensor]:
        """What steps change."""
        return [self._images_done, self._step, self.learning_rate, self.losses]


def sgd(
    network: nn.Module, learning_rate: Tensor, *, momentum: float, weight_decay: float
) -> torch.optim.SGD:
    """SGD that reads its learning rate, f4 [1], from memory in each step.

    Its momentum is there from the start, zero: the first step then gives the bits that it would
    give without.
    """
    parameters = list(network.parameters())
    optimiser = torch.optim.SGD(
        parameters, lr=learning_rate, momentum=momentum, weight_decay=weight_decay, fused=True
    )
    if momentum:
        for parameter in parameters:
            optimiser.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
    return optimiser


class NormCounters:
    """The batches that batch normalisations have seen, counted an epoch at a time.

    Nothing reads `num_batches_tracked` (all of our norms have a fixed momentum), but each costs an
    operation in every step.
    """

    def __init__(self, network: nn.Module) -> None:
        self._counters: dict[nn.BatchNorm2d, Tensor] = {
            module: module.num_batches_tracked
            for module in network.modules()
            if isinstance(module, nn.BatchNorm2d)
            and module.num_batches_tracked is not None
            and module.momentum is not None
        }

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Nothing is counted inside."""
        for norm in self._counters:
            norm.num_batches_tracked = None
        try:
            yield
        finally:
            for norm, counter in self._counters.items():
                norm.num_batches_tracked = counter

    def advance(self, batches: int) -> None:
        """Count batches that were not counted."""
        for counter in self._counters.values():
            counter += batches
