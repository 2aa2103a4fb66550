"""Doing one thing while another one is being done."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, Self


class OneBehind:
    """A context in which `later(function, *args)` calls functions in a thread, one after the other.

    `later` waits until the call before has ended, so at most one is under way and one set of arguments
    is kept. What a call raised is raised by the next `later` or `wait`, and by leaving the context,
    which waits too (unless it is left by an error, which then goes first).
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1)
        self._last: Future[Any] | None = None

    def __enter__(self) -> Self:
        return self

    def later(self, function: Callable[..., Any], *args: Any) -> None:
        """Call a function in the thread."""
        self.wait()
        self._last = self._thread.submit(function, *args)

    def wait(self) -> None:
        """Return when nothing is under way."""
        last, self._last = self._last, None
        if last is not None:
            last.result()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                self.wait()
        finally:
            self._thread.shutdown()
