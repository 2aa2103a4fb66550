"""Taking turns: contenders are timed in rounds, A B A B ..., so that a slow spell hits all of them."""

import time
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

Choice = TypeVar("Choice", bound=Hashable)
Contenders = Mapping[str, Callable[[], object]]
WARM_UP_ROUNDS = 1


@dataclass(frozen=True)
class Rounds:
    """What each contender took in each round.

    Attributes:
        wall: name -> f8 [rounds], seconds.
        processor: name -> f8 [rounds], seconds of processor time of this process alone. Of two
            contenders that run in it their ratio is hardly moved by other programs on the machine.
    """

    wall: dict[str, NDArray[np.float64]]
    processor: dict[str, NDArray[np.float64]]

    def seconds(self, name: str) -> float:
        """Median wall-clock seconds of a contender."""
        return float(np.median(self.wall[name]))

    def processor_seconds(self, name: str) -> float:
        """Median processor seconds of a contender."""
        return float(np.median(self.processor[name]))

    def ratio(self, numerator: str, denominator: str) -> "Ratio":
        """How many times as long the first one takes, round by round."""
        return Ratio.of(self.wall[numerator] / self.wall[denominator])

    def processor_ratio(self, numerator: str, denominator: str) -> float:
        """The same of processor time, median over the rounds."""
        return float(np.median(self.processor[numerator] / self.processor[denominator]))


@dataclass(frozen=True)
class Ratio:
    """Median and quartiles over the rounds."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: NDArray[np.float64]) -> "Ratio":
        """Summarise f8 [rounds]."""
        low, median, high = np.quantile(values, (0.25, 0.5, 0.75))
        return cls(float(median), float(low), float(high))


def on_threads(threads: int, contender: Callable[[], object]) -> Callable[[], object]:
    """The contender with another number of CPU threads than the rest."""

    def run() -> object:
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            return contender()
        finally:
            torch.set_num_threads(before)

    return run


def fastest(contenders: Mapping[Choice, Callable[[], object]]) -> Choice:
    """The one that takes the least time, each after a turn that is not counted."""
    seconds: dict[Choice, float] = {}
    for choice, contender in contenders.items():
        contender()
        began = time.perf_counter()
        contender()
        seconds[choice] = time.perf_counter() - began
    return min(seconds, key=lambda choice: seconds[choice])


def take_turns(
    contenders: Contenders, rounds: int, wait: Callable[[], None] = lambda: None
) -> Rounds:
    """Time contenders in turn, after a round that is not counted.

    `wait` returns when the device has finished what it was given. A contender that returns a number
    has timed itself, in seconds.
    """
    wall: dict[str, list[float]] = {name: [] for name in contenders}
    processor: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(-WARM_UP_ROUNDS, rounds):
        for name, contender in contenders.items():
            wait()
            began, busy = time.perf_counter(), time.process_time()
            own = contender()
            wait()
            if number >= 0:
                passed = time.perf_counter() - began
                wall[name].append(own if isinstance(own, float) else passed)
                processor[name].append(time.process_time() - busy)
    return Rounds(
        {name: np.array(values) for name, values in wall.items()},
        {name: np.array(values) for name, values in processor.items()},
    )
