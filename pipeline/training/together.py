"""Train several networks at the same time in one process.

On a GPU each network has its own stream: the kernels of a small network fill a fraction of the device, so
several of them take little more time than one. They share the images and nothing else, so each ends with
the weights that it would have alone. On a CPU they take turns, which gains nothing and serves the tests.
"""

import gc
import time
from collections import deque
from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from pipeline.core.errors import DecantError, is_mistake
from pipeline.training.loop import OnStep, fit_stepwise
from pipeline.training.trainer import TestSet, Trainer

# Steps queued on a stream: enough to keep the device busy while the host evaluates another network, few
# enough to wait for.
STEPS_AHEAD = 32
# torch has 32 streams, and each network takes two: one to run on, one to record on.
MOST_AT_ONCE = 8
# Evaluation takes memory too, and has not happened yet when the memory is measured.
MEMORY_MARGIN = 1.25
POLL_SECONDS = 1e-4
NO_ROOM = "the GPU's memory is too small for this network alone; lower training.batch_size"


@dataclass(kw_only=True, eq=False)
class Lane:
    """One network to be trained beside others; on a GPU it gets its own stream when it begins.

    Args:
        start: builds the trainer; called before the first step.
        on_end: called after the last epoch, with the trainer and the largest number of networks that
            were trained at the same time, this one included.
        on_mistake: called with an error that is the user's (a loss that became NaN, say), which then ends
            this network alone; none: every error is raised.

    `test`, `checkpoint` and `on_step` are those of `fit`. The trainer is there from the first step to the
    end: its memory is then another's.
    """

    start: Callable[[], Trainer]
    test: TestSet
    checkpoint: Path | None = None
    on_step: OnStep = lambda trainer, loss: None
    on_end: Callable[[Trainer, int], None] = lambda trainer, at_once: None
    on_mistake: Callable[[Exception], None] | None = None
    at_once: int = field(default=1, init=False)
    trainer: Trainer | None = field(default=None, init=False)

    def begin(self, device: torch.device) -> None:
        """Get ready for the first step, on a new stream where the device has streams."""
        self._stream: Any = None
        if device.type == "cuda":
            self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._queued: deque[Any] = deque()  # an event for the end of each queued step
        self._steps = self._train()

    def _train(self) -> Generator[None, None, None]:
        """The whole training, with a pause after each step."""
        self.trainer = self.start()
        yield from fit_stepwise(
            self.trainer, self.test, checkpoint=self.checkpoint, on_step=self.on_step
        )
        self.on_end(self.trainer, self.at_once)

    def on_stream(self) -> AbstractContextManager[Any]:
        """Inside, work is queued on the network's stream."""
        return nullcontext() if self._stream is None else torch.cuda.stream(self._stream)

    @property
    def is_ready(self) -> bool:
        """Whether another step can be queued without waiting long for the device."""
        while self._queued and self._queued[0].query():
            self._queued.popleft()
        # After the last step of an epoch the host reads the losses, which waits for the device.
        is_over = self.trainer is not None and self.trainer.epoch_is_over
        return len(self._queued) < (1 if is_over else STEPS_AHEAD)

    def advance(self) -> bool:
        """Queue the next step and return True, or end the training and return False."""
        try:
            if self._advance():
                return True
        except Exception as error:
            self.fail(error)
        self.trainer = None
        return False

    def fail(self, error: Exception) -> None:
        """End with an error, which is raised unless it is the user's and this network alone is to end."""
        if self.on_mistake is None or not is_mistake(error):
            raise error
        self.on_mistake(error)

    def _advance(self) -> bool:
        with self.on_stream():
            for _ in self._steps:
                if self._stream is not None:
                    event = torch.cuda.Event()  # type: ignore[no-untyped-call]
                    event.record(self._stream)
                    self._queued.append(event)
                return True
        return False

    def close(self) -> None:
        """Stop here; the checkpoint of the last finished epoch stays."""
        self._steps.close()
        self.trainer = None


class Memory:
    """Whether another network fits into the device's memory, judged by the largest one so far."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.needed: int | None = None
        self._before = self.free()

    def free(self) -> int | None:
        """Free bytes on the device; None for a CPU."""
        if self.device.type != "cuda":
            return None
        gc.collect()  # frees finished trainers, whose graphs are part of a reference cycle
        torch.cuda.synchronize(self.device)
        torch.cuda.empty_cache()
        return torch.cuda.mem_get_info(self.device)[0]

    def measure_last(self) -> None:
        """Measure the memory of the network that began since the last call of `has_room`."""
        free = self.free()
        if free is not None and self._before is not None:
            self.needed = max(self.needed or 0, self._before - free)

    def has_room(self) -> bool:
        """Whether one more network fits."""
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
    """Train all networks, at most `at_once` at a time and as many as fit into the device's memory.

    The memory of a network is measured when it has begun. Another one begins while there is room for
    the largest so far, or when one has ended; one that finds no room after all waits for that, too. Steps
    are queued in turn. An error that no network takes for its own stops all; each continues from its own
    checkpoint the next time.

    Raises DecantError where a network has no room alone; it is a mistake of this network.
    """
    memory = memory or Memory(device)
    waiting, running = deque(lanes), list[Lane]()
    at_once, is_full = min(at_once, len(lanes)), False
    try:
        while waiting or running:
            may_begin = waiting and not is_full and len(running) < at_once
            if may_begin and (memory.has_room() or not running):
                lane = waiting.popleft()
                lane.begin(device)
                running.append(lane)
                if is_full := not _has_begun(running):
                    waiting.appendleft(lane)
                elif lane in running:
                    memory.measure_last()
                    _stagger(running, at_once)
            else:
                count = len(running)
                while len(running) == count:
                    _queue_steps(running)
                is_full = False
    finally:
        for lane in running:
            lane.close()


def _has_begun(lanes: list[Lane]) -> bool:
    """Do the last lane's first step, which allocates all the memory that it needs; False if there is none.

    The lane is then removed, as it is where it has ended.
    """
    last = lanes[-1]
    try:
        if not last.advance():
            lanes.remove(last)
        return True
    except torch.OutOfMemoryError as error:
        lanes.remove(last)
        last.close()
        if lanes:
            return False
        last.fail(DecantError(f"{NO_ROOM} ({str(error).partition(chr(10))[0]})"))
        return True


def _stagger(lanes: list[Lane], at_once: int) -> None:
    """Continue with all lanes until the next one may begin.

    Lanes begin at different times so that their epochs end at different times: while the host evaluates
    one network, the others keep the device busy.
    """
    last = lanes[-1]
    for lane in lanes:
        lane.at_once = max(lane.at_once, len(lanes))
    while (begun := last.trainer) and begun.steps_in_epoch < begun.steps_per_epoch // at_once:
        _queue_steps(lanes)


def _queue_steps(lanes: list[Lane]) -> None:
    """Queue a step of each lane that is ready, and remove the lanes that have ended."""
    ready = [lane for lane in lanes if lane.is_ready]
    if not ready:
        time.sleep(POLL_SECONDS)
    for lane in ready:
        if not lane.advance():
            lanes.remove(lane)
