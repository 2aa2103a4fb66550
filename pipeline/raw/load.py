"""Decode raw data sets: digits, CIFAR-10, CIFAR-100, folders of the user's own images.

`load_raw` reads a data set, resizes, splits and subsets it, and returns an `ImageData`
(`pipeline.core.dataset`); later stages read the prepared images instead of the raw files.

Every random part (test, validation, subset) is stratified: of a class with n images it gets
floor(fraction * n + 1/2), and at least one. It depends on labels and seed alone.
"""

import hashlib
import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.core.asked_dataset import channel_statistics
from pipeline.core.dataset import ImageData, Images, Labels, Split, fingerprint
from pipeline.core.dataset_facts import DatasetError
from pipeline.core.dataset_params import DatasetParams
from pipeline.raw import imagefolder
from pipeline.raw.image_files import UnreadableImagesError, read_images

Indices = NDArray[np.int64]
Progress = Callable[[int, int], None]

MAX_IMAGE_BYTES = 8 * 2**30
# Each part has its own random stream: another validation fraction does not change the test split.
_STREAMS = {"test": 1, "validation": 2, "subset": 3}


@dataclass(frozen=True, eq=False)
class _Pool:
    """Labelled images that are decoded on demand: `read` decodes those at some indices."""

    labels: Labels
    read: Callable[[Indices, Callable[[], None]], Images]


@dataclass(frozen=True, eq=False)
class _Source:
    """A raw data set: class names, training images, and test images if it has its own."""

    class_names: tuple[str, ...]
    train: _Pool
    test: _Pool | None
    notes: dict[str, Any]


def load_raw(
    params: DatasetParams,
    root: Path,
    *,
    download: bool,
    progress: Progress = lambda done, total: None,
) -> ImageData:
    """Read, resize, split and subset the raw data set.

    Args:
        root: the folder that holds torchvision's CIFAR, or the class folders (digits needs none: it comes
            with scikit-learn).
        download: fetch CIFAR into `root` if it is not there.
        progress: called with the number of image files decoded so far, and the number of all.

    Raises `DatasetError` if data are missing, damaged, too few for the split or too large for memory.
    """
    source = _open_source(params, root, download=download)
    notes: dict[str, Any] = {"image_size": params.image_size, "seed": params.seed, **source.notes}
    kept = np.arange(len(source.train.labels))
    if source.test is None:
        assert params.test_fraction is not None, "readers refuse data without any test images"
        kept, held_out = _hold_out(source, kept, params, "test", params.test_fraction, notes)
        test_pool = source.train
    else:
        test_pool, held_out = source.test, np.arange(len(source.test.labels))
    if params.validation_fraction > 0:
        fraction = params.validation_fraction
        kept, held_out = _hold_out(source, kept, params, "validation", fraction, notes)
        test_pool = source.train
    if params.subset_fraction < 1:
        fraction = params.subset_fraction
        kept = kept[stratified_part(source.train.labels[kept], fraction, params.seed, "subset")]
        notes["subset"] = _note(kept, fraction)
    _check_memory(len(kept) + len(held_out), params.image_size)
    train, test = _read_both((source.train, kept), (test_pool, held_out), progress)
    mean, std = channel_statistics(train.images)
    if params.std is None and min(std) == 0:
        raise DatasetError("a channel is the same in all training images; give dataset.std a value")
    return ImageData(
        name=params.name,
        train=train,
        test=test,
        class_names=source.class_names,
        mean=mean if params.mean is None else params.mean,
        std=std if params.std is None else params.std,
        fingerprint=fingerprint(train, test, source.class_names),
        evaluated_on="validation" if params.validation_fraction > 0 else "test",
        notes=notes,
    )


def stratified_part(labels: Labels, fraction: float, seed: int, stream: str) -> Indices:
    """Draw floor(fraction * n + 1/2), at least one, of the n images of each class.

    Depends on labels (i4 [N]), fraction, seed and stream alone: it uses Philox's raw bits, which are the
    same in every numpy version. A smaller fraction draws a part of what a larger one draws. Returns
    sorted indices.

    >>> stratified_part(np.array([0, 0, 0, 0, 1, 1, 1], np.int32), 0.5, seed=0, stream="test")
    array([2, 3, 4, 5])
    """
    bits = np.random.Philox(key=np.array([seed, _STREAMS[stream]], dtype=np.uint64))
    order = np.argsort(bits.random_raw(len(labels)), kind="stable")
    parts = []
    for label in np.unique(labels):
        members = order[labels[order] == label]
        parts.append(members[: max(1, math.floor(fraction * len(members) + 0.5))])
    return np.sort(np.concatenate(parts))


def _hold_out(
    source: _Source,
    kept: Indices,
    params: DatasetParams,
    stream: Literal["test", "validation"],
    fraction: float,
    notes: dict[str, Any],
) -> tuple[Indices, Indices]:
    """Split `kept` (indices of training images) into those that stay and those that are held out."""
    labels = source.train.labels[kept]
    drawn = stratified_part(labels, fraction, params.seed, stream)
    stays = np.delete(kept, drawn)
    emptied = sorted(set(labels.tolist()) - set(source.train.labels[stays].tolist()))
    if emptied:
        names = ", ".join(source.class_names[label] for label in emptied[:5])
        raise DatasetError(
            f"holding out {stream} images (fraction {fraction}) leaves {len(emptied)} of the "
            f"classes without a training image ({names}); lower the fraction or add images"
        )
    notes[stream] = _note(kept[drawn], fraction)
    return stays, kept[drawn]


def _note(indices: Indices, fraction: float) -> dict[str, Any]:
    digest = hashlib.sha256(np.ascontiguousarray(indices, dtype="<i4").data).hexdigest()
    return {"fraction": fraction, "images": len(indices), "indices_sha256": digest}


def _read_both(
    train: tuple[_Pool, Indices], test: tuple[_Pool, Indices], progress: Progress
) -> tuple[Split, Split]:
    """Decode both parts; one error names the unreadable files of both."""
    splits, problems = [], []
    total = len(train[1]) + len(test[1])
    done = itertools.count(1)
    for pool, indices in (train, test):
        try:
            images = pool.read(indices, lambda: progress(next(done), total))
            images = np.ascontiguousarray(images)
            splits.append(Split(images=images, labels=pool.labels[indices].astype(np.int32)))
        except UnreadableImagesError as error:
            problems += error.problems
    if problems:
        raise UnreadableImagesError(problems, total)
    return splits[0], splits[1]


def _check_memory(count: int, image_size: int) -> None:
    needed = count * image_size * image_size * 3
    if needed > MAX_IMAGE_BYTES:
        raise DatasetError(
            f"{count} images of {image_size}x{image_size} pixels take {needed / 2**30:.1f} GiB of memory; "
            f"at most {MAX_IMAGE_BYTES / 2**30:g} GiB are allowed; lower dataset.image_size or "
            "dataset.subset_fraction"
        )


def _open_source(params: DatasetParams, root: Path, *, download: bool) -> _Source:
    if params.name == "digits":
        return _digits(params.image_size)
    if params.name == "imagefolder":
        return _imagefolder(params, root)
    return _cifar(params.name, root, download=download)


def _digits(image_size: int) -> _Source:
    """scikit-learn's digits: 8x8 values 0..16, scaled to 0..255, resized, in three equal channels."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    small = ((digits.images.astype(np.int64) * 255 + 8) // 16).astype(np.uint8)

    def read(indices: Indices, _: Callable[[], None]) -> Images:
        size = (image_size, image_size)
        grey = [
            np.asarray(Image.fromarray(small[index]).resize(size, Image.Resampling.BILINEAR))
            for index in indices
        ]
        return np.repeat(np.stack(grey)[..., np.newaxis], 3, axis=-1)

    names = tuple(str(name) for name in digits.target_names)
    return _Source(names, _Pool(digits.target.astype(np.int32), read), None, {})


def _cifar(name: Literal["cifar10", "cifar100"], root: Path, *, download: bool) -> _Source:
    from pipeline.raw.cifar import read_cifar

    class_names, train, test = read_cifar(name, root, download=download)
    train_pool = _Pool(train.labels, lambda indices, _: train.images[indices])
    test_pool = _Pool(test.labels, lambda indices, _: test.images[indices])
    return _Source(class_names, train_pool, test_pool, {})


def _imagefolder(params: DatasetParams, root: Path) -> _Source:
    folder = imagefolder.find_images(root, params.test_fraction)

    def pool(listing: imagefolder.Listing) -> _Pool:
        def read(indices: Indices, progress: Callable[[], None]) -> Images:
            paths = [listing.paths[index] for index in indices]
            return read_images(paths, params.image_size, progress)

        return _Pool(np.asarray(listing.labels, dtype=np.int32), read)

    test = None if folder.test is None else pool(folder.test)
    notes = {"files_ignored": folder.ignored}
    return _Source(folder.class_names, pool(folder.train), test, notes)
