"""Progress of a stage: bars in a terminal, plain lines elsewhere."""

import time
from types import TracebackType

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

from pipeline.core.progress import Tick
from stages.shared.options import console, printable, tell

LINE_SECONDS = 10.0


class ProgressDisplay:
    """Shows the ticks of several jobs; a context manager.

    In a terminal each job has a bar; elsewhere a job prints a line at its start and end and every ten
    seconds between. `unit` is what `done` and `total` count; `quiet`: none of it is shown.
    """

    def __init__(self, unit: str, *, quiet: bool = False) -> None:
        self.unit, self.quiet = unit, quiet
        self._tasks: dict[str, TaskID] = {}
        self._first: dict[str, tuple[float, int]] = {}
        self._printed: dict[str, float] = {}
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
            TimeRemainingColumn(),
            console=console,
            disable=quiet or not console.is_terminal,
        )

    def __enter__(self) -> "ProgressDisplay":
        self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._bars.stop()

    def tell(self, text: str) -> None:
        """Print a line."""
        tell(printable(text))

    def show(self, tick: Tick) -> None:
        """Bring a job's display up to date."""
        if self.quiet:
            return
        now = time.monotonic()
        started, first = self._first.setdefault(tick.job, (now, tick.done))
        rate = (tick.done - first) / (now - started) if now > started else 0.0
        speed = f"{rate:,.0f} {self.unit}/s" if rate else ""
        note = f"{tick.note} {speed}".strip()
        if console.is_terminal:
            if tick.job not in self._tasks:
                self._tasks[tick.job] = self._bars.add_task(tick.job, total=tick.total, note="")
            self._bars.update(self._tasks[tick.job], completed=tick.done, note=note)
            return
        last = self._printed.get(tick.job)
        if last is None or tick.done >= tick.total or now - last >= LINE_SECONDS:
            self._printed[tick.job] = now
            left = (tick.total - tick.done) / rate if rate else 0.0
            text = f"{tick.job}: {tick.done}/{tick.total} {self.unit}  {note}"
            console.print(text + (f"  {left:.0f} s left" if left else ""))
