"""What runs, and how far it has come, from the work folders: whose they are, who holds them, their epochs."""

import contextlib
import os
import stat
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from pipeline.core.files import LOCK, STAGING
from pipeline.core.locks import Holder
from pipeline.core.notes import METRICS, WorkNote, read_epochs

_EPOCHS_TIMED = 10
_REPLICATE = "replicate-"


@dataclass(frozen=True)
class Training:
    """How far one replicate has come: `epoch` of `epochs` are done; `seconds_left` where that is known."""

    replicate: int
    epoch: int
    epochs: int
    seconds_left: float | None
    values: dict[str, float | None]


@dataclass(frozen=True)
class Work:
    """A work folder with a note in it.

    Args:
        holder: the process that has it; None: none has.
        done: of a dump's group, how many views are there.
        trainings: of the replicates that have begun and not ended.
    """

    folder: Path
    note: WorkNote
    holder: Holder | None
    done: int
    trainings: tuple[Training, ...]

    @property
    def has_begun(self) -> bool:
        """Whether anything of it is computed and not finished."""
        return bool(self.trainings) or 0 < self.done < self.note.views

    @property
    def is_publishing(self) -> bool:
        """Whether its results are being published, or a kill ended that half-way."""
        return (self.folder / STAGING).exists()


def find_work(root: Path) -> list[Work]:
    """The work folders below a folder that tell whose they are, by name."""
    folders = sorted(path for path in root.glob("*") if path.is_dir())
    notes = ((folder, WorkNote.of(folder)) for folder in folders)
    return [work_of(folder, note) for folder, note in notes if note is not None]


def work_of(folder: Path, note: WorkNote) -> Work:
    """What is known of a work folder."""
    holder = holder_of(folder)
    chunks = (folder / note.group / "logits").glob("c.*") if note.views else ()
    views = len({file.name.split(".")[1] for file in chunks})  # c.VIEW.ROWS.CLASSES
    trainings = [
        training_of(path, note.epochs, runs=holder is not None)
        for path in sorted(folder.glob(f"{_REPLICATE}*"))
        if not (path / "record.json").exists()
    ]
    return Work(folder, note, holder, views, tuple(trainings))


def own_bytes(folder: Path) -> int:
    """Bytes that removing a folder frees: files that lie elsewhere too (hard links) free nothing."""
    return sum(file.st_size for file in file_stats(folder) if file.st_nlink == 1)


def file_stats(folder: Path) -> Iterator[os.stat_result]:
    """Of all files below a folder, links aside; others may write and remove some meanwhile."""
    for parent, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                facts = os.lstat(os.path.join(parent, name))
                if stat.S_ISREG(facts.st_mode):
                    yield facts


def holder_of(folder: Path) -> Holder | None:
    """The process that holds a work folder, by its signature: trying the lock could turn another one away."""
    try:
        handle = os.open(folder / LOCK, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        holder = Holder.of(handle)
    finally:
        os.close(handle)
    return None if holder.pid is None or holder.has_ended else holder


def training_of(folder: Path, epochs: int, *, runs: bool) -> Training:
    """How far a replicate has come, from its metrics."""
    lines = read_epochs(folder / METRICS)
    last = lines[-1] if lines else {"epoch": 0}
    names = ("train_loss", "test_top1_accuracy", "test_loss", "learning_rate")
    return Training(
        replicate=int(folder.name.removeprefix(_REPLICATE)),
        epoch=int(last["epoch"]),
        epochs=epochs,
        seconds_left=seconds_left(lines, epochs, time.time()) if runs else None,
        values={name: last.get(name) for name in names if name in last},
    )


def seconds_left(lines: Sequence[dict[str, Any]], epochs: int, now: float) -> float | None:
    """What a training still takes at the pace of its last epochs; None before the second one."""
    times = [float(line["time"]) for line in lines[-_EPOCHS_TIMED - 1 :]]
    paces = [after - before for before, after in pairwise(times)]
    if not paces:
        return None
    left = (epochs - len(lines)) * statistics.median(paces) - (now - times[-1])
    return max(0.0, left)
