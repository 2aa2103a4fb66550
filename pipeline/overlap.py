"""Doing one thing while another one is being done."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any


@contextmanager
def one_behind() -> Iterator[Callable[..., None]]:
    """Yields `later(function, *args)`, which calls functions in a thread, one after the other.

    It waits until the call before has ended, so at most one is under way and one set of arguments is
    kept; what that call raised is raised by the next one, and by leaving the context, which waits too.
    """
    last: list[Future[Any]] = []
    with ThreadPoolExecutor(1) as thread:

        def wait() -> None:
            while last:
                last.pop().result()

        def later(function: Callable[..., Any], *args: Any) -> None:
            wait()
            last.append(thread.submit(function, *args))

        yield later
        wait()
