"""What the entries of a params.yaml cost: floating-point operations and bytes, before anything runs.

How long operations take is for a measured rate to say (`pipeline.planning.rate`). Bytes follow from the
layout of the files.

Not here: what a report costs (minutes), and the time to read, augment and write.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.core.dataset_params import DatasetParams
from pipeline.core.files import STORES
from pipeline.core.params import read, section
from pipeline.distill.params import StudentParams, groups_of
from pipeline.dump.params import DumpParams, Precision
from pipeline.evaluation.params import VScoreParams
from pipeline.hard_labels.params import BaselineParams, TeacherParams
from pipeline.models.catalogue import MODELS
from pipeline.raw import imagefolder
from pipeline.results.samples import TRAIN_SAMPLE_IMAGES
from pipeline.store.format.check import read_manifest
from pipeline.store.format.codecs import CRC_BYTES, Codec
from pipeline.store.format.errors import StoreError
from pipeline.store.format.layout import GroupShape, group_arrays, metadata_files, root_metadata
from pipeline.training.cost import TRAINING_PASSES, NetworkCost, network_cost
from pipeline.training.params import TrainingParams
from pipeline.views.params import CLEAN, GROUPS

# Images of each class: training set, and test set where the data set has its own.
CLASS_SIZES: dict[str, tuple[tuple[int, ...], tuple[int, ...] | None]] = {
    "digits": ((178, 182, 177, 183, 181, 182, 181, 179, 174, 180), None),
    "cifar10": ((5000,) * 10, (1000,) * 10),
    "cifar100": ((500,) * 100, (100,) * 100),
}


@dataclass(frozen=True)
class ImageCounts:
    """Images of the training and the test set as they will be prepared, classes, pixels a side."""

    train: int
    test: int
    classes: int
    image_size: int


@dataclass(frozen=True, kw_only=True)
class StageCost:
    """One stage of the pipeline, by its name in DVC.

    Attributes:
        kind: the part of the name before the @.
        network, teacher: architectures that run; the teacher's is the one that a store stands in for.
        replicates: networks that it trains.
        training_flops, view_flops: of one replicate's training steps, and of the views of a dump.
        precision: of these.
        forward_flops: of forward passes besides, of one replicate; they are always in float32.
        live_teacher_flops: of one replicate: what the teacher would cost if it ran in the training loop.
        teacher_precision: of these: the store's.
        out_bytes: of what the stage writes; `group_bytes` splits those of a store.
    """

    name: str
    kind: str
    network: str | None = None
    teacher: str | None = None
    replicates: int = 1
    training_flops: int = 0
    view_flops: int = 0
    precision: Precision = "float32"
    forward_flops: int = 0
    live_teacher_flops: int = 0
    teacher_precision: Precision = "float32"
    out_bytes: int = 0
    group_bytes: Mapping[str, int] | None = None

    @property
    def flops(self) -> int:
        """Operations of all replicates."""
        return self.replicates * (self.training_flops + self.view_flops + self.forward_flops)


def count_images(params: DatasetParams, root: Path) -> ImageCounts:
    """How many images `prepare` will leave, without reading any.

    `root` is the folder of raw data, looked at for `imagefolder` alone (DatasetError where it is not
    one). Parts that are drawn are stratified as in `pipeline.raw.load`.
    """
    train, test = class_sizes(params, root)
    if test is None:
        assert params.test_fraction is not None, "checked with the parameters"
        test = [_part(size, params.test_fraction) for size in train]
        train = [size - held for size, held in zip(train, test, strict=True)]
    if params.validation_fraction > 0:
        test = [_part(size, params.validation_fraction) for size in train]
        train = [size - held for size, held in zip(train, test, strict=True)]
    if params.subset_fraction < 1:
        train = [_part(size, params.subset_fraction) for size in train]
    return ImageCounts(sum(train), sum(test), len(train), params.image_size)


def class_sizes(params: DatasetParams, root: Path) -> tuple[list[int], list[int] | None]:
    """Images of each class in the raw training and test sets; None where there is no test set."""
    if params.name != "imagefolder":
        train, test = CLASS_SIZES[params.name]
        return list(train), None if test is None else list(test)
    images = imagefolder.find_images(root, params.test_fraction)
    sizes = [
        None if part is None else np.bincount(part.labels, minlength=len(images.class_names))
        for part in (images.train, images.test)
    ]
    assert sizes[0] is not None
    return sizes[0].tolist(), None if sizes[1] is None else sizes[1].tolist()


def _part(size: int, fraction: float) -> int:
    return max(1, math.floor(fraction * size + 0.5))


def store_bytes(dump: DumpParams, feature_dim: int, counts: ImageCounts) -> dict[str, int]:
    """Bytes of each group of a store: chunks with their CRC, and metadata; before any compression.

    Manifests, which list the files, are left out: some 200 bytes a file.
    """
    sizes = {CLEAN: len(root_metadata()) + _group_bytes(CLEAN, counts, 0, feature_dim)}
    for group in GROUPS:
        views = dump.group(group)
        if views is not None:
            width = feature_dim if views.features else None
            sizes[group] = _group_bytes(group, counts, views.views, width, dump.codec)
    return sizes


def _group_bytes(
    group: str, counts: ImageCounts, views: int, feature_dim: int | None, codec: Codec | None = None
) -> int:
    arrays = group_arrays(
        GroupShape(
            group=group,
            train_images=counts.train,
            test_images=counts.test,
            classes=counts.classes,
            views=views,
            feature_dim=feature_dim,
            codec=codec or Codec(),
        )
    )
    chunks = sum(math.prod(spec.grid) * (spec.chunk_bytes + CRC_BYTES) for spec in arrays.values())
    return chunks + sum(map(len, metadata_files(group, arrays).values()))


class Costs:
    """The costs of all stages of a parameter file.

    Args:
        content: a whole parameter file that has been checked.
        counts: the images of its data set (see `count_images`).
    """

    def __init__(self, content: Mapping[str, Any], counts: ImageCounts) -> None:
        self.content, self.counts = content, counts
        self.teachers = section(content, dict[str, TeacherParams], "teachers")
        self.baselines = section(content, dict[str, BaselineParams], "baselines")
        self.dumps = section(content, dict[str, DumpParams], "dumps")
        self.students = section(content, dict[str, StudentParams], "students")
        groups = section(content, VScoreParams, "evaluation", "vscore").groups
        self.feature_classes = len({name for names in groups.values() for name in names})

    def stages(self) -> Iterator[StageCost]:
        """All stages, in the order of the pipeline."""
        pixels = 3 * self.counts.image_size**2
        prepared = (self.counts.train + self.counts.test) * (pixels + 4)
        yield StageCost(name="check", kind="check", out_bytes=0)
        yield StageCost(name="prepare", kind="prepare", out_bytes=prepared)
        for name, teacher in self.teachers.items():
            yield self._trained("train_teacher", name, teacher)
        for name, baseline in self.baselines.items():
            yield self._trained("train_baseline", name, baseline)
        for name, dump in self.dumps.items():
            yield self._dump(name, dump)
        for name, student in self.students.items():
            yield self._trained("train_student", name, student)
        yield StageCost(name="evaluate", kind="evaluate", out_bytes=self._features())

    def network(self, name: str) -> NetworkCost:
        """A network of this data set."""
        return network_cost(name, self.counts.classes, self.counts.image_size)

    def training(self, overrides: Mapping[str, Any]) -> TrainingParams:
        """The shared recipe with an entry's own values in place of the shared ones."""
        problems: list[str] = []
        params = read(TrainingParams, {**self.content["training"], **overrides}, "", problems)
        assert isinstance(params, TrainingParams), problems
        return params

    def _trained(
        self, kind: str, name: str, entry: TeacherParams | BaselineParams | StudentParams
    ) -> StageCost:
        network, counts = self.network(entry.network), self.counts
        training = self.training(entry.training)
        imported = isinstance(entry, TeacherParams) and entry.weights is not None
        epochs = 0 if imported else training.epochs
        sample = min(TRAIN_SAMPLE_IMAGES, counts.train)
        # Evaluations during training, one more of the finished network, and the sample of training images.
        evaluations = math.ceil(epochs / training.evaluate_every) + 1
        teacher, live, teacher_precision = None, 0, StageCost.teacher_precision
        if isinstance(entry, StudentParams):
            teacher, teacher_precision = self._teacher(entry)
            if teacher is not None:
                live = epochs * counts.train * self.network(teacher).forward_flops
        logits = 4 * counts.test * counts.classes + sample * (4 * counts.classes + 4)
        return StageCost(
            name=f"{kind}@{name}",
            kind=kind,
            network=entry.network,
            teacher=teacher,
            replicates=entry.replicates,
            training_flops=TRAINING_PASSES * epochs * counts.train * network.forward_flops,
            precision=training.precision if epochs else StageCost.precision,
            forward_flops=(evaluations * counts.test + sample) * network.forward_flops,
            live_teacher_flops=live,
            teacher_precision=teacher_precision,
            out_bytes=entry.replicates * (network.state_bytes + logits),
        )

    def _features(self) -> int:
        """Bytes of the penultimate features of the V-score classes, f2, and labels, i4, of all networks."""
        part = self.feature_classes / self.counts.classes
        images = round(part * self.counts.train) + round(part * self.counts.test)
        entries: list[TeacherParams | BaselineParams | StudentParams]
        entries = [*self.teachers.values(), *self.baselines.values(), *self.students.values()]
        row_bytes = (
            entry.replicates * (2 * self.network(entry.network).feature_dim + 4)
            for entry in entries
        )
        return images * sum(row_bytes)

    def _teacher(self, student: StudentParams) -> tuple[str | None, Precision]:
        """A student's teacher and the precision of its store; of a pinned one as the manifest says.

        None where that cannot be told: what a stranger's manifest names is not looked for in code.
        """
        if student.teacher in self.dumps:
            return self.teachers[student.teacher].network, self.dumps[student.teacher].precision
        try:
            folder = STORES / f"{student.teacher}.zarr"
            header = read_manifest(folder, groups_of(student.share)[0]).header
        except StoreError:
            return None, StageCost.teacher_precision
        network = header.teacher.network
        precision: Precision = "bfloat16" if header.precision == "bfloat16" else "float32"
        return network if network in MODELS else None, precision

    def _dump(self, name: str, dump: DumpParams) -> StageCost:
        network = self.network(self.teachers[name].network)
        sizes = store_bytes(dump, network.feature_dim, self.counts)
        clean = self.counts.train + self.counts.test
        return StageCost(
            name=f"dump@{name}",
            kind="dump",
            network=self.teachers[name].network,
            view_flops=dump.view_count * self.counts.train * network.forward_flops,
            precision=dump.precision,
            forward_flops=clean * network.forward_flops,
            out_bytes=sum(sizes.values()),
            group_bytes=sizes,
        )
