"""Every stage with its state: what `decant status` shows."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from pipeline.core.files import WORK
from stages.dvc.changes import Change, changes_of
from stages.dvc.lock import Lock
from stages.dvc.running import Work, find_work
from stages.shared.kept_yaml import load_kept
from stages.shared.stage_names import stage_names

State = Literal["running", "done", "elsewhere", "in part", "stale", "missing"]
STATES: tuple[State, ...] = ("running", "done", "elsewhere", "in part", "stale", "missing")
_OF_LOCK: dict[str, State] = {
    "done": "done",
    "elsewhere": "elsewhere",
    "changed": "stale",
    "to do": "missing",
}


@dataclass(frozen=True)
class StageStatus:
    """A stage, why it is stale or here in part, and the work folders that hold unfinished work of it."""

    name: str
    state: State
    changes: list[Change] = field(default_factory=list)
    works: list[Work] = field(default_factory=list)

    @property
    def kind(self) -> str:
        """The part of its name before the @."""
        return self.name.partition("@")[0]

    def to_json(self) -> dict[str, Any]:
        """Everything, for machines."""
        return {
            "name": self.name,
            "state": self.state,
            "changes": [asdict(change) for change in self.changes],
            "work": [
                {
                    "folder": str(work.folder),
                    "holder": None if work.holder is None else asdict(work.holder),
                    "group": work.note.group or None,
                    "views": work.note.views,
                    "views_done": work.done,
                    "replicates": work.note.replicates,
                    "training": [asdict(training) for training in work.trainings],
                }
                for work in self.works
            ],
        }


def overview(root: Path, params_path: Path, *, deep: bool) -> list[StageStatus]:
    """The stages of a project in the order of the pipeline.

    Args:
        root: the project's folder.
        params_path: the parameter file.
        deep: results are hashed; else the number and size of their files are compared.

    Raises ParamsError where the parameter file cannot be read, ValueError where dvc.lock cannot.
    """
    lock = Lock(root, load_kept(params_path))
    works = find_work(root / WORK)
    return [status_of(lock, name, works, deep=deep) for name in stage_names(lock.params)]


def status_of(lock: Lock, name: str, works: Iterable[Work], *, deep: bool) -> StageStatus:
    """The state of one stage."""
    own = [work for work in works if name in work.note.stages]
    changes = changes_of(lock, name, deep=deep)
    state = _OF_LOCK[lock.state(name)]
    if changes:
        state = "in part" if all(change.is_part for change in changes) else "stale"
    if any(work.holder is not None for work in own):
        own = [work for work in own if work.holder is not None]
        return StageStatus(name, "running", changes, own)
    if state in ("done", "elsewhere"):
        return StageStatus(name, state)
    return StageStatus(name, state, changes, [work for work in own if work.has_begun])
