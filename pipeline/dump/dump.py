"""Dumping a teacher: its logits and features for the clean images and for every view of a group.

The teacher sees each view exactly as a student will: images go through the same gather, the same
normalisation and the same mixing. Views that are there already are left alone.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.core.dataset import ImageData
from pipeline.dump.error import error_of
from pipeline.dump.params import DumpParams, MixedViews
from pipeline.dump.ready import LOWER
from pipeline.models.network import Network
from pipeline.results.record import Record
from pipeline.store.format.codecs import Codec
from pipeline.store.format.manifest import (
    TF32_TOLERANCE,
    TOLERANCE,
    Header,
    TeacherInfo,
    describe_dataset,
)
from pipeline.store.write.writers import CleanWriter, GroupWriter
from pipeline.views.batches import EpochData, ImageBank, ViewBatches
from pipeline.views.params import CLEAN, GROUPS, Augmentation, GroupName
from pipeline.views.plans import View, ViewRecipe, draw_view, plan_of
from pipeline.views.predict import clean_bank, predict_clean, predict_epoch


def groups_of(params: DumpParams) -> list[GroupName]:
    """The groups that a dump writes."""
    return [CLEAN, *(group for group in GROUPS if params.group(group) is not None)]


def teacher_info(record: Record, data: ImageData) -> TeacherInfo:
    """What a manifest says of the teacher, from the record of its training on a data set."""
    seen = data.normalised(record.normalisation).normalisation
    replicate = record.replicates[0]
    mixup = record.entry.get("mixup")
    return TeacherInfo(
        name=record.name,
        network=record.network,
        weights_sha256=replicate.weights_sha256,
        training={**record.training, "mixup": mixup, "seed": replicate.seed},
        top1_accuracy=replicate.top1_accuracy,
        normalisation=None if seen == data.normalisation else seen,
    )


def group_header(
    group: GroupName,
    params: DumpParams,
    augmentation: Augmentation,
    data: ImageData,
    teacher: TeacherInfo,
    device: torch.device,
) -> Header:
    """What the manifest of a group states. Raises ValueError for a codec that does not suit it."""
    codec = Codec() if group == CLEAN else params.codec
    lower = group != CLEAN and params.precision == LOWER
    packages = ["numpy", "torch", "zarr"] + (["numcodecs"] if codec.level is not None else [])
    return Header(
        group=group,
        dataset=describe_dataset(data),
        teacher=teacher,
        recipe=view_recipe(params, group, augmentation),
        batch_size=params.batch_size,
        precision=LOWER if lower else "float32" if device.type == "cpu" else "tf32",
        tolerance=TOLERANCE if device.type == "cpu" else TF32_TOLERANCE,
        codec=codec,
        lossy=codec.lossy or lower,
        versions={name: version(name) for name in packages},
    )


def view_recipe(
    dump: DumpParams, group: GroupName, augmentation: Augmentation
) -> ViewRecipe | None:
    """How the views of a group are drawn; None for the clean images."""
    if group == CLEAN:
        return None
    params = dump.group(group)
    assert params is not None
    return ViewRecipe(
        pad=augmentation.pad,
        flip=augmentation.flip,
        draw=params.draw,
        alpha=params.alpha if isinstance(params, MixedViews) else None,
        seed=dump.seed,
    )


# Logits and features, which may be left out where the group keeps none.
Outputs = tuple[NDArray[np.floating[Any]], NDArray[np.floating[Any]] | None]
Count = Callable[[int], None]  # called with how many more images are done


class Answers(Protocol):
    """What a teacher answers to the images of one group; each part comes when it is computed."""

    @property
    def feature_dim(self) -> int:
        """Width of the features, D."""

    def splits(self, names: Sequence[str]) -> Iterator[tuple[str, Outputs]]:
        """Logits f2 or f4 [n, C] and features f2 or f4 [n, D] of clean splits ("train", "test")."""

    def views(self, numbers: Sequence[int], count: Count) -> Iterator[tuple[int, Outputs]]:
        """Logits f2 or f4 [N, C] and features f2 or f4 [N, D] of views, in any order."""

    def error(self) -> dict[str, float]:
        """What it costs that the teacher computes in a lower precision; see `error_of`."""


class LocalAnswers:
    """The answers of a teacher on this machine's device.

    Args:
        network: the teacher, on the device; run in eval mode and in its own precision, which is the
            header's.
        header: its group and recipe say what is asked, its teacher under which normalisation.
        exact: the same teacher in float32; needed where the header's precision is a lower one, what
            costs is measured against it.
    """

    def __init__(
        self,
        network: Network,
        header: Header,
        data: ImageData,
        device: torch.device,
        exact: Network | None = None,
    ) -> None:
        self.network, self.header, self.exact = network, header, exact
        self.data, self.device = data.normalised(header.teacher.normalisation), device
        assert header.batch_size is not None, "teachers are asked in batches"
        self.batch_size = header.batch_size

    @property
    def feature_dim(self) -> int:
        """Width of the features, D."""
        return self.network.feature_dim

    def splits(self, names: Sequence[str]) -> Iterator[tuple[str, Outputs]]:
        """See `Answers`."""
        for name in names:
            split = self.data.train if name == "train" else self.data.test
            bank = clean_bank(split.images, self.data.mean, self.data.std, self.device)
            yield name, predict_clean(self.network, bank, self.batch_size)

    def views(self, numbers: Sequence[int], count: Count) -> Iterator[tuple[int, Outputs]]:
        """See `Answers`."""
        for v in numbers:
            epoch = self._epoch(v)
            yield v, predict_epoch(self.network, self._batches, epoch, self.batch_size, count)

    def error(self) -> dict[str, float]:
        """See `Answers`."""
        assert self.exact is not None
        return error_of(self.network, self.exact, self._batches, self._epoch(0), self.header)

    @cached_property
    def _batches(self) -> ViewBatches:
        assert self.header.recipe is not None, "views have a recipe"
        images, augmentation = self.data.train.images, self.header.recipe.augmentation
        bank = ImageBank(images, self.data.mean, self.data.std, augmentation, self.device)
        return ViewBatches(bank, self.data.train.labels, self.network.num_classes)

    def _epoch(self, v: int) -> EpochData:
        return EpochData(plan_of(_view(self.header, v, len(self.data.train.labels))))


def _view(header: Header, v: int, count: int) -> View:
    """The plan of a view of `count` images."""
    assert header.group != CLEAN
    assert header.recipe is not None, "views have a recipe"
    return draw_view(header.group, header.recipe, v, count)


def dump_group(
    network: Network,
    header: Header,
    params: DumpParams,
    data: ImageData,
    device: torch.device,
    folder: Path,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
    *,
    exact: Network | None = None,
) -> dict[str, Path]:
    """Compute what is missing of one group on a device, and finish it: `write_group` of `LocalAnswers`."""
    answers = LocalAnswers(network, header, data, device, exact)
    return write_group(answers, header, params, data, folder, on_progress)


def write_group(
    answers: Answers,
    header: Header,
    params: DumpParams,
    data: ImageData,
    folder: Path,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Path]:
    """Write what is missing of one group into a work folder, and finish it.

    Args:
        header: what the manifest states; its group and recipe say what is asked.
        folder: the store's root in the work folder.
        on_progress: called with the images done and to do of what was missing.

    Returns the group's files: path inside the store -> finished file.
    """
    if header.group == CLEAN:
        clean = CleanWriter(folder, header, feature_dim=answers.feature_dim)
        for name, outputs in answers.splits(clean.missing_splits()):
            split = data.train if name == "train" else data.test
            clean.write_split(name, *outputs, split.labels)
        clean.finish()
        return clean.files()
    views = params.group(header.group)
    assert views is not None
    images = len(data.train.labels)
    plan = [_view(header, v, images) for v in range(views.views)]
    feature_dim = answers.feature_dim if views.features else None
    writer = GroupWriter(folder, header, plan, feature_dim=feature_dim)
    missing = writer.missing_views()
    done, total = 0, len(missing) * images
    written: Future[None] | None = None  # of the view before, by a thread

    def count(more: int) -> None:
        nonlocal done
        done += more
        # By the middle of a view the one before is on disk: a kill costs one finished view at most.
        if written is not None and not 0 < done % images < images // 2:
            written.result()
        on_progress(done, total)

    with ThreadPoolExecutor(1) as writing:
        for v, (logits, features) in answers.views(missing, count):
            if written is not None:
                written.result()
            kept = features if views.features else None
            written = writing.submit(writer.write_view, v, logits, kept)
    if written is not None:
        written.result()
    writer.finish(measured_error=answers.error() if header.precision == LOWER else {})
    return writer.files()
