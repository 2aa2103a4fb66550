"""The networks of a params.yaml, as their training stages left them: records, logits, weights, curves."""

import csv
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.arrays import read_array
from pipeline.core.params import read
from pipeline.evaluation.kept_format import Kept
from pipeline.results.record import (
    CURVES,
    RECORD,
    TEST_LOGITS,
    WEIGHTS,
    Record,
    ResultsError,
    ViewFacts,
    read_record,
)
from pipeline.results.samples import TRAIN_SAMPLE, TrainSample, read_train_sample
from pipeline.training.params import TrainingParams

SECTIONS = ("teachers", "baselines", "students")


@dataclass(frozen=True)
class Run:
    """One entry of a section of params.yaml with all its replicates.

    `kept` holds the numbers of a network that was trained elsewhere and of which no more is at hand
    (`kept`): it has no logits and no weights.
    """

    section: str
    name: str
    folder: Path
    record: Record
    kept: Kept | None = None

    @property
    def network(self) -> str:
        """Name of the architecture."""
        return self.record.network

    @property
    def count(self) -> int:
        """Number of replicates."""
        return len(self.record.replicates)

    @property
    def teacher(self) -> str | None:
        """Name of the teacher's entry; None for networks trained on hard labels."""
        teacher = self.record.teacher
        return None if teacher is None else teacher.name

    @property
    def views_of_store(self) -> Mapping[str, ViewFacts]:
        """What a student read of each group of its teacher's store; nothing for others."""
        teacher = self.record.teacher
        return {} if teacher is None else teacher.views

    @property
    def mixup_alpha(self) -> float | None:
        """Alpha of the mixup that a hard-label network was trained with; None: no mixup."""
        mixup = self.record.entry.get("mixup")
        return None if not mixup or not self.share else float(mixup["alpha"])

    @property
    def share(self) -> float:
        """Part of the training images that is mixed, in [0, 1]."""
        entry = self.record.entry
        if self.section == "students":
            return float(entry["share"])
        mixup = entry.get("mixup")
        return float(mixup.get("share", 1.0)) if mixup else 0.0

    @property
    def views(self) -> int | None:
        """Number of views that a student was limited to; None: all of its store's, or no student."""
        views = self.record.entry.get("views")
        return None if views is None else int(views)

    @property
    def method(self) -> str:
        """Name of the method; else `hard labels`, or `imported weights` where nothing was trained."""
        if self.record.method is not None:
            return self.record.method.name
        return "imported weights" if self.is_imported else "hard labels"

    @property
    def is_imported(self) -> bool:
        """Whether its weights came from elsewhere: nothing was trained."""
        return bool(self.record.entry.get("weights"))

    @property
    def loss(self) -> str | None:
        """Name of the loss; None for networks trained on hard labels."""
        return None if self.record.method is None else self.record.method.loss

    @property
    def training(self) -> Mapping[str, Any]:
        """The recipe that it was trained by, as recorded; empty of imported weights."""
        return {} if self.is_imported else self.record.training

    @cached_property
    def recipe(self) -> Mapping[str, Any]:
        """What of its training its numbers depend on, defaults included; empty of imported weights."""
        facts = {} if self.is_imported else asdict(recipe_of(self.record))
        return {name: value for name, value in facts.items() if name != "evaluate_every"}

    @property
    def epochs(self) -> int:
        """Length of the training; 0 of imported weights."""
        return int(self.training.get("epochs", 0))

    @property
    def top1_accuracies(self) -> tuple[float, ...]:
        """Top-1 accuracy (fraction) of every replicate, after its last epoch."""
        return tuple(replicate.top1_accuracy for replicate in self.record.replicates)

    def test_logits(self, replicate: int) -> NDArray[np.float32]:
        """Logits f4 [N, C] of the test images, in data-set order."""
        path = self._file(replicate, TEST_LOGITS)
        try:
            return read_array(path)
        except ValueError as error:
            raise ResultsError(f"{path} {error}; pull or make it again") from None

    def train_sample(self, replicate: int) -> TrainSample | None:
        """Logits of some training images; None where the stage kept none."""
        return read_train_sample(self._file(replicate, TRAIN_SAMPLE))

    def weights_file(self, replicate: int) -> Path:
        """Where the weights of a replicate lie."""
        return self._file(replicate, WEIGHTS)

    def curves(self, replicate: int) -> dict[str, list[float]]:
        """The columns of curves.csv; NaN where an epoch was not evaluated."""
        if self.kept is not None:
            columns = self.kept.curves[replicate]
            return {name: [nan_of(value) for value in column] for name, column in columns.items()}
        path = self._file(replicate, CURVES)
        try:
            reader = csv.DictReader(path.read_text(encoding="ascii").splitlines())
            rows, names = list(reader), reader.fieldnames or ()
            curves = {name: [float(row[name] or "nan") for row in rows] for name in names}
        except (ValueError, TypeError) as error:
            raise ResultsError(f"{path} is not readable ({error}); pull or make it again") from None
        if not {"epoch", "test_top1_accuracy"} <= curves.keys():
            raise ResultsError(f"{path} lacks columns; pull or make it again")
        return curves

    def missing_files(self) -> list[str]:
        """Files of replicates that the record speaks of and the folder lacks."""
        return [
            f"replicate-{replicate}/{name}"
            for replicate in range(self.count)
            for name in (TEST_LOGITS, CURVES, WEIGHTS)
            if not (self.folder / f"replicate-{replicate}" / name).exists()
        ]

    def _file(self, replicate: int, name: str) -> Path:
        return self.folder / f"replicate-{replicate}" / name


def nan_of(value: float | None) -> float:
    """A number as it is, NaN for None."""
    return math.nan if value is None else float(value)


def recipe_of(record: Record) -> TrainingParams:
    """The recipe of a record, defaults included. Raises ResultsError for one of another version."""
    problems: list[str] = []
    params = read(TrainingParams, record.training, "training", problems)
    if problems:
        raise ResultsError(f"not a recipe of this version: {'; '.join(problems)}")
    assert isinstance(params, TrainingParams)
    return params


def load_runs(
    entries: Mapping[str, Mapping[str, Any]],
    roots: Mapping[str, Path],
    fingerprint: str,
    instead: Callable[[str, str], Run | None] | None = None,
) -> list[Run]:
    """Every entry's run, in the order of the sections and of their names.

    Args:
        entries: section of params.yaml -> name -> entry; nothing else is looked for.
        roots: section -> folder that holds a folder for each of them.
        fingerprint: of the data set that all of them must have been trained on.
        instead: (section, name) -> the run of an entry whose folder has no record, or None, and the
            entry is left out; where it is not given, such an entry is an error.

    Raises ResultsError with a line for each entry that is absent, damaged, or that was trained with
    other parameters or on another data set.
    """
    runs, problems = [], []
    for section in SECTIONS:
        for name, entry in entries.get(section, {}).items():
            folder = roots[section] / name
            try:
                if instead is None or (folder / RECORD).exists():
                    runs.append(_load(section, name, entry, folder, fingerprint))
                elif (other := instead(section, name)) is not None:
                    runs.append(other)
            except ResultsError as error:
                problems.append(f"{section}.{name}: {error}")
    problems += stale_students(runs)
    if problems:
        raise ResultsError("\n".join(problems))
    return runs


def stale_students(runs: Sequence[Run]) -> list[str]:
    """Students that learned from other weights than those that their teacher has now."""
    teachers = {
        run.name: run.record.replicates[0].weights_sha256
        for run in runs
        if run.section == "teachers"
    }
    return [
        f"students.{run.name}: {run.folder} was trained from a store of an older version of the "
        f"teacher {run.teacher}; run `decant repro train_student@{run.name}`"
        for run in runs
        if (teacher := run.record.teacher) is not None
        and teacher.weights_sha256 is not None
        and teachers.get(teacher.name, teacher.weights_sha256) != teacher.weights_sha256
    ]


def _load(section: str, name: str, entry: Any, folder: Path, fingerprint: str) -> Run:
    run = Run(section, name, folder, read_record(folder))
    missing = run.missing_files()
    if missing:
        raise ResultsError(
            f"{folder} lacks {', '.join(missing[:3])}{' ...' if len(missing) > 3 else ''}: "
            f"run its stage again (`dvc repro`) or pull it (`dvc pull {folder}`)"
        )
    check_record(run.record, entry, fingerprint, folder)
    return run


def check_record(record: Record, entry: Any, fingerprint: str, where: Path) -> None:
    """Raise ResultsError where a record is of other data, or of other parameters than the entry's."""
    if record.dataset.fingerprint != fingerprint:
        raise ResultsError(
            f"{where} was trained on another data set than the prepared one: `decant prepare` brings "
            "that of the parameters, and `decant repro` trains on it"
        )
    # A record may be from a remote: the code that it names is run only where the entry names it, too.
    if record.entry != json.loads(json.dumps(entry)) or record.network != entry["network"]:
        raise ResultsError(
            f"{where} was trained with other parameters than its entry has now; run `dvc repro`"
        )


def describe(run: Run) -> str:
    """What a network was trained with, in a few words: method, mixup, a limited number of views.

    Examples: `hard labels`, `hard labels, mixup alpha 1`, `kd, 50 % mixed`, `kd, 4 views`.
    """
    if run.section == "students":
        part = "all" if run.share == 1 else share_text(run.share)
        mixed = f", {part} mixed" if run.share else ""
        return run.method + mixed + views_text(run.views)
    if run.mixup_alpha is None:
        return run.method
    part = "" if run.share == 1 else f" on {share_text(run.share)}"
    return f"{run.method}, mixup alpha {run.mixup_alpha:g}{part}"


def share_text(share: float) -> str:
    """A share in percent, as short as it can be: 0.1 -> `10 %`, 0.408 -> `40.8 %`."""
    return f"{round(100 * share, 2):g} %"


def views_text(views: int | None) -> str:
    """A limited number of views, to follow a method's name: 4 -> `, 4 views`, None -> nothing."""
    return "" if views is None else f", {views} view{'s' * (views != 1)}"
