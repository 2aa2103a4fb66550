"""Work shared out among forked processes, which report to the one that started them.

Not concurrent.futures: its pool waits for running work where another part has failed, forks beside a thread
of its own, and its processes outlive a killed parent.
"""

import multiprocessing
import os
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from pipeline.core.errors import DecantError, is_mistake, mistake_text
from pipeline.core.progress import Report, Tick

T = TypeVar("T")

POLL_SECONDS = 0.05


class WorkerError(DecantError):
    """What went wrong in a process that shared the work."""


@dataclass(frozen=True)
class _Done:
    """The message that ends an item."""

    item: int
    result: Any


def run_in_processes(
    work: Callable[[int, Report], T],
    items: int,
    processes: int,
    report: Report,
    on_done: Callable[[int, T], None] = lambda item, result: None,
) -> None:
    """Call `work(item, report)` for the items 0, 1, ..., each in the next process that is free.

    Forking shares the memory of what is there and spares each process the import of torch; nothing
    may have been computed yet that starts a pool of threads. `on_done(item, result)` is called here as
    each item ends. The first error ends all processes and is raised as a WorkerError.
    """
    context = multiprocessing.get_context("fork")
    queue: Any = context.SimpleQueue()
    following = context.Value("l", 0)
    parent = os.getpid()

    def send(message: Any) -> None:
        if os.getppid() != parent:  # the stage was killed: leave no orphan that holds its lock
            os._exit(1)
        queue.put(message)

    def take() -> int:
        with following.get_lock():
            item = int(following.value)
            following.value += 1
            return item

    def run() -> None:
        try:
            while (item := take()) < items:
                send(_Done(item, work(item, send)))
            send(None)
        except Exception as error:
            # A message always crosses between processes; not every exception can be unpickled.
            text = mistake_text(error) if is_mistake(error) else traceback.format_exc()
            queue.put(WorkerError(text))
        except KeyboardInterrupt:
            queue.put(KeyboardInterrupt())

    workers = [context.Process(target=run, daemon=True) for _ in range(processes)]
    for worker in workers:
        worker.start()
    try:
        _follow(queue, workers, report, on_done)
    finally:
        for worker in workers:
            worker.terminate()
            worker.join()


def _follow(
    queue: Any, workers: Sequence[Any], report: Report, on_done: Callable[[int, Any], None]
) -> None:
    """Pass on what the processes report until all have ended."""
    running = len(workers)
    while running:
        message = _next_message(queue, workers)
        if message is None:
            running -= 1
        elif isinstance(message, Tick):
            report(message)
        elif isinstance(message, _Done):
            on_done(message.item, message.result)
        else:
            raise message


def _next_message(queue: Any, workers: Sequence[Any]) -> Any:
    while queue.empty():
        dead = [worker.exitcode for worker in workers if worker.exitcode not in (None, 0)]
        if dead and queue.empty():
            raise ChildProcessError(
                f"a training process ended with code {dead[0]} (out of memory?)"
            )
        time.sleep(POLL_SECONDS)
    return queue.get()
