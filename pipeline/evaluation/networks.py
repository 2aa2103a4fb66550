"""The trained networks that params.yaml names, where their stages left them, and their features."""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.compute import ROOMS, code_digest, pick_device, set_up, versions
from pipeline.core.class_names import class_numbers
from pipeline.core.dataset import ImageData
from pipeline.core.files import WORK
from pipeline.core.machine import Machine, load_machine
from pipeline.core.params import section
from pipeline.evaluation.features import FeatureCache
from pipeline.evaluation.params import EvaluationParams
from pipeline.evaluation.runs import Run, load_runs
from pipeline.results.record import TIMING

REMOVED = WORK / "removed"


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
        self, data: ImageData, instead: Callable[[str, str], Run | None] | None = None
    ) -> list[Run]:
        """Those that are trained on the data set; arguments and errors as of `load_runs`."""
        return load_runs(self.entries, self.folders, data.fingerprint, instead)

    def absent(self, runs: list[Run]) -> list[str]:
        """`section.name` of every entry that is not among the runs."""
        trained = {(run.section, run.name) for run in runs}
        named = [(part, name) for part, entries in self.entries.items() for name in entries]
        return [f"{part}.{name}" for part, name in named if (part, name) not in trained]

    def tidy(self) -> list[tuple[Path, Path]]:
        """Move what no entry names out of the folders; returns where from and where to.

        Such results of removed entries would otherwise count as what `evaluate` depends on: two clones
        of equal results would disagree about them. Hidden files stay.
        """
        moved = []
        for name, folder in self.folders.items():
            for path in sorted(folder.glob("[!.]*")):
                if path.name.removesuffix(f".{TIMING}") not in self.entries[name]:
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


def class_groups(params: EvaluationParams, data: ImageData) -> dict[str, dict[int, str]]:
    """The groups of classes for V-scores: group -> class number -> name."""
    names = data.class_names
    return {
        group: {number: names[number] for number in class_numbers(members, names)}
        for group, members in params.vscore.groups.items()
    }


def features_of(
    runs: Sequence[Run],
    content: dict[str, Any],
    params: EvaluationParams,
    data: ImageData,
    folder: Path,
    tell: Callable[[str], None],
) -> FeatureCache:
    """Features of all V-score classes, on the machine's device; those that lack are computed now.

    Args:
        content: the whole parameter file.
        folder: where they are kept for the next time.
        tell: is told that some are computed, which may take a while.
    """
    machine = load_machine(content)
    cache = feature_cache(machine, params, data, folder)
    trained = [run for run in runs if run.kept is None] if cache.classes else []
    if lacking := cache.lacking(trained):
        tell(
            f"Computing penultimate features: networks: {len(lacking)}, classes: {len(cache.classes)}"
        )
        set_up(cache.device, machine.threads)
        cache.fill(lacking, machine.processes(len(lacking)))
    return cache


def feature_cache(
    machine: Machine, params: EvaluationParams, data: ImageData, folder: Path
) -> FeatureCache:
    """The cache of the features of all V-score classes, as this code computes them on this machine."""
    classes = {number for group in class_groups(params, data).values() for number in group}
    computed_by = {"versions": versions(), "code": code_digest(ROOMS["features"])}
    return FeatureCache(data, sorted(classes), folder, pick_device(machine), computed_by)
