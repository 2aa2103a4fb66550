"""What a step needs besides its batch and its network, in device memory that stays in place.

A step reads the order of the images, its learning rate and its own number on the device and leaves its
loss there. It can therefore be recorded once and replayed without the host (`graphs`).
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn


def batch_sizes(images: int, batch_size: int) -> list[int]:
    """The batch size of each step of an epoch; the last step takes the remaining images.

    A single remaining image is left out: batch normalisation has no variance to work with.

    >>> batch_sizes(200, 64)
    [64, 64, 64, 8]
    >>> batch_sizes(129, 64)
    [64, 64]
    """
    whole, rest = divmod(images, batch_size)
    return [batch_size] * whole + [rest] * (rest > 1 or (rest and not whole))


class StepTables:
    """The tables of one epoch of N images in S steps, and the position of the current step in them.

    Attributes:
        learning_rate: f4 [1], of the current step; the optimiser reads it.
        losses: f4 [S], of the finished steps, nats.
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
        """Begin an epoch: the order of the images, i8 [N]; learning rate and progress of each step."""
        self._order.copy_(torch.from_numpy(order))
        self._rates.copy_(torch.tensor(rates))
        self._progress.copy_(torch.tensor(progress))
        self._images_done.zero_()
        self._step.zero_()

    def begin_step(self, size: int) -> tuple[Tensor, Tensor]:
        """Set the learning rate of the current step.

        Returns the rows of its images, i8 [size], and the progress of training in epochs, f4 [].
        """
        torch.index_select(self._rates, 0, self._step, out=self.learning_rate)
        rows = self._order.index_select(0, self._offsets[:size] + self._images_done)
        return rows, self._progress.index_select(0, self._step)[0]

    def end_step(self, size: int, loss: Tensor) -> None:
        """Store the loss of the current step, a scalar, and move on to the next step."""
        self.losses.index_copy_(0, self._step, loss.detach().view(1).to(self.losses.dtype))
        self._images_done += size
        self._step += 1

    def state(self) -> list[Tensor]:
        """The tensors that a step changes."""
        return [self._images_done, self._step, self.learning_rate, self.losses]


def step_seeds(seed: int, epoch: int, steps: int) -> list[int]:
    """A seed for each step of an epoch, of what a network or a loss draws in it.

    >>> step_seeds(seed=0, epoch=3, steps=2)
    [2613022947, 1532590702]
    """
    return [int(number) for number in np.random.SeedSequence((seed, epoch)).generate_state(steps)]


def seed_draws(seed: int, device: torch.device) -> None:
    """Seed torch's generators of the CPU and of a device; `torch.manual_seed` takes a hundred times as long.

    It looks at every kind of device.
    """
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)


def sgd(
    network: nn.Module, learning_rate: Tensor, *, momentum: float, weight_decay: float
) -> torch.optim.SGD:
    """SGD that reads its learning rate, f4 [1], from memory in each step.

    Its momentum is allocated here, as zeros, so that recorded steps find it in place; the first step
    has the same bits either way.
    """
    parameters = list(network.parameters())
    optimiser = torch.optim.SGD(
        parameters, lr=learning_rate, momentum=momentum, weight_decay=weight_decay, fused=True
    )
    if momentum:
        for parameter in parameters:
            optimiser.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
    return optimiser


def momentum_buffers(optimiser: torch.optim.SGD, network: nn.Module) -> dict[str, Tensor]:
    """An optimiser's momentum, by the names of the weights; empty without momentum.

    >>> layer = nn.Linear(2, 1)
    >>> optimiser = sgd(layer, torch.tensor([0.1]), momentum=0.9, weight_decay=0.0)
    >>> momentum_buffers(optimiser, layer)
    {'weight': tensor([[0., 0.]]), 'bias': tensor([0.])}
    """
    states = ((name, optimiser.state.get(p)) for name, p in network.named_parameters())
    return {name: state["momentum_buffer"] for name, state in states if state}


class NormCounters:
    """Counts the batches of batch normalisation once per epoch instead of once per step.

    Nothing reads `num_batches_tracked` (the momentum of all our norms is fixed), but each of them costs
    an operation in every step.
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
        """Inside, no batch is counted."""
        for norm in self._counters:
            norm.num_batches_tracked = None
        try:
            yield
        finally:
            for norm, counter in self._counters.items():
                norm.num_batches_tracked = counter

    def advance(self, batches: int) -> None:
        """Add batches that went uncounted."""
        for counter in self._counters.values():
            counter += batches
