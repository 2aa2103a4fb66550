"""progress."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Tick:
    """How far one job of a stage is; `note` is free text such as loss and accuracy."""

    job: str
    done: int
    total: int
    note: str = ""


Report = Callable[[Tick], None]
