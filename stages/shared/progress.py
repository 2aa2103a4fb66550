"""Progress of a stage: bars in a terminal, plain lines elsewhere."""

import time
from collections.abc import Mapping
from types import TracebackType

from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.table import Column

from pipeline.core.progress import Tick
from stages.shared.options import console
from stages.shared.tables import hours_text, shown
from stages.shared.time_left import TimeLeft

LINE_SECONDS = 10.0
MOST_BARS = 8  # of jobs that have ended, too
ALL = "all"
NAME_WIDTH = 16  # of 70 columns
TAIL = 5


class ProgressDisplay:
    """Shows the ticks of several jobs; a context manager.

    In a terminal each job has a bar, in lines of 70 columns; elsewhere a job prints a line at its start
    and end and every ten seconds between. Of several jobs, one more bar or line says how many are done
    and how long all take.

    Args:
        unit: what `done` and `total` count.
        later: what comes after these jobs, in the unit of their costs.
        quiet: none of it is shown.
    """

    def __init__(self, unit: str, *, later: float = 0.0, quiet: bool = False) -> None:
        self.unit, self.later, self.quiet = unit, later, quiet
        self._whole: TimeLeft | None = None
        self._tasks: dict[str, TaskID] = {}
        self._first: dict[str, tuple[float, int]] = {}
        self._last: dict[str, int] = {}
        self._printed: dict[str, float] = {}
        self._bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=6),
            TextColumn("{task.fields[count]}", justify="right", markup=False),
            TextColumn("{task.fields[note]}", markup=False, table_column=Column(no_wrap=True)),
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
        console.print(shown(text))

    def expect(self, costs: Mapping[str, float], at_once: int) -> None:
        """Announce jobs, by what each costs and how many run at a time."""
        if len(costs) > 1 or self.later:
            self._whole = TimeLeft(costs, at_once, self.later)

    def show(self, tick: Tick) -> None:
        """Bring a job's display up to date."""
        if self.quiet:
            return
        now = time.monotonic()
        started, first = self._first.setdefault(tick.job, (now, tick.done))
        if tick.done < self._last.get(tick.job, 0):  # begun again, by another worker of a cluster
            started, first = self._first[tick.job] = now, tick.done
        self._last[tick.job] = tick.done
        rate = (tick.done - first) / (now - started) if now > started else 0.0
        speed = f"{rate:,.0f} {self.unit}/s" if rate else ""
        left = left_text((tick.total - tick.done) / rate) if rate and tick.done < tick.total else ""
        if console.is_terminal:
            self._show_bar(tick, " ".join(filter(None, (left, brief(tick.note) or speed))))
        elif tick.done >= tick.total or self._is_due(tick.job, now):
            note = "  ".join(filter(None, (tick.note, speed, left)))
            console.print(f"{tick.job}: {self._count(tick)}  {note}")
        if self._whole is not None:
            self._whole.update(tick, now)
            self._show_whole(self._whole, now)

    def _show_bar(self, tick: Tick, note: str) -> None:
        crowded = len(self._tasks) > MOST_BARS and tick.done >= tick.total
        self._bars.update(
            self._task(tick.job, tick.total),
            completed=tick.done,
            count=self._count(tick),
            note=note,
            visible=not crowded,
        )

    def _task(self, job: str, total: int) -> TaskID:
        """The bar of a job, which is made when it is first shown."""
        if job not in self._tasks:
            name = shortened(job, NAME_WIDTH)
            self._tasks[job] = self._bars.add_task(name, total=total, count="", note="")
        return self._tasks[job]

    def _count(self, tick: Tick) -> str:
        """What is done of what: epochs, where there are any."""
        if tick.epochs:
            return f"{tick.epochs_done}/{tick.epochs} epochs"
        return f"{tick.done}/{tick.total} {self.unit}"

    def _show_whole(self, whole: TimeLeft, now: float) -> None:
        waiting = f"{whole.running} running, {whole.waiting} waiting"
        seconds = whole.seconds()
        left = "" if seconds is None else f"  {left_text(seconds)}"
        if console.is_terminal:
            note = f"{left.strip()} {whole.running} running {whole.waiting} waiting".strip()
            count = f"{whole.done}/{len(whole.costs)}"
            task = self._task(ALL, len(whole.costs))
            self._bars.update(task, completed=whole.done, count=count, note=note)
        elif self._is_due(ALL, now):
            console.print(f"{ALL}: {whole.done} of {len(whole.costs)} done, {waiting}{left}")

    def _is_due(self, name: str, now: float) -> bool:
        """Whether a line is to be printed; at first it is."""
        last = self._printed.get(name)
        if last is not None and now - last < LINE_SECONDS:
            return False
        self._printed[name] = now
        return True


def brief(note: str) -> str:
    """A note for a narrow line."""
    return note.replace(" accuracy ", " ")


def shortened(name: str, width: int) -> str:
    """A name of at most so many characters; its end, the replicate's number, stays."""
    kept = width - 1 - TAIL
    return name if len(name) <= width else f"{name[:kept]}…{name[-TAIL:]}"


def left_text(seconds: float) -> str:
    """A time that is left, in words."""
    return f"{hours_text(seconds / 3600)} left"
