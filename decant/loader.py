"""One epoch as a student of a store sees it, batch by batch."""

from collections.abc import Iterator

from decant.batch import Batch, Replay
from pipeline.training.steps import batch_sizes


class Loader:
    """An epoch's batches, in the order and with the numbers of that epoch in training.

    It can be gone through again, and is as quick as training: whole batches are made at once, on the
    device. `len` is the number of batches.
    """

    def __init__(self, replay: Replay, epoch: int, batch_size: int) -> None:
        self.epoch, self.batch_size = epoch, batch_size
        self._replay = replay
        self._sizes = batch_sizes(replay.count, batch_size)

    def __len__(self) -> int:
        return len(self._sizes)

    def __iter__(self) -> Iterator[Batch]:
        order, start = self._replay.rows(self._replay.order(self.epoch)), 0
        for size in self._sizes:
            yield self._replay.batch(self.epoch, order[start : start + size])
            start += size

    def __repr__(self) -> str:
        images = sum(self._sizes)
        return f"<Loader: epoch {self.epoch}, {images:,} images in {len(self)} batches>"
