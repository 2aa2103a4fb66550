"""Tasks on a cluster, followed from the head: what they send is taken, what is lost is sent out again.

The engine that runs them is known by its interface alone, so that tests lose nodes without one.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from pipeline.training.processes import WorkerError

POLL_SECONDS = 1.0
UNEASY_SECONDS = 10.0  # without a sign of life: it is told
SILENT_SECONDS = 30.0  # and the task is given to another node
WAITING_SECONDS = 30.0  # without a task that runs: that is told too
MOST_LOSSES = 3  # of one task, without progress in between

Fetch = Callable[[str], bytes]  # a file of the head, by its path there


@dataclass(frozen=True)
class Beat:
    """A sign of life of a worker."""


@dataclass(frozen=True)
class Note:
    """What a worker has to say; several may say the same."""

    text: str


@dataclass(frozen=True)
class Fault:
    """What ended a worker's task: a mistake of the user's, or a traceback."""

    text: str


@dataclass(frozen=True)
class Ended:
    """A task has ended, and sent all that it had to."""


@dataclass(frozen=True)
class Lost:
    """A task will send nothing more, and has not ended: its process or its node is gone."""

    why: str


Work = Callable[..., Iterator[Any]]  # takes `Fetch`, then the task's arguments; yields messages


class Engine(Protocol):
    """What runs tasks somewhere else."""

    def share(self, value: Any) -> Any:
        """Send a value to each node once; returns what takes its place among the arguments of `start`."""

    def places(self) -> int:
        """How many tasks can run at the same time, as the cluster is now."""

    def start(self, work: Work, *arguments: Any) -> Any:
        """Start a task; returns its handle."""

    def next(self, handles: Sequence[Any], seconds: float) -> tuple[Any, Any] | None:
        """The next message (or Ended, Lost) of one of the tasks, the first that has one; None: no news."""

    def stop(self, handle: Any) -> None:
        """End a task now."""

    def leave(self, handle: Any) -> None:
        """End a task that hangs; where there are other nodes, its own gets no more tasks."""


class Task(Protocol):
    """A part of the work, which can be started again from what it has sent."""

    @property
    def label(self) -> str:
        """Its name in messages."""

    def start(self, engine: Engine) -> Any:
        """Start what is left of it; returns the handle."""

    def take(self, message: Any) -> bool:
        """Keep what it sent; returns whether it has come on: less is to be done if it is started again."""


@dataclass
class _Run:
    """A task on its way."""

    task: Task
    heard: bool = False
    heard_at: float = field(default_factory=time.monotonic)
    silent: float = 0.0  # seconds, of one that has begun; a head that was suspended counts none
    waited: float = 0.0  # seconds, of one that has not begun, beside a free place
    uneasy: bool = False


class Follower:
    """Runs tasks to their end. Raises WorkerError for the first fault, and where a task is lost too often."""

    def __init__(self, engine: Engine, tell: Callable[[str], None]) -> None:
        self.engine, self.tell = engine, tell
        self.running: dict[Any, _Run] = {}
        self.losses: dict[int, int] = {}
        self.told: set[str] = set()
        self.patience: dict[int, float] = {}
        self.idle = 0.0

    def run(self, tasks: Sequence[Task]) -> None:
        """Run the tasks, which begin in their order."""
        for _ in self.steps(tasks):
            pass

    def steps(self, tasks: Sequence[Task]) -> Iterator[None]:
        """The same, with a pause whenever something was heard; where it is closed, all tasks are stopped."""
        self.waiting = deque(tasks)
        try:
            while self.waiting or self.running:
                self._fill()
                began = time.monotonic()
                # Whoever was not heard for longest goes first: nobody is starved, nor taken for silent.
                handles = sorted(self.running, key=lambda handle: self.running[handle].heard_at)
                if news := self.engine.next(handles, POLL_SECONDS):
                    self._take(*news)
                    yield
                self._watch(min(time.monotonic() - began, 2 * POLL_SECONDS))
        finally:
            for handle in self.running:
                self.engine.stop(handle)

    def _fill(self) -> None:
        """As many again as there are places wait with the engine: a cluster that grows sees the demand."""
        most = 2 * max(1, self.engine.places()) if self.waiting else 0
        while self.waiting and len(self.running) < most:
            task = self.waiting.popleft()
            self.running[task.start(self.engine)] = _Run(task)

    def _take(self, handle: Any, message: Any) -> None:
        run = self.running[handle]
        run.heard, run.heard_at, run.silent, run.uneasy = True, time.monotonic(), 0.0, False
        match message:
            case Beat():
                pass
            case Note(text):
                if text not in self.told:
                    self.told.add(text)
                    self.tell(text)
            case Fault(text):
                raise WorkerError(text)
            case Ended():
                del self.running[handle]
            case Lost(why):
                self._again(handle, why)
            case _:
                if run.task.take(message):
                    self.losses.pop(id(run.task), None)

    def _again(self, handle: Any, why: str) -> None:
        """Send out a lost task again, before those that have not begun."""
        task = self.running.pop(handle).task
        losses = self.losses[id(task)] = self.losses.get(id(task), 0) + 1
        if losses >= MOST_LOSSES:
            raise WorkerError(
                f"{task.label}: its worker was lost {losses} times without getting on, the last time: "
                f"{why}. What was finished is kept; the same command goes on from there"
            )
        self.tell(f"{task.label}: its worker was lost ({why}); sent out again")
        self.waiting.appendleft(task)

    def _watch(self, seconds: float) -> None:
        """Take note of the tasks that give no sign of life."""
        self.idle = 0.0 if any(run.heard for run in self.running.values()) else self.idle + seconds
        if self.idle > WAITING_SECONDS and self.running:
            self.idle = 0.0
            self.tell(
                f"{len(self.running) + len(self.waiting)} tasks have not begun: workers are starting, or the "
                f"cluster's {self.engine.places()} places are taken (`ray status`)"
            )
        free = sum(run.heard for run in self.running.values()) < self.engine.places()
        for handle, run in list(self.running.items()):
            run.waited += seconds if free and not run.heard else 0.0
            if run.waited > self.patience.get(id(run.task), WAITING_SECONDS):
                self._anew(handle)
                continue
            run.silent += seconds if run.heard else 0.0
            if run.silent > UNEASY_SECONDS and not run.uneasy:
                run.uneasy = True
                self.tell(f"{run.task.label}: no sign of life for {UNEASY_SECONDS:.0f} s")
        if silent := [h for h, run in self.running.items() if run.silent > SILENT_SECONDS]:
            self._leave(silent)

    def _leave(self, silent: Sequence[Any]) -> None:
        """Leave the nodes of silent tasks; what has not begun may have been meant for one of them."""
        for handle in [handle for handle, run in self.running.items() if not run.heard]:
            self._anew(handle)
        for handle in silent:
            self.engine.leave(handle)
            self._again(handle, f"no sign of life for {SILENT_SECONDS:.0f} s")

    def _anew(self, handle: Any) -> None:
        """Start a task anew that waits beside a free place: the node that it was meant for may be gone.

        Later the next time: where it is a worker that begins slowly, it will have begun by then.
        """
        self.engine.stop(handle)
        task = self.running.pop(handle).task
        self.patience[id(task)] = 2 * self.patience.get(id(task), WAITING_SECONDS)
        self.waiting.appendleft(task)
