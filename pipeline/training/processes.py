"""Work shared out among forked processes, which report to the one that started them.

Not concurrent.futures: its pool waits for running work where another part has failed, forks beside a thread
of its own, and its processes outlive a killed parent.
"""

import multiprocessing
import os
import time
import traceback
from collections.abc import Callable, Sequence
from typing import Any

from pipeline.core.errors import DecantError, is_mistake
from pipeline.core.progress import Report, Tick

POLL_SECONDS = 0.05


class WorkerError(DecantError):
    """What went wrong in a process that shared the work."""


def run_in_processes(
    work: Callable[[Sequence[int], Report], None],
    items: Sequence[int],
    processes: int,
    report: Report,
) -> None:
    """Call `work(some of the items, report)` in each of several processes.

    Forking shares the memory of what is there and spares each process the import of torch; nothing
    may have been computed yet that starts a pool of threads. The first error ends all processes and
    is raised as a WorkerError.
    """
    context = multiprocessing.get_context("fork")
    queue: Any = context.SimpleQueue()
    parent = os.getpid()

    def send(tick: Tick) -> None:
        if os.getppid() != parent:  # the stage was killed: leave no orphan that holds its lock
            os._exit(1)
        queue.put(tick)

    def run(mine: Sequence[int]) -> None:
        try:
            work(mine, send)
            queue.put(None)
        except Exception as error:
            # A message always crosses between processes; not every exception can be unpickled.
            text = str(error) if is_mistake(error) else traceback.format_exc()
            queue.put(WorkerError(text))
        except KeyboardInterrupt:
            queue.put(KeyboardInterrupt())

    shares = [items[start::processes] for start in range(processes)]
    workers = [context.Process(target=run, args=(mine,), daemon=True) for mine in shares]
    for worker in workers:
        worker.start()
    try:
        _follow(queue, workers, report)
    finally:
        for worker in workers:
            worker.terminate()
            worker.join()


def _follow(queue: Any, workers: Sequence[Any], report: Report) -> None:
    """Pass on what the processes report until all have ended."""
    running = len(workers)
    while running:
        message = _next_message(queue, workers)
        if message is None:
            running -= 1
        elif isinstance(message, Tick):
            report(message)
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
