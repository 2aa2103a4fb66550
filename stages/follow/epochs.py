"""New lines of the work folders' `metrics.jsonl`, each once."""

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.core.files import WORK, durable_write
from pipeline.core.notes import METRICS, WorkNote, read_epochs
from stages.shared.kept_yaml import load_kept
from stages.shared.nearest import unknown
from stages.shared.stage_names import stage_names

STATE = WORK / "followed.json"
_NO_VALUES = ("epoch", "epochs", "time")


@dataclass(frozen=True)
class Run:
    """A replicate in training: `name` is its own, also under other parameters; `stage` is what trains it."""

    stage: str
    replicate: int
    key: str

    @property
    def name(self) -> str:
        """A name for folders and services: stage, replicate, and the beginning of the work folder's key."""
        return f"{self.stage}-{self.replicate}-{self.key[:8]}"


@dataclass(frozen=True)
class Epoch:
    """A finished epoch (from 1, of `epochs`), when it ended (seconds since 1970), and its values by name."""

    run: Run
    epoch: int
    epochs: int
    time: float
    values: Mapping[str, float]


class Follower:
    """Gives each epoch once, also over several lives of the process.

    Args:
        target: whom the epochs are for; each target gets all of them.
        stages: those that are followed; none: all.
        again: begin with the first epoch, whatever was given before.
    """

    def __init__(self, target: str, stages: Sequence[str] = (), *, again: bool = False) -> None:
        self.target, self.stages = target, stages
        self._given: dict[str, int] = {} if again else _load().get(target, {})

    def new(self) -> Iterator[Epoch]:
        """The epochs that have ended since the last call."""
        for run, file in runs(self.stages):
            lines = read_epochs(file)
            given = self._given.get(run.name, 0)
            if given > len(lines):  # trained from the start
                given = 0
            for line in lines[given:]:
                yield epoch_of(run, line)
            self._given[run.name] = len(lines)

    def save(self) -> None:
        """Note in the work folder what was given. Raises StorageError."""
        state = {**_load(), self.target: self._given}
        durable_write(STATE, json.dumps(state).encode("ascii"))


def _load() -> dict[str, dict[str, int]]:
    with contextlib.suppress(OSError, ValueError, TypeError, AttributeError):
        content = json.loads(STATE.read_bytes())
        return {
            str(target): {str(run): int(count) for run, count in given.items()}
            for target, given in content.items()
        }
    return {}


def runs(stages: Sequence[str]) -> Iterator[tuple[Run, Path]]:
    """The replicates that work folders hold, with their metrics."""
    for file in sorted(WORK.glob(f"*/replicate-*/{METRICS}")):
        folder = file.parent.parent
        note = WorkNote.of(folder)
        names = [name for name in note.stages if not stages or name in stages] if note else []
        if names:
            yield Run(names[0], int(file.parent.name.rpartition("-")[2]), folder.name), file


def check_trainings(stages: Sequence[str], params_path: Path) -> None:
    """Raise ValueError for a stage that trains nothing here: neither a parameter file nor work has it."""
    named = stage_names(load_kept(params_path)) if params_path.exists() else []
    notes = map(WorkNote.of, sorted(WORK.glob("*")))
    begun = [name for note in notes if note for name in note.stages]
    valid = [name for name in dict.fromkeys([*named, *begun]) if name.startswith("train_")]
    for stage in stages:
        if stage not in valid:
            raise ValueError(unknown("training", stage, valid))


def epoch_of(run: Run, line: Mapping[str, Any]) -> Epoch:
    """An epoch of a line; what was not measured is left out."""
    values = {
        name: float(value)
        for name, value in line.items()
        if name not in _NO_VALUES and isinstance(value, int | float)
    }
    return Epoch(run, int(line["epoch"]), int(line["epochs"]), float(line["time"]), values)
