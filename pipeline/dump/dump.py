"""Dumping a teacher: its logits and features for the clean images and for every view of a group.

The teacher sees each view exactly as a student will: images go through the same gather, the same
normalisation and the same mixing. Views that are there already are left alone.
"""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path

import torch

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
from pipeline.views.plans import ViewRecipe, draw_view, plan_of
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
    """Compute what is missing of one group in a work folder, and finish it.

    Args:
        network: the teacher, on the device; run in eval mode and in its own precision, which is the
            header's.
        header: what the manifest states; its group and recipe say what is computed, its teacher under
            which normalisation.
        folder: the store's root in the work folder.
        on_progress: called with the images done and to do of what was missing.
        exact: the same teacher in float32; needed where the header's precision is a lower one, what
            costs is measured against it.

    Returns the group's files: path inside the store -> finished file.
    """
    data = data.normalised(header.teacher.normalisation)
    if header.group == CLEAN:
        clean = CleanWriter(folder, header, feature_dim=network.feature_dim)
        for name in clean.missing_splits():
            split = data.train if name == "train" else data.test
            bank = clean_bank(split.images, data.mean, data.std, device)
            clean.write_split(name, *predict_clean(network, bank, params.batch_size), split.labels)
        clean.finish()
        return clean.files()
    group, recipe = header.group, header.recipe
    views = params.group(group)
    assert views is not None
    assert recipe is not None
    augmentation = recipe.augmentation
    plan = [draw_view(group, recipe, v, len(data.train.labels)) for v in range(views.views)]
    feature_dim = network.feature_dim if views.features else None
    writer = GroupWriter(folder, header, plan, feature_dim=feature_dim)
    missing = writer.missing_views()
    bank = ImageBank(data.train.images, data.mean, data.std, augmentation, device)
    batches = ViewBatches(bank, data.train.labels, network.num_classes)
    done, total = 0, len(missing) * bank.count
    written: Future[None] | None = None  # of the view before, by a thread

    def count(images: int) -> None:
        nonlocal done
        done += images
        # By the middle of a view the one before is on disk: a kill costs one finished view at most.
        if written is not None and not 0 < done % bank.count < bank.count // 2:
            written.result()
        on_progress(done, total)

    with ThreadPoolExecutor(1) as writing:
        for v in missing:
            epoch = EpochData(plan_of(plan[v]))
            logits, features = predict_epoch(network, batches, epoch, params.batch_size, count)
            kept = features if views.features else None
            written = writing.submit(writer.write_view, v, logits, kept)
    if written is not None:
        written.result()
    error: dict[str, float] = {}
    if header.precision == LOWER:
        assert exact is not None
        error = error_of(network, exact, batches, EpochData(plan_of(plan[0])), header)
    writer.finish(measured_error=error)
    return writer.files()
