"""Into the format: logits that were computed elsewhere, with their plan, become a store.

The files are npz in the layout that `export` writes, one a view. `facts` may be left out: what it
would say is then given in words (`Stated`), and the data set is the prepared one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from numpy.typing import NDArray
from pydantic import ConfigDict, TypeAdapter, ValidationError

from pipeline.core.dataset import ImageData
from pipeline.core.normalisation import Normalisation
from pipeline.store.format.layout import SPLITS
from pipeline.store.format.manifest import (
    MAX_WIDTH,
    TOLERANCE,
    DatasetInfo,
    Header,
    TeacherInfo,
    problems_text,
)
from pipeline.store.write.writers import CleanWriter, GroupWriter
from pipeline.tools.export import FACTS
from pipeline.tools.npz import NpzError, NpzReader
from pipeline.views.params import CLEAN, MIXED, PLAIN, Group, GroupName
from pipeline.views.plans import PLAN_ARRAYS, PLAN_DTYPES, View, ViewRecipe

_KINDS = {"crop_yx": "iu", "flip": "biu", "partner": "iu", "lam": "f", "mix_rank": "iu"}


@dataclass(frozen=True, kw_only=True)
class Stated:
    """What the user says of the logits; None: as the files say, or what is written here.

    Attributes:
        teacher, network: names (the store's own; "unknown").
        top1_accuracy: of the teacher, a fraction (not known).
        pad: zero pixels on each side before the crop; has to be known.
        alpha: mixup's; has to be known of mixed views.
        precision: of the forward pass ("unknown").
        tolerance: largest difference of a logit that a recomputation may show (0.02).
        lossy: whether the logits are worse than the float16 of a float32 forward pass.
        normalisation: the teacher's own (the data set's).
    """

    teacher: str | None = None
    network: str | None = None
    top1_accuracy: float | None = None
    pad: int | None = None
    alpha: float | None = None
    precision: str | None = None
    tolerance: float | None = None
    lossy: bool = False
    normalisation: Normalisation | None = None


@dataclass(frozen=True)
class Given:
    """One file: the group that it belongs to and, if it has facts, its view's number and the rest."""

    path: Path
    group: GroupName
    view: int | None = None
    views: int | None = None
    header: Header | None = None
    measured_error: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class _Exported:
    """What an exported file says of itself."""

    __pydantic_config__: ClassVar = ConfigDict(allow_inf_nan=False)

    header: Header
    measured_error: Mapping[str, float]
    view: int | None
    views: int


_FACTS = TypeAdapter(_Exported)


def look_at(path: Path) -> Given:
    """What a file is, from the names of its arrays. Raises NpzError where it is none of ours."""
    with NpzReader(path) as file:
        names = set(file.names)
        if {f"{split}_logits" for split in SPLITS} <= names:
            group: GroupName = CLEAN
        elif {"logits", "crop_yx", "flip"} <= names:
            group = MIXED if "partner" in names else PLAIN
        else:
            listed = ", ".join(sorted(names)[:20]) or "no arrays"
            raise NpzError(
                f"{path}: expected logits, crop_yx and flip (a view) or train_logits and test_logits "
                f"(clean images), found {listed}"
            )
        if FACTS not in names:
            return Given(path, group)
        return _with_facts(path, group, file.text(FACTS))


def _with_facts(path: Path, group: GroupName, text: str) -> Given:
    try:
        facts = _FACTS.validate_json(text, strict=True)
    except ValidationError as error:
        what = f"{FACTS} is not what `export` writes ({problems_text(error)})"
        raise NpzError(f"{path}: {what}") from None
    stated = facts.header.group
    if stated != group:
        raise NpzError(f"{path}: {FACTS}: of the group {stated}, but the arrays are of {group}")
    return Given(path, group, facts.view, facts.views, facts.header, facts.measured_error)


def check_origin(given: Sequence[Given]) -> None:
    """Raises ValueError where files of different teachers or data sets are to become one store."""
    told = [file for file in given if file.header is not None]
    for file in told:
        first, header = told[0], file.header
        assert first.header is not None
        assert header is not None
        for key, what in (("teacher", "teacher"), ("dataset", "data set")):
            if getattr(header, key) != getattr(first.header, key):
                raise ValueError(f"{file.path} and {first.path}: not of the same {what}")


def in_order(given: Sequence[Given]) -> list[Given]:
    """Files of one group by the number of their view; as they come where none has a number.

    Raises ValueError for numbers that are missing or occur twice, and for files that disagree.
    """
    numbers = [file.view for file in given]
    headers = [file.header for file in given]
    for file in given:
        if file.header != headers[0]:
            raise ValueError(f"{file.path} and {given[0].path}: made from different stores")
    if all(number is None for number in numbers):
        return list(given)
    ordered = sorted(given, key=lambda file: -1 if file.view is None else file.view)
    for v, file in enumerate(ordered):
        if file.view != v:
            raise ValueError(
                f"{file.path}: is view {file.view}, where view {v} is expected: give all views "
                "from 0 on, each once"
            )
    if ordered[0].views not in (None, len(ordered)) and ordered[0].view is not None:
        raise ValueError(
            f"{ordered[0].path}: one of {ordered[0].views} views, and {len(ordered)} are given: give "
            "them all (`views` of a student reads the first few)"
        )
    return ordered


def make_header(
    files: Sequence[Given], stated: Stated, name: str, prepared: DatasetInfo | None
) -> Header:
    """The header of a group that is imported from files, in the order of its views.

    `name` is the store's, `prepared` the prepared data set if there is one. Raises ValueError for
    what neither the files nor the user say, and for files of another data set than the prepared
    one.
    """
    first = files[0]
    facts = first.header
    dataset = prepared or (facts.dataset if facts else None)
    if dataset is None:
        raise ValueError(
            f"{first.path}: says of no data set that it belongs to: run `dvc repro prepare` (or "
            "`dvc pull data/prepared`) first, or give --prepared"
        )
    if facts is not None and facts.dataset != dataset:
        raise ValueError(
            f"{first.path}: made from another data set, class order, subset or normalisation than "
            f"the prepared {dataset.name} (fingerprints {facts.dataset.fingerprint[:12]}... and "
            f"{dataset.fingerprint[:12]}...)"
        )
    teacher = facts.teacher if facts else None
    return Header(
        group=first.group,
        dataset=dataset,
        teacher=TeacherInfo(
            name=stated.teacher or (teacher.name if teacher else name),
            network=stated.network or (teacher.network if teacher else "unknown"),
            weights_sha256=None,
            training=teacher.training if teacher else {},
            top1_accuracy=_first(stated.top1_accuracy, teacher and teacher.top1_accuracy),
            normalisation=_normalisation(stated, teacher, dataset),
        ),
        recipe=_recipe(files, stated, dataset.train_images),
        batch_size=None,
        precision=stated.precision or (facts.precision if facts else "unknown"),
        tolerance=_first(stated.tolerance, facts and facts.tolerance, TOLERANCE),
        lossy=stated.lossy or (facts is not None and facts.lossy),
        versions=facts.versions if facts else {},
    )


def _normalisation(
    stated: Stated, teacher: TeacherInfo | None, dataset: DatasetInfo
) -> Normalisation | None:
    """The teacher's own; None where it is the data set's."""
    own = _first(stated.normalisation, teacher and teacher.normalisation)
    return None if own == Normalisation(dataset.mean, dataset.std) else own


def _first(*values: Any) -> Any:
    return next((value for value in values if value is not None), None)


def _recipe(files: Sequence[Given], stated: Stated, images: int) -> ViewRecipe | None:
    first = files[0]
    if first.group == CLEAN:
        return None
    old = first.header.recipe if first.header is not None else None
    pad = _first(stated.pad, old and old.pad)
    alpha = _first(stated.alpha, old and old.alpha) if first.group == MIXED else None
    if pad is None:
        raise ValueError(f"{first.path}: how far were images padded before the crop? Give --pad")
    if alpha is None and first.group == MIXED:
        raise ValueError(f"{first.path}: how were weights of mixup drawn? Give --alpha")
    flip = old.flip if old is not None else _any_flip(files, images)
    return ViewRecipe(pad=pad, flip=flip, draw="given", alpha=alpha, seed=0)


def read_plan(file: NpzReader, group: Group, images: int) -> View:
    """The plan of a view. Raises NpzError."""
    shapes = {"crop_yx": (images, 2)}
    return View.from_arrays(
        {
            name: file.read(name, shapes.get(name, (images,)), _KINDS[name], PLAN_DTYPES[name])
            for name in PLAN_ARRAYS[group]
        }
    )


def read_outputs(
    file: NpzReader, prefix: str, images: int, classes: int
) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """Logits f2 or f4 [N, C] and features f2 or f4 [N, D], if there are any. Raises NpzError."""
    logits = _halves_or_floats(file, f"{prefix}logits", (images, classes))
    name = f"{prefix}features"
    width = feature_width(file, prefix)
    return logits, None if width is None else _halves_or_floats(file, name, (images, width))


def feature_width(file: NpzReader, prefix: str) -> int | None:
    """Width of a file's features; None where it has none. Raises NpzError for one that no store has."""
    name = f"{prefix}features"
    if name not in file.names:
        return None
    shape = file.shape(name)
    if len(shape) != 2:
        what = f"{name}: expected [images, numbers a row], found the shape {list(shape)}"
        raise NpzError(f"{file.path}: {what}: reshape them, or leave them out")
    if not 1 <= shape[1] <= MAX_WIDTH:
        what = f"{name} has {shape[1]:,} numbers a row, a store holds 1 to {MAX_WIDTH:,}"
        raise NpzError(f"{file.path}: {what}: leave them out")
    return shape[1]


def check_labels(path: Path, data: ImageData) -> None:
    """Raises NpzError where the labels of the clean images are not the data set's."""
    with NpzReader(path) as file:
        for split, images in zip(SPLITS, (data.train, data.test), strict=True):
            labels = file.read(f"{split}_labels", images.labels.shape, "iu", "i4")
            wrong = int((labels != images.labels).sum())
            if wrong:
                raise NpzError(
                    f"{path}: {wrong:,} of its {split} labels are not the prepared data set's: give "
                    "--prepared of the one that it belongs to, or bring its rows into that one's order"
                )


def _halves_or_floats(file: NpzReader, name: str, shape: tuple[int, ...]) -> NDArray[Any]:
    array = file.read(name, shape, "f")
    return array.astype("f2" if array.dtype.itemsize == 2 else "f4")


def import_group(folder: Path, files: Sequence[Given], header: Header) -> dict[str, Path]:
    """Write one group from its files, in the order of its views; returns its files to publish.

    Raises NpzError where an array is not what the data set needs, ValueError for impossible plans.
    """
    dataset = header.dataset
    if header.group == CLEAN:
        with NpzReader(files[0].path) as file:
            clean = CleanWriter(folder, header, feature_dim=feature_width(file, "train_"))
            for split, count in zip(
                SPLITS, (dataset.train_images, dataset.test_images), strict=True
            ):
                outputs = read_outputs(file, f"{split}_", count, dataset.classes)
                labels = file.read(f"{split}_labels", (count,), "iu", "i4")
                clean.write_split(split, *outputs, labels)
        clean.finish(measured_error=files[0].measured_error)
        return clean.files()
    plan = []
    for given in files:
        with NpzReader(given.path) as file:
            plan.append(read_plan(file, header.group, dataset.train_images))
            width = feature_width(file, "")
    writer = GroupWriter(folder, header, plan, feature_dim=width)
    for v, given in enumerate(files):
        with NpzReader(given.path) as file:
            writer.write_view(v, *read_outputs(file, "", dataset.train_images, dataset.classes))
    writer.finish(measured_error=files[0].measured_error)
    return writer.files()


def _any_flip(files: Sequence[Given], images: int) -> bool:
    for given in files:
        with NpzReader(given.path) as file:
            if file.read("flip", (images,), _KINDS["flip"], "?").any():
                return True
    return False
