"""The prepared data set: decoded images, labels and names, and the folder that holds them.

A prepared folder is self-contained (no raw files, no torch) and byte for byte the same for the same
images, so that whoever has it trains on exactly what the teacher saw::

    dataset.json        names, normalisation, counts, choices and the fingerprint
    train_images.npy    u1 [N,H,W,3]        test_images.npy
    train_labels.npy    i4 [N]              test_labels.npy
"""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from pipeline.core.arrays import read_array, write_array
from pipeline.core.dataset_facts import SCHEMA, DatasetError, damaged, read_facts
from pipeline.core.files import durable_write
from pipeline.core.normalisation import Channels, Normalisation
from pipeline.core.params import read

Images = NDArray[np.uint8]
Labels = NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class Split:
    """Images u1 [N,H,W,3] (RGB, C-contiguous) and their class indices i4 [N]."""

    images: Images
    labels: Labels


@dataclass(frozen=True, eq=False)
class ImageData:
    """A whole data set in memory.

    `mean` and `std` are per channel, of pixel/255. `evaluated_on` says what `test` holds: the data
    set's test images, or a part held out of the training set ("validation"). `notes` records the
    choices that led here (fractions, seeds, digests of the indices that were kept).
    """

    name: str
    train: Split
    test: Split
    class_names: tuple[str, ...]
    mean: Channels
    std: Channels
    fingerprint: str
    evaluated_on: Literal["test", "validation"]
    notes: Mapping[str, Any]

    @property
    def normalisation(self) -> Normalisation:
        """The data set's own."""
        return Normalisation(self.mean, self.std)

    def normalised(self, normalisation: Normalisation | None) -> Self:
        """The same images under another normalisation; None: under the data set's own."""
        if normalisation is None:
            return self
        return replace(self, mean=normalisation.mean, std=normalisation.std)

    def seen_by(self, teacher: Mapping[str, Any]) -> Self:
        """The images as the teacher of a store's manifest sees them.

        `teacher["normalisation"]` is there where that is not the data set's own: of weights that were
        trained elsewhere. Raises `DatasetError` where it is malformed.
        """
        problems: list[str] = []
        normalisation = read(
            Normalisation | None, teacher.get("normalisation"), "normalisation", problems
        )
        if problems:
            raise DatasetError(f"the teacher {teacher.get('name')}: {'; '.join(problems)}")
        return self.normalised(normalisation)

    def __str__(self) -> str:
        return f"{self.name}, normalised with {self.normalisation}"


def fingerprint(train: Split, test: Split, class_names: tuple[str, ...]) -> str:
    """sha256 (hex) over images, labels, class names and their order, of both splits.

    Labels are hashed as little-endian 32-bit integers and names as ASCII JSON, so that the digest
    depends on neither the machine nor the numpy version. Normalisation is not part of it.
    """
    header = {
        "decant_dataset": SCHEMA,
        "class_names": list(class_names),
        "train": list(train.images.shape),
        "test": list(test.images.shape),
    }
    digest = hashlib.sha256(json.dumps(header, sort_keys=True).encode("ascii"))
    for split in (train, test):
        assert split.images.dtype == np.uint8, "images must be u1"
        digest.update(np.ascontiguousarray(split.images).data)
        digest.update(np.ascontiguousarray(split.labels, dtype="<i4").data)
    return digest.hexdigest()


def save_prepared(data: ImageData, folder: Path) -> None:
    """Write `data` into a fresh `folder` (made if absent); the same data gives the same bytes.

    Raises StorageError where the file system refuses.
    """
    for name, split in (("train", data.train), ("test", data.test)):
        write_array(folder / f"{name}_images.npy", np.ascontiguousarray(split.images))
        labels = np.ascontiguousarray(split.labels, dtype="<i4")
        write_array(folder / f"{name}_labels.npy", labels)
    facts = {
        "schema": SCHEMA,
        "name": data.name,
        "class_names": list(data.class_names),
        "mean": list(data.mean),
        "std": list(data.std),
        "train_images": len(data.train.labels),
        "test_images": len(data.test.labels),
        "image_shape": list(data.train.images.shape[1:]),
        "fingerprint": data.fingerprint,
        "evaluated_on": data.evaluated_on,
        "notes": dict(data.notes),
    }
    text = json.dumps(facts, indent=2, sort_keys=True) + "\n"
    durable_write(folder / "dataset.json", text.encode())


def load_prepared(folder: Path) -> ImageData:
    """Read what `save_prepared` wrote.

    Raises `DatasetError` where a file is missing, unreadable, of another shape or dtype, or where
    the images, labels or names are not those of the recorded fingerprint.
    """
    facts = read_facts(folder)
    try:
        data = ImageData(
            name=str(facts["name"]),
            train=_read_split(folder, "train", facts),
            test=_read_split(folder, "test", facts),
            class_names=tuple(str(name) for name in facts["class_names"]),
            mean=_channels(facts["mean"]),
            std=_deviations(facts["std"]),
            fingerprint=str(facts["fingerprint"]),
            evaluated_on=_evaluated_on(facts["evaluated_on"]),
            notes=dict(facts["notes"]),
        )
    except DatasetError:
        raise
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise damaged(folder / "dataset.json", f"entry missing or malformed: {error}") from error
    digest = fingerprint(data.train, data.test, data.class_names)
    if digest != data.fingerprint:
        raise damaged(
            folder,
            f"its images, labels or class names have changed (fingerprint {digest[:12]}..., "
            f"recorded {data.fingerprint[:12]}...)",
        )
    return data


def _read_split(folder: Path, name: str, facts: Mapping[str, Any]) -> Split:
    count, shape = int(facts[f"{name}_images"]), tuple(facts["image_shape"])
    images = _read_array(folder / f"{name}_images.npy", "|u1", (count, *shape))
    labels = _read_array(folder / f"{name}_labels.npy", "<i4", (count,))
    if images.ndim != 4 or images.shape[3] != 3 or images.size == 0:
        what = f"expected RGB images [N, H, W, 3], found {images.shape}"
        raise damaged(folder / f"{name}_images.npy", what)
    if not 0 <= labels.min() <= labels.max() < len(facts["class_names"]):
        raise damaged(folder / f"{name}_labels.npy", "holds labels that have no class name")
    return Split(images=images, labels=labels.astype(np.int32))


def _read_array(path: Path, dtype: str, shape: tuple[int, ...]) -> NDArray[Any]:
    try:
        array = read_array(path)
    except OSError as error:
        raise damaged(path, f"cannot be read ({error.strerror or error})") from error
    except ValueError as error:
        raise damaged(path, str(error)) from error
    if array.dtype.str != dtype or array.shape != shape:
        raise damaged(path, f"expected {dtype} {shape}, found {array.dtype.str} {array.shape}")
    return np.ascontiguousarray(array)


def _channels(values: Any) -> Channels:
    red, green, blue = (float(value) for value in values)
    if not all(math.isfinite(value) for value in (red, green, blue)):
        raise ValueError(f"normalisation {values}")
    return red, green, blue


def _deviations(values: Any) -> Channels:
    channels = _channels(values)
    if min(channels) <= 0:
        raise ValueError(f"deviations {values}")
    return channels


def _evaluated_on(value: Any) -> Literal["test", "validation"]:
    if value == "test":
        return "test"
    if value == "validation":
        return "validation"
    raise TypeError(f"evaluated_on: {value!r}")
