"""The trained networks that params.yaml names, where their stages left them: options and loading."""

import functools
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pipeline.core.files import PREPARED, TEACHERS, WORK
from pipeline.core.params import section
from stages.shared.options import path_option

if TYPE_CHECKING:  # for a quick --help
    from pipeline.core.dataset import ImageData
    from pipeline.report.runs import Run

REMOVED = WORK / "removed"
F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class Networks:
    """The entries of each section of params.yaml, and the folder that holds a folder for each."""

    entries: dict[str, dict[str, Any]]
    folders: dict[str, Path]

    @classmethod
    def of(cls, content: dict[str, Any], **folders: Path) -> "Networks":
        """The networks of a parameter file; `folders` are named by section."""
        return cls({name: section(content, dict[str, Any], name) for name in folders}, folders)

    @property
    def count(self) -> int:
        """How many there are to be."""
        return sum(map(len, self.entries.values()))

    def load(
        self, data: "ImageData", instead: "Callable[[str, str], Run | None] | None" = None
    ) -> "list[Run]":
        """Those that are trained on the data set; arguments and errors as of `load_runs`."""
        from pipeline.report.runs import load_runs

        return load_runs(self.entries, self.folders, data.fingerprint, instead)

    def absent(self, runs: "list[Run]") -> list[str]:
        """`section.name` of every entry that is not among the runs."""
        found = {(run.section, run.name) for run in runs}
        named = [(part, name) for part, entries in self.entries.items() for name in entries]
        return [f"{part}.{name}" for part, name in named if (part, name) not in found]

    def tidy(self) -> list[tuple[Path, Path]]:
        """Move what no entry names out of the folders; returns where from and where to.

        Such results of removed entries would otherwise count as what `evaluate` depends on: two clones
        of equal results would disagree about them. Hidden files stay.
        """
        moved = []
        for name, folder in self.folders.items():
            for path in sorted(folder.glob("[!.]*")):
                if path.name not in self.entries[name]:
                    target = REMOVED / name / path.name
                    moved.append((path, target))
                    _replace(path, target)
        return moved


def _replace(source: Path, target: Path) -> None:
    """Move to where something older may lie."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.is_dir() and not target.is_symlink():
        shutil.rmtree(target)
    source.replace(target)


features_option = path_option(
    "--features", WORK / "features", "Folder of features that have been computed."
)


def network_options(function: F) -> F:
    """Where the prepared data set, the trained networks lie."""
    options = (
        path_option("--prepared", PREPARED, "Prepared data set."),
        path_option("--teachers", TEACHERS, "Folder of the trained teachers."),
        path_option("--baselines", "data/baselines", "Folder of the networks trained alone."),
        path_option("--students", "data/students", "Folder of the students."),
    )
    return functools.reduce(lambda made, option: option(made), reversed(options), function)
