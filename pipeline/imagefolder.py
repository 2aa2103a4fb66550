"""Folders of the user's own images, one folder a class, resized to one square size.

Either ROOT/train/CLASS/* with an optional ROOT/test/CLASS/*, or ROOT/CLASS/*. Classes and files are
taken in the order of their names. Files of other kinds and sub-folders of a class are left out.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from pipeline.prepared import DatasetError, Images, Labels

_MOST_STRETCHED = 100  # times longer than wide: a thin picture would be blown up to gigabytes
SUFFIXES = frozenset(
    {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".pgm", ".tif", ".tiff", ".webp"}
)


@dataclass(frozen=True, eq=False)
class Listing:
    """Image files and their class indices, i4 [N]."""

    paths: tuple[Path, ...]
    labels: Labels


@dataclass(frozen=True, eq=False)
class Found:
    """What lies under a root; `ignored` counts the files that are not images by their name."""

    class_names: tuple[str, ...]
    train: Listing
    test: Listing | None
    ignored: int


def find_images(root: Path) -> Found:
    """List the image files under `root`, without opening them.

    Raises `DatasetError` where there is no root, no class, a class without images, or a test folder
    whose classes are not those of the training folder.
    """
    if not root.is_dir():
        raise DatasetError(
            f"there is no folder {root}: set machine.data_root (or the environment variable "
            "DECANT_DATA) to the folder that holds train/CLASS/* or CLASS/*"
        )
    train_root = root / "train" if (root / "train").is_dir() else root
    class_names = _class_names(train_root)
    train, ignored = _list(train_root, class_names)
    if train_root == root or not (root / "test").is_dir():
        return Found(class_names, train, None, ignored)
    differing = sorted(set(class_names) ^ set(_class_names(root / "test")))
    if differing:
        raise DatasetError(
            f"{root}/train and {root}/test hold different classes: {', '.join(differing[:5])} "
            f"({len(differing)} in all) are in only one of them"
        )
    test, more_ignored = _list(root / "test", class_names)
    return Found(class_names, train, test, ignored + more_ignored)


def read_images(paths: Sequence[Path], size: int) -> Images:
    """Decode image files to u1 [N,size,size,3], RGB.

    Each is turned upright (EXIF), loses its transparency, is resized (bilinear) so that its short
    side fits, and cropped in the centre. Raises `DatasetError` naming the first file that cannot be
    read.
    """
    images = np.empty((len(paths), size, size, 3), dtype=np.uint8)
    for row, path in enumerate(paths):
        try:
            with Image.open(path) as image:
                images[row] = np.asarray(_square(_to_rgb(image), size))
        except (
            OSError,
            ValueError,
            SyntaxError,
            struct.error,  # of damaged EXIF
            Image.DecompressionBombError,
        ) as error:
            raise DatasetError(f"{path} cannot be read as an image: {error}") from error
    return images


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F" or image.mode.startswith("I"):
        raise ValueError("it has more than 8 bits a channel; convert it to 8 bits first")
    upright = ImageOps.exif_transpose(image)
    if "transparency" in upright.info:
        upright = upright.convert("RGBA")
    return upright.convert("RGB")


def _square(image: Image.Image, size: int) -> Image.Image:
    short = min(image.size)
    if max(image.size) > _MOST_STRETCHED * short:
        raise ValueError(f"{image.size[0]}x{image.size[1]} pixels: too long to be made square")
    width, height = (max(size, round(side * size / short)) for side in image.size)
    left, top = (width - size) // 2, (height - size) // 2
    resized = image.resize((width, height), Image.Resampling.BILINEAR)
    return resized.crop((left, top, left + size, top + size))


def _class_names(folder: Path) -> tuple[str, ...]:
    names = sorted(
        entry.name
        for entry in folder.iterdir()
        if entry.is_dir() and not entry.name.startswith(".")
    )
    if len(names) < 2:
        raise DatasetError(
            f"{folder} holds {len(names)} class folders; expected one folder of images for each of "
            "at least 2 classes"
        )
    return tuple(names)


def _list(folder: Path, class_names: tuple[str, ...]) -> tuple[Listing, int]:
    paths: list[Path] = []
    labels: list[int] = []
    ignored = 0
    for label, name in enumerate(class_names):
        entries = sorted((folder / name).iterdir(), key=lambda entry: entry.name)
        images = [
            entry for entry in entries if entry.suffix.lower() in SUFFIXES and _visible_file(entry)
        ]
        if not images:
            raise DatasetError(
                f"{folder / name} holds no image file ({', '.join(sorted(SUFFIXES))}); add some "
                "or remove the folder"
            )
        paths += images
        labels += [label] * len(images)
        ignored += len(entries) - len(images)
    return Listing(tuple(paths), np.asarray(labels, dtype=np.int32)), ignored


def _visible_file(path: Path) -> bool:
    # Hidden files include the "._name" companions that macOS writes, which only look like images.
    return path.is_file() and not path.name.startswith(".")
