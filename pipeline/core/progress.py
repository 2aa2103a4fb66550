"""Progress of long work, as it is told to whoever shows it: a terminal, a notebook, nobody."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Tick:
    """How far one job of a stage is; `note` is free text such as loss and accuracy.

    `epochs`: how many of them `total` comes to, where there are any.
    """

    job: str
    done: int
    total: int
    note: str = ""
    epochs: int = 0

    @property
    def epochs_done(self) -> int:
        """Epochs that have ended."""
        return self.epochs * self.done // self.total if self.total else self.epochs


Report = Callable[[Tick], None]


class Display(Protocol):
    """Who is told what a stage does."""

    def expect(self, costs: Mapping[str, float], at_once: int) -> None:
        """Announce jobs that will be shown: what each costs, in one unit, and how many run at a time."""

    def show(self, tick: Tick) -> None:
        """Bring a job's progress up to date."""

    def tell(self, text: str) -> None:
        """Say something once."""


def counter(display: Display, job: str, total: int) -> Callable[[int], None]:
    """What to call with how much more of one job is done."""
    done = 0

    def count(more: int) -> None:
        nonlocal done
        done += more
        display.show(Tick(job, done, total))

    return count
