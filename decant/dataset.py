"""A store as a torch data set, for a DataLoader of one's own."""

import operator
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler, get_worker_info

from decant.batch import Batch, Replay, Step, valid
from pipeline.core.errors import DecantError
from pipeline.training.steps import batch_sizes


class StoreDataset(Dataset[Batch]):
    """The N training images as a student sees them in the current epoch, by their index.

    `dataset[i]` is a `Batch` of one image, without the axis B. `DataLoader(dataset,
    batch_sampler=dataset.batches(64))` gives the batches of training, bit for bit, with any number of
    workers, forked or spawned; with `shuffle=True` the order is torch's. Call `set_epoch` before each
    epoch. It can be pickled, and then opens its store again where it is unpickled.

    Args:
        make: opens the store; may be called in another process.
        may_fork: whether a store that has been opened can be read in a forked process.
    """

    def __init__(self, make: Callable[[], Replay], *, epoch: int, may_fork: bool) -> None:
        self._make, self._may_fork = make, may_fork
        self._replay: Replay | None = make()  # before workers are forked: they share its images
        self._process = os.getpid()
        self._count = self._replay.count
        self._epoch = _shared(torch.tensor(epoch))  # workers that live on see it change

    @property
    def epoch(self) -> int:
        """The current epoch."""
        return int(self._epoch)

    def set_epoch(self, epoch: int) -> None:
        """Go to an epoch, from 0, in all workers. Raises DecantError for what is none."""
        self._epoch.fill_(valid(Step, epoch=epoch).epoch)

    def batches(self, batch_size: int) -> "EpochBatches":
        """The batches of the current epoch in training: a `batch_sampler` for a DataLoader."""
        return EpochBatches(self, valid(Step, batch_size=batch_size).batch_size)

    def order(self) -> list[int]:
        """The order of the images in the current epoch."""
        return [int(index) for index in self._opened().order(self.epoch)]

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> Batch:
        place = operator.index(index)
        if not -len(self) <= place < len(self):
            raise IndexError(f"image {place} of {len(self)}")
        return self.__getitems__([place % len(self)])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[Batch]:
        """Several images at once, made as one batch: a DataLoader asks for them so."""
        try:
            replay = self._opened()
            batch = replay.batch(self.epoch, replay.rows(np.asarray(indices, np.int64)))
        except DecantError as error:
            if get_worker_info() is None:
                raise
            # The DataLoader makes a worker's error again from its class and a text.
            raise DecantError(str(error)) from None
        columns = (column.unbind() for column in batch)
        return [Batch(*parts) for parts in zip(*columns, strict=True)]

    def _opened(self) -> Replay:
        if self._replay is None:
            self._replay = self._make()
        elif not self._may_fork and self._process != os.getpid():
            raise DecantError(
                "a store in a bucket or on a web server cannot be read in forked workers: give the "
                'DataLoader multiprocessing_context="spawn"'
            )
        return self._replay

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_replay": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._process = os.getpid()
        self._epoch = _shared(self._epoch)


class EpochBatches(Sampler[list[int]]):
    """The indices of each batch of a data set's current epoch, as in training."""

    def __init__(self, dataset: StoreDataset, batch_size: int) -> None:
        self.dataset, self.batch_size = dataset, batch_size

    def __len__(self) -> int:
        return len(batch_sizes(len(self.dataset), self.batch_size))

    def __iter__(self) -> Iterator[list[int]]:
        order, start = self.dataset.order(), 0
        for size in batch_sizes(len(self.dataset), self.batch_size):
            yield order[start : start + size]
            start += size


def _shared(number: Tensor) -> Tensor:
    """A tensor in memory that other processes share."""
    return number.share_memory_()  # type: ignore[no-untyped-call,no-any-return]
