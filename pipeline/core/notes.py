"""What a computation leaves in its work folder for those who look on: whose it is, and how far it has come.

`note.json` names the stages; `metrics.jsonl`, beside a network's checkpoint, gets a line for each epoch. No
stage reads either, and neither is published.
"""

import contextlib
import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipeline.core.files import TEMPORARY, canonical_json, write_changed

NOTE = "note.json"
METRICS = "metrics.jsonl"


@dataclass(frozen=True)
class WorkNote:
    """Whose work a folder holds: stages that differ in their names alone share one.

    `replicates` networks are trained for `epochs` each, or `views` of `group` are dumped.
    """

    stages: tuple[str, ...]
    replicates: int = 0
    epochs: int = 0
    group: str = ""
    views: int = 0

    def write(self, folder: Path) -> None:
        """Write it into a work folder. Raises StorageError where the file system refuses."""
        write_changed(folder / NOTE, canonical_json(asdict(self)))

    @classmethod
    def of(cls, folder: Path) -> "WorkNote | None":
        """The note in a work folder; None where there is none that `write` wrote."""
        with contextlib.suppress(OSError, ValueError, TypeError, RecursionError):
            facts = json.loads((folder / NOTE).read_bytes())
            note = cls(**{**facts, "stages": tuple(map(str, facts["stages"]))})
            counts = (note.replicates, note.epochs, note.views)
            return note if all(type(count) is int for count in counts) else None
        return None


def log_epochs(file: Path, epochs: int, values: Sequence[Mapping[str, float]]) -> None:
    """Bring `metrics.jsonl` up to date: a line for each finished epoch, with the time at which it ended.

    A line is added; the file is written anew where it does not fit, after a kill between checkpoint and line.
    Any problem of the file system is left to what writes results.

    Args:
        epochs: of the whole training.
        values: of each finished epoch, by name; NaN, where there is none, becomes null.
    """
    with contextlib.suppress(OSError):
        lines = _lines(file)[: min(len(read_epochs(file)), len(values))]
        if len(lines) == len(values) - 1 == _count(file):
            with file.open("ab") as log:
                log.write(_line(len(values), epochs, values[-1]))
            return
        made = [_line(epoch + 1, epochs, row) for epoch, row in enumerate(values)]
        temporary = file.with_name(TEMPORARY + file.name)
        temporary.write_bytes(b"".join([*lines, *made[len(lines) :]]))
        temporary.replace(file)


def read_epochs(file: Path) -> list[dict[str, Any]]:
    """The complete lines of a `metrics.jsonl`: `epoch`, `epochs`, `time` in seconds, and the values.

    None of them after one that is damaged; an empty list where there is no file.
    """
    read: list[dict[str, Any]] = []
    with contextlib.suppress(OSError, ValueError, RecursionError):
        for line in _lines(file):
            facts = json.loads(line)
            if not _is_line(facts) or facts["epoch"] != len(read) + 1:
                break
            read.append(facts)
    return read


def _is_line(facts: Any) -> bool:
    names = ("epoch", "epochs", "time")
    return isinstance(facts, dict) and all(type(facts.get(name)) in (int, float) for name in names)


def _line(epoch: int, epochs: int, values: Mapping[str, float]) -> bytes:
    shown = {name: value if math.isfinite(value) else None for name, value in values.items()}
    facts = {"epoch": epoch, "epochs": epochs, "time": round(time.time(), 3), **shown}
    return json.dumps(facts, allow_nan=False).encode("ascii") + b"\n"


def _lines(file: Path) -> list[bytes]:
    """The lines that end; the last one may be in the making."""
    if not file.exists():
        return []
    return [line for line in file.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]


def _count(file: Path) -> int:
    """How many lines there are, an unfinished one included."""
    return len(file.read_bytes().splitlines()) if file.exists() else 0
