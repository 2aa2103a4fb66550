"""Several networks in training at the same time, in one process.

On a GPU each has a stream of its own: the kernels of a small network fill a fraction of the device, so
several trainings run side by side in little more time than one. Each is what it would be alone: nothing
is shared but the images. On a CPU they take turns, which gains nothing and serves the tests.
"""

import gc
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from pipeline.training.loop import OnStep, fit_stepwise
from pipeline.training.trainer import TestSet, Trainer

# Steps that the host gives to a stream before the device has done them: enough to keep it busy while
# the host evaluates another network, few enough to wait for.
STEPS_AHEAD = 32
# torch has 32 streams, and each training takes two: one to run on, one to record on.
MOST_AT_ONCE = 8
# Trainings also evaluate, which none has done yet when it is measured.
MEMORY_MARGIN = 1.25
POLL_SECONDS = 1e-4


@dataclass(kw_only=True, eq=False)
class Lane:
    """A training to be done beside others; once begun, on a stream of its own on a GPU.

    Args:
        start: builds the trainer, when its turn comes.
        on_end: called with the trainer when its last epoch is over, and with the largest number of
            trainings that ran at the same time as it, itself included.

    `test`, `checkpoint` and `on_step` are those of `fit`.
    """

    start: Callable[[], Trainer]
    test: TestSet
    checkpoint: Path | None = None
    on_step: OnStep = lambda trainer, loss: None
    on_end: Callable[[Trainer, int], None] = lambda trainer, at_once: None
    at_once: int = field(default=1, init=False)

    def begin(self, device: torch.device) -> None:
        """Build the trainer, on a stream of its own where the device has any."""
        self._stream: Any = None
        if device.type == "cuda":
            self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        # Events: the ends of steps that the device may yet have to do.
        self._given: deque[Any] = deque()
        with self.on_stream():
            self.trainer = self.start()
        self._steps = fit_stepwise(
            self.trainer, self.test, checkpoint=self.checkpoint, on_step=self.on_step
        )

    def on_stream(self) -> AbstractContextManager[Any]:
        """Inside, work is given to the training's stream."""
        return nullcontext() if self._stream is None else torch.cuda.stream(self._stream)

    @property
    def is_ready(self) -> bool:
        """Whether another step can be given without waiting long for the device."""
        while self._given and self._given[0].query():
            self._given.popleft()
        # What follows the last step of an epoch reads its losses.
        return len(self._given) < (1 if self.trainer.epoch_is_over else STEPS_AHEAD)

    def advance(self) -> bool:
        """Give a step to the device, or end; False where this was the end."""
        with self.on_stream():
            for _ in self._steps:
                if self._stream is not None:
                    event = torch.cuda.Event()  # type: ignore[no-untyped-call]
                    event.record(self._stream)
                    self._given.append(event)
                return True
            self.on_end(self.trainer, self.at_once)
        return False

    def close(self) -> None:
        """Give up what is left."""
        self._steps.close()


class Memory:
    """Whether the device has room for another training, by the most that one of those before took."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.needed: int | None = None
        self._before = self.free()

    def free(self) -> int | None:
        """Bytes that nobody uses on the device; None where it has no memory of its own."""
        if self.device.type != "cuda":
            return None
        gc.collect()  # a trainer that has ended holds on to its graphs by a cycle
        torch.cuda.synchronize(self.device)
        torch.cuda.empty_cache()
        return torch.cuda.mem_get_info(self.device)[0]

    def measure_last(self) -> None:
        """Note what the training has taken that began since the last look."""
        free = self.free()
        if free is not None and self._before is not None:
            self.needed = max(self.needed or 0, self._before - free)

    def has_room(self) -> bool:
        """Whether one more training fits."""
        self._before = self.free()
        if self._before is None or self.needed is None:
            return True
        return self._before >= MEMORY_MARGIN * self.needed


def fit_together(
    lanes: Sequence[Lane],
    device: torch.device,
    *,
    at_once: int = MOST_AT_ONCE,
    memory: Memory | None = None,
) -> None:
    """Do all trainings, as many at a time as fit into the device's memory and `at_once` allows.

    What a training takes is measured when it has begun; others begin while there is room for the
    largest so far, or when one has ended. Steps are given to the device in turn. An error ends all of
    them; each goes on from its own checkpoint.
    """
    memory = memory or Memory(device)
    waiting, begun = deque(lanes), list[Lane]()
    at_once = min(at_once, len(lanes))
    try:
        while waiting or begun:
            if waiting and len(begun) < at_once and (memory.has_room() or not begun):
                lane = waiting.popleft()
                lane.begin(device)
                begun.append(lane)
                _catch_up(begun, memory, at_once)
            else:
                number = len(begun)
                while len(begun) == number:
                    _give_steps(begun)
    finally:
        for lane in begun:
            lane.close()


def _catch_up(lanes: list[Lane], memory: Memory, at_once: int) -> None:
    """Take the last lane's first step, and go on with all until the next one may begin.

    They begin at different moments of an epoch: while the host ends one's, the others keep the device
    busy.
    """
    last = lanes[-1]
    if not last.advance():  # its first step makes all that it needs on the device
        lanes.remove(last)
        return
    memory.measure_last()
    for lane in lanes:
        lane.at_once = max(lane.at_once, len(lanes))
    while last in lanes and last.trainer.steps_in_epoch < last.trainer.steps_per_epoch // at_once:
        _give_steps(lanes)


def _give_steps(lanes: list[Lane]) -> None:
    """Give a step to each lane that is ready, and take out those that have ended."""
    ready = [lane for lane in lanes if lane.is_ready]
    if not ready:
        time.sleep(POLL_SECONDS)
    for lane in ready:
        if not lane.advance():
            lanes.remove(lane)
