"""One network on several processes (ranks), which torchrun starts: what they tell each other.

All ranks draw the same batches. Each computes its part of a batch's images; the logits and features of all
parts are gathered, and each computes the loss of the whole batch, so that a loss which compares images with
each other (rkd, dist) sees all of them. Each follows the gradient back through its own part, and the
gradients are added up: with networks without batch normalisation, R ranks do what one does, up to rounding.
What batch normalisation sees is in `norms`.

Not DistributedDataParallel: it averages losses of parts, and groups the gradients in another way after its
first step, so that a resumed training would add them in another order than one that was not interrupted.

Rank 0 alone reads checkpoints, evaluates and writes. The others take over its state when a training starts.
"""

import datetime
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TypeVar

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import pad

from pipeline.compute import work_device
from pipeline.core.errors import DecantError
from pipeline.core.machine import Machine
from pipeline.core.progress import Display, Tick
from pipeline.training.launch import launched
from pipeline.training.steps import seed_draws
from pipeline.views.batches import ImageBank, ViewBatches

T = TypeVar("T")

# Longer than rank 0 evaluates and writes, for which the others wait.
TIMEOUT = datetime.timedelta(minutes=30)
LEAST_IMAGES = 2  # of a rank in a batch: batch normalisation has no variance of one


class RanksError(DecantError):
    """Processes that cannot train a network together, or no longer."""


class Ranks:
    """The processes that train one network, as one of them sees them; by default it is alone.

    All methods but `part` and `sizes` have to be called by all ranks in the same order; alone they do
    nothing. They raise RanksError where another rank was lost; on GPUs NCCL may end the process first, with
    a message of its own.

    Attributes:
        number: of this process, from 0.
        count: of all processes.
    """

    def __init__(self, number: int = 0, count: int = 1) -> None:
        self.number, self.count = number, count

    @property
    def alone(self) -> bool:
        """Whether there is one process only."""
        return self.count == 1

    @property
    def is_first(self) -> bool:
        """Whether this is rank 0, which reads, evaluates and writes."""
        return self.number == 0

    def sizes(self, sizes: list[int]) -> list[int]:
        """The batch sizes of an epoch, without a last batch that leaves a rank fewer than two images.

        Raises RanksError where no batch is left.

        >>> Ranks(0, 3).sizes([64, 64, 5])
        [64, 64]
        """
        if self.alone:
            return sizes
        least = LEAST_IMAGES * self.count
        enough = [size for size in sizes if size >= least]
        if not enough:
            raise RanksError(
                f"training.batch_size: {self.count} processes need batches of {least} images, two for "
                f"each; the largest has {max(sizes, default=0)}. Start fewer processes, or raise it"
            )
        return enough

    def part(self, rows: Tensor) -> Tensor:
        """This rank's part of the rows of a batch, [B]: parts differ by one row at most.

        >>> [Ranks(number, 3).part(torch.arange(8)).tolist() for number in range(3)]
        [[0, 1, 2], [3, 4, 5], [6, 7]]
        """
        return rows if self.alone else rows.tensor_split(self.count)[self.number]

    def whole(self, part: Tensor, size: int) -> Tensor:
        """The rows of all ranks, [size, D], from this rank's part; gradients reach this part alone."""
        if self.alone:
            return part
        whole, rest = divmod(size, self.count)
        longest = whole + (rest > 0)
        padded = pad(part.detach(), (0, 0, 0, longest - len(part))).contiguous()
        parts = self.gathered(padded)
        cut = [rows[: whole + (number < rest)] for number, rows in enumerate(parts)]
        cut[self.number] = part
        return torch.cat(cut)

    def gathered(self, values: Tensor) -> list[Tensor]:
        """Tensors of one shape of all ranks, by rank."""
        everyone = [torch.empty_like(values) for _ in range(self.count)]
        with self._together():
            dist.all_gather(everyone, values)
        return everyone

    def add(self, values: Tensor) -> Tensor:
        """Replace contiguous values by their sum over all ranks, with the same bits on each."""
        if not self.alone:
            with self._together():
                dist.all_reduce(values)
        return values

    def add_gradients(self, network: nn.Module) -> None:
        """Add up the gradients of all ranks, in one message."""
        if self.alone:
            return
        gradients = [p.grad for p in network.parameters() if p.grad is not None]
        total = self.add(torch.cat([gradient.flatten() for gradient in gradients]))
        _write(gradients, total)

    @torch.no_grad()
    def average(self, tensors: Iterable[Tensor]) -> None:
        """Replace tensors by their mean over all ranks, in place."""
        for tensor in () if self.alone else tensors:
            tensor.copy_(self.add(tensor.flatten()).view(tensor.shape) / self.count)

    @torch.no_grad()
    def take_first(self, tensors: Iterable[Tensor]) -> None:
        """Replace tensors by those of rank 0, in place."""
        for tensor in () if self.alone else tensors:
            values = tensor.flatten()
            with self._together():
                dist.broadcast(values, src=0)
            tensor.copy_(values.view(tensor.shape))

    def of_first(self, compute: Callable[[], T]) -> T:
        """What rank 0 alone computes, on all ranks; it has to be picklable."""
        if self.alone:
            return compute()
        values = [compute() if self.is_first else None]
        with self._together():
            dist.broadcast_object_list(values, src=0, device=torch.device("cpu"))
        (value,) = values
        return value  # type: ignore[return-value]

    def check_equal(self, facts: object) -> None:
        """Raise RanksError on a rank whose facts are not those of rank 0."""
        if self.of_first(lambda: facts) != facts:
            raise RanksError(
                f"process {self.number} has other code, parameters, data or versions than process 0; "
                "start all of them in copies of the same project"
            )

    @contextmanager
    def drawing_apart(self, device: torch.device) -> Iterator[None]:
        """Inside, torch draws other random numbers on each rank; after it, the same on all of them."""
        if self.alone:
            yield
            return
        seed = torch.initial_seed()
        seed_draws(seed + 1 + self.number, device)
        yield
        seed_draws(seed, device)

    @contextmanager
    def _together(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:  # all that torch raises here
            minutes = TIMEOUT.total_seconds() / 60
            raise RanksError(
                f"another of the {self.count} processes was lost, or kept this one waiting for "
                f"{minutes:g} minutes ({_reason(error)}); its own message, if it had one, stands above or "
                "below. The same command goes on from the last finished epoch"
            ) from None


ALONE = Ranks()


def _reason(error: RuntimeError) -> str:
    """The first sentence of torch's message, without the place in its source.

    >>> _reason(RuntimeError("[/gloo/pair.cc:553] Connection closed by peer [::1]:5. This is ..."))
    'Connection closed by peer [::1]:5'
    """
    line = str(error).strip().partition("\n")[0]
    return re.sub(r"^\[[^\]]*\] *", "", line).partition(". ")[0]


def _write(tensors: list[Tensor], values: Tensor) -> None:
    """Write values, flat, into tensors of the same total size."""
    parts = torch.split(values, [tensor.numel() for tensor in tensors])
    for tensor, part in zip(tensors, parts, strict=True):
        tensor.copy_(part.view(tensor.shape))


class PartBatches(ViewBatches):
    """Batches of which a rank makes its part of the images; targets and teacher outputs are all rows'."""

    def __init__(
        self, ranks: Ranks, bank: ImageBank, labels: NDArray[np.int32], num_classes: int
    ) -> None:
        super().__init__(bank, labels, num_classes)
        self.ranks = ranks

    def images(self, rows: Tensor) -> Tensor:
        """See `ViewBatches.images`: those of this rank's part of the rows."""
        return super().images(self.ranks.part(rows))


class Silent:
    """The display of all ranks but the first."""

    def expect(self, costs: Mapping[str, float], at_once: int) -> None:
        """Nothing."""

    def show(self, tick: Tick) -> None:
        """Nothing."""

    def tell(self, text: str) -> None:
        """Nothing."""


def heard(display: Display, ranks: Ranks) -> Display:
    """The display, on rank 0; elsewhere a silent one."""
    return display if ranks.is_first else Silent()


def pick_own_device(machine: Machine) -> torch.device:
    """The device of this process: that of `machine.device`; under torchrun each rank has its own GPU.

    Raises ValueError where there are fewer GPUs than ranks on this machine, or none.
    """
    device = work_device(machine)
    if launched()[1] == 1:
        return device
    if machine.cluster is not None:
        raise RanksError(
            "machine.cluster: torchrun starts processes itself; set it to null for them"
        )
    if device.type != "cuda":
        return device
    if ":" in machine.device:
        raise RanksError(
            f"machine.device: {machine.device} is one GPU, and torchrun started several processes; "
            "write cuda or auto"
        )
    local, there = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
    if local >= there:
        raise RanksError(
            f"torchrun started more processes on this machine than it has GPUs ({there}): start it with "
            f"--nproc-per-node {there}"
        )
    return torch.device("cuda", local)


@contextmanager
def joined(device: torch.device) -> Iterator[Ranks]:
    """Join the processes that torchrun started with this one; without torchrun it stays alone.

    On GPUs tensors go through NCCL; what is on the CPU goes through gloo.
    """
    ranks = Ranks(*launched())
    if ranks.alone:
        yield ranks
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    with ranks._together():
        backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
        dist.init_process_group(backend, timeout=TIMEOUT)
    yield ranks
    # Not after an error: this would wait for the others, and the process ends anyway.
    dist.destroy_process_group()
