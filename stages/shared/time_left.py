"""How long several jobs will still take, from what each costs and how far it has come."""

import heapq
from collections.abc import Iterable, Mapping, Sequence

from pipeline.core.progress import Tick


class TimeLeft:
    """The jobs that a display shows: which are done, run and wait, and the seconds that they still take.

    Args:
        costs: of each job in all, in one unit.
        at_once: how many run at a time.
        later: what comes after them, in the same unit.
    """

    def __init__(self, costs: Mapping[str, float], at_once: int, later: float = 0.0) -> None:
        self.costs, self.at_once, self.later = costs, at_once, later
        self._parts: dict[str, float] = {}  # of each job that has begun, how much of it is done
        self._begun_at: dict[str, float] = {}  # the part that was done before
        self._running_seconds = 0.0  # of all jobs together
        self._last: float | None = None

    @property
    def done(self) -> int:
        """Jobs that have ended."""
        return sum(part >= 1 for part in self._parts.values())

    @property
    def running(self) -> int:
        """Jobs that have begun and not ended."""
        return len(self._parts) - self.done

    @property
    def waiting(self) -> int:
        """Jobs that have not begun."""
        return len(self.costs) - len(self._parts)

    def update(self, tick: Tick, now: float) -> None:
        """Take note of a job's progress at a time in seconds."""
        if self._last is not None:
            self._running_seconds += self.running * (now - self._last)
        self._last = now
        part = tick.done / tick.total if tick.total else 1.0
        self._begun_at.setdefault(tick.job, part)
        self._parts[tick.job] = part

    def seconds(self) -> float | None:
        """What is left, at the rate of what was done since the first job began; None before that."""
        done = sum(
            self.costs.get(job, 0.0) * (part - self._begun_at[job])
            for job, part in self._parts.items()
        )
        if not done or not self._running_seconds:
            return None
        loads = [self.costs[job] * (1 - part) for job, part in self._parts.items() if part < 1]
        loads += [0.0] * (self.at_once - len(loads))
        waiting = (cost for job, cost in self.costs.items() if job not in self._parts)
        left = last_end(waiting, loads)
        return (left + self.later / self.at_once) * self._running_seconds / done


def last_end(costs: Iterable[float], loads: Sequence[float]) -> float:
    """When the last of several jobs ends, the longest first, each where there is room first.

    Args:
        costs: how long each takes.
        loads: how long each of those that work on them is busy before.
    """
    ends = list(loads)
    heapq.heapify(ends)
    for cost in sorted(costs, reverse=True):
        heapq.heapreplace(ends, ends[0] + cost)
    return max(ends)
