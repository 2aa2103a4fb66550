"""Raw data sets to decoded images: digits, CIFAR-10, CIFAR-100, folders of the user's own images.

`load_raw` reads one, resizes, splits and subsets it, and returns an `ImageData` (see
`pipeline.prepared`, which later stages read instead of the raw files).

Every part that is drawn (test, validation, subset) is stratified: a class of n images gives
floor(fraction * n + 1/2) of them, and at least one. It depends on labels and seed alone.
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

from pipeline import imagefolder
from pipeline.image_files import UnreadableImagesError, read_images
from pipeline.prepared import (
    Channels,
    DatasetError,
    ImageData,
    Images,
    Labels,
    Split,
    fingerprint,
    load_prepared,
    save_prepared,
)

__all__ = [
    "DatasetError",
    "DatasetParams",
    "ImageData",
    "Split",
    "load_prepared",
    "load_raw",
    "save_prepared",
]

DatasetName = Literal["digits", "cifar10", "cifar100", "imagefolder"]
Indices = NDArray[np.int64]
Progress = Callable[[int, int], None]

MAX_IMAGE_BYTES = 8 * 2**30
_COUNTED_BYTES = 2**26  # of images whose pixels are counted at a time
# Each draw has a random stream of its own: another validation fraction leaves the test split alone.
_STREAMS = {"test": 1, "validation": 2, "subset": 3}


@dataclass(frozen=True, kw_only=True)
class DatasetParams:
    """Which images are used, and how they are split: the section `dataset` of params.yaml.

    `image_size` is in pixels (square). `test_fraction` is for data without a test set of its own.
    `validation_fraction` above 0 holds that part of the training set out, to be used in place of
    the test set everywhere. `subset_fraction` is the part of the remaining training set that is
    kept; with the same seed a smaller subset lies within a larger one. `mean` and `std` (of
    pixel/255, per channel) are measured on the training images where null.
    """

    name: DatasetName
    image_size: int
    test_fraction: float | None = None
    validation_fraction: float = 0.0
    subset_fraction: float = 1.0
    seed: int = 0
    mean: Channels | None = None
    std: Channels | None = None

    def __post_init__(self) -> None:
        problems = [f"{key}: {text}" for key, text in self._problems().items()]
        if problems:
            raise ValueError("; ".join(problems))

    def _problems(self) -> dict[str, str]:
        problems: dict[str, str] = {}
        cifar = self.name in ("cifar10", "cifar100")
        if cifar and self.image_size != 32:
            problems["image_size"] = (
                f"CIFAR images are 32 pixels wide; set 32, found {self.image_size}"
            )
        elif not 8 <= self.image_size <= 512:
            problems["image_size"] = f"allowed are 8 to 512 pixels, found {self.image_size}"
        if cifar and self.test_fraction is not None:
            problems["test_fraction"] = "CIFAR has a test set of its own; set null"
        elif self.name == "digits" and self.test_fraction is None:
            problems["test_fraction"] = (
                "digits has no test set of its own; set the part to hold out"
            )
        elif self.test_fraction is not None and not 0 < self.test_fraction < 1:
            problems["test_fraction"] = f"must lie between 0 and 1, found {self.test_fraction}"
        if not 0 <= self.validation_fraction < 1:
            found = self.validation_fraction
            problems["validation_fraction"] = f"must be at least 0 and below 1, found {found}"
        if not 0 < self.subset_fraction <= 1:
            found = self.subset_fraction
            problems["subset_fraction"] = f"must be above 0 and at most 1, found {found}"
        if not 0 <= self.seed < 2**63:
            problems["seed"] = f"must be a whole number from 0, found {self.seed}"
        if self.mean is not None and not all(0 <= value <= 1 for value in self.mean):
            problems["mean"] = f"means of pixel/255 lie between 0 and 1, found {self.mean}"
        if self.std is not None and not all(0 < value <= 1 for value in self.std):
            problems["std"] = f"deviations of pixel/255 lie above 0 and up to 1, found {self.std}"
        return problems


@dataclass(frozen=True, eq=False)
class _Pool:
    """Labelled images of which only some may be wanted: `read` decodes those at some indices."""

    labels: Labels
    read: Callable[[Indices, Callable[[], None]], Images]


@dataclass(frozen=True, eq=False)
class _Source:
    """What a reader found: training images, the data set's own test images if any, class names."""

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

    `root` is the folder that torchvision's CIFAR or the class folders are in (digits comes with
    scikit-learn and needs none). With `download`, CIFAR is fetched into it if absent. `progress`
    is called with the image files that have been decoded, and with all that will be. Raises
    `DatasetError` where data is missing, damaged, too small for the split or too large for memory.
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
    """Draw floor(fraction * n + 1/2), at least one, of each class's n images.

    labels: i4 [N]. Returns sorted indices into it. Which images are drawn depends on labels,
    fraction, seed and stream alone (Philox's raw bits, which no numpy version changes); a smaller
    fraction draws a part of what a larger one draws.
    """
    bits = np.random.Philox(key=np.array([seed, _STREAMS[stream]], dtype=np.uint64))
    order = np.argsort(bits.random_raw(len(labels)), kind="stable")
    parts = []
    for label in np.unique(labels):
        members = order[labels[order] == label]
        parts.append(members[: max(1, math.floor(fraction * len(members) + 0.5))])
    return np.sort(np.concatenate(parts))


def channel_statistics(images: Images) -> tuple[Channels, Channels]:
    """Mean and population standard deviation of pixel/255 for each channel of u1 [N,H,W,3].

    Computed from histograms in exact integers, so that the result depends on the pixels alone.
    """
    mean, std = [], []
    for channel in range(3):
        # bincount copies what it counts as 8-byte numbers: a few images at a time.
        parts = np.array_split(images[..., channel], 1 + images.size // _COUNTED_BYTES)
        found = [np.bincount(part.ravel(), minlength=256) for part in parts]
        counts = [int(count) for count in np.sum(found, axis=0)]
        number = sum(counts)
        total = sum(value * count for value, count in enumerate(counts))
        squares = sum(value * value * count for value, count in enumerate(counts))
        mean.append(total / (255 * number))
        std.append(math.sqrt(number * squares - total * total) / (255 * number))
    return (mean[0], mean[1], mean[2]), (std[0], std[1], std[2])


def _hold_out(
    source: _Source,
    kept: Indices,
    params: DatasetParams,
    stream: Literal["test", "validation"],
    fraction: float,
    notes: dict[str, Any],
) -> tuple[Indices, Indices]:
    """Split `kept` (indices of training images) into those that stay and those held out."""
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
    """Decode both parts; what cannot be read in either is told at once."""
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
            f"{count} images of {image_size}x{image_size} pixels take {needed / 2**30:.1f} GiB; at "
            f"most {MAX_IMAGE_BYTES / 2**30:g} GiB are kept in memory; lower dataset.image_size or "
            "dataset.subset_fraction"
        )


def _open_source(params: DatasetParams, root: Path, *, download: bool) -> _Source:
    if params.name == "digits":
        return _digits(params.image_size)
    if params.name == "imagefolder":
        return _imagefolder(params, root)
    return _cifar(params.name, root, download=download)


def _digits(image_size: int) -> _Source:
    """scikit-learn's digits: 8x8 values 0..16, scaled to 0..255, resized, three equal channels."""
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
    from pipeline.cifar import read_cifar

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

        return _Pool(listing.labels, read)

    test = None if folder.test is None else pool(folder.test)
    notes = {"files_ignored": folder.ignored}
    return _Source(folder.class_names, pool(folder.train), test, notes)
