"""Work in threads, without letting their number into the results."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

T = TypeVar("T")
R = TypeVar("R")


def in_threads(function: Callable[[T], R], items: Iterable[T], workers: int) -> list[R]:
    """Map in threads whose numerical libraries use one thread each, so that sums keep their order."""
    with (
        threadpool_limits(1),
        ThreadPoolExecutor(workers, initializer=lambda: threadpool_limits(1)) as pool,
    ):
        return list(pool.map(function, items))
