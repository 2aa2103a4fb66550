"""The record of a training stage: what was trained on what, and how well each network of it did.

A training stage leaves a folder:

```
record.json              a `Record`; the same inputs give the same bytes
replicate-0/ ...         weights.safetensors, curves.csv, test_logits.npy,
                         train_sample.safetensors (`samples`)
```
"""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self, TypeVar

from pipeline.core.dataset import ImageData
from pipeline.core.errors import DecantError
from pipeline.core.files import canonical_json
from pipeline.core.normalisation import Normalisation
from pipeline.core.params import checked, read

T = TypeVar("T")

RECORD, TIMING = "record.json", "timing.json"
WEIGHTS, CURVES, TEST_LOGITS = "weights.safetensors", "curves.csv", "test_logits.npy"


class ResultsError(DecantError):
    """Results of a stage that are absent or cannot be read."""


@checked
class ReplicateRecord:
    """One trained network, after its last epoch.

    Accuracies are fractions of the test images, `nll` is in nats; `train_loss` is None where nothing was
    trained.
    """

    replicate: int
    seed: int
    top1_accuracy: float
    top5_accuracy: float
    nll: float
    train_loss: float | None
    weights_sha256: str

    @classmethod
    def parse(cls, content: Any, source: Path) -> Self:
        """What was written as JSON. Raises ResultsError, naming the file, for anything else."""
        return _parsed(cls, content, f"{source} is not the record of a replicate")


@checked
class DatasetFacts:
    """The prepared data set: its fingerprint, and numbers of classes and images."""

    name: str
    fingerprint: str
    classes: int
    train_images: int
    test_images: int
    evaluated_on: str

    @classmethod
    def of(cls, data: ImageData) -> Self:
        """Those of a data set."""
        return cls(
            name=data.name,
            fingerprint=data.fingerprint,
            classes=len(data.class_names),
            train_images=len(data.train.labels),
            test_images=len(data.test.labels),
            evaluated_on=data.evaluated_on,
        )


@checked
class MethodFacts:
    """A student's method: its name in params.yaml, its loss and the loss's hyper-parameters."""

    name: str
    loss: str
    options: Mapping[str, Any]


@checked
class ViewFacts:
    """How many views of a group a student read, and how they were drawn; `alpha` of mixed views."""

    views: int
    draw: str
    alpha: float | None


@checked
class CropFacts:
    """A training image in a view: its index, its crop's corner in the padded image, whether it is flipped."""

    index: int
    crop_yx: tuple[int, int]
    flip: bool


@checked
class ExampleFacts:
    """One training image as a student sees it, and what the teacher says of that.

    Attributes:
        partner, lam: the student sees lam * image + (1 - lam) * partner; None: the image alone.
        likely: the teacher's likeliest classes with their probabilities at T = 1, likeliest first.
    """

    image: CropFacts
    partner: CropFacts | None
    lam: float | None
    likely: tuple[tuple[int, float], ...]


@checked
class SeenFacts:
    """Some images of one view of a group: no pixels, which the prepared data set has."""

    group: str
    view: int
    images: tuple[ExampleFacts, ...]


@checked
class TeacherFacts:
    """A student's teacher, as its store tells of it.

    Attributes:
        mixup_alpha: of the teacher's own training; None: no mixup.
        weights_sha256, top1_accuracy: None where the logits were imported and they are not known.
        store: group -> digest of its manifest.
        views: group -> what the student read of it.
        seen: a few images as the student sees them; None in records of versions that kept none.
    """

    name: str
    network: str
    mixup_alpha: int | float | None
    weights_sha256: str | None
    top1_accuracy: float | None
    store: Mapping[str, str]
    views: Mapping[str, ViewFacts]
    seen: SeenFacts | None = None


@checked
class Record:
    """One entry of params.yaml with all its replicates.

    Attributes:
        kind: teacher, baseline or student.
        parameters: how many numbers a network learned.
        feature_dim: width of its penultimate features.
        entry: as params.yaml had it.
        training, augmentation: what it was trained with, defaults included.
        method, teacher: of students alone.
        normalisation: where the network is given images under another one than the data set's.
        ranks: processes that trained each network together; absent of one.
    """

    kind: str
    name: str
    network: str
    parameters: int
    feature_dim: int
    entry: Mapping[str, Any]
    training: Mapping[str, Any]
    augmentation: Mapping[str, Any]
    dataset: DatasetFacts
    method: MethodFacts | None = None
    teacher: TeacherFacts | None = None
    normalisation: Normalisation | None = None
    ranks: int = 1
    replicates: tuple[ReplicateRecord, ...]

    def __post_init__(self) -> None:
        if not self.replicates:
            raise ValueError("replicates: there are none")

    @classmethod
    def parse(cls, content: Any, source: Path) -> Self:
        """What `facts` gave, read from JSON. Raises ResultsError, naming the file, for anything else."""
        if isinstance(content, dict) and isinstance(content.get("method"), dict):
            own = {"name", "loss"}
            options = {name: value for name, value in content["method"].items() if name not in own}
            named = {name: value for name, value in content["method"].items() if name in own}
            content = {**content, "method": {**named, "options": options}}
        return _parsed(cls, content, f"{source} is not the record of a training stage")

    def facts(self) -> dict[str, Any]:
        """All of it as JSON has it: a method's options stand beside its name."""
        facts = asdict(self)
        if self.method is not None:
            facts["method"] = {**facts["method"].pop("options"), **facts["method"]}
        if self.normalisation is None:
            del facts["normalisation"]
        if self.ranks == 1:
            del facts["ranks"]
        if self.teacher is not None and self.teacher.seen is None:
            del facts["teacher"]["seen"]
        return facts

    def to_json(self) -> bytes:
        """The content of record.json."""
        return canonical_json(self.facts())


def _parsed(cls: type[T], content: Any, problem: str) -> T:
    problems: list[str] = []
    parsed = read(cls, content, "record", problems)
    if problems:
        more = f" and {len(problems) - 1} more" if len(problems) > 1 else ""
        raise ResultsError(f"{problem} ({problems[0]}{more}); make it again")
    assert isinstance(parsed, cls)
    return parsed


def read_record(folder: Path) -> Record:
    """The record of a training stage's folder. Raises ResultsError, saying how to mend it."""
    path = folder / RECORD
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ResultsError(
            f"{folder} holds no {RECORD}: run its stage (`dvc repro`) or pull it (`dvc pull {folder}`)"
        ) from None
    except (ValueError, RecursionError) as error:
        raise ResultsError(f"{path} is not readable: {error}; pull or make it again") from None
    return Record.parse(content, path)


def timing_file(folder: Path) -> Path:
    """Where the timings of a training stage's folder lie: beside it, since no two runs share them.

    DVC ignores the file (`.dvcignore`): it is no part of the results.
    """
    return folder.with_name(f"{folder.name}.{TIMING}")
