"""Folders of the user's own images, one folder a class.

Either ROOT/train/CLASS/* with an optional ROOT/test/CLASS/* (or val, valid, validation), or
ROOT/CLASS/*. A class's images may lie in one folder of their own, CLASS/images/*. Classes and files
are taken in the order of their names, which are compared as NFC: file systems differ in how they
spell an accent. What is left out is counted, for people to see.
"""

import os
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.core.dataset import DatasetError, Labels, class_name_problem, composed

_JPEG = (".jpg", ".jpeg", ".jpe", ".jfif")
SUFFIXES = frozenset(
    [*_JPEG, ".png", ".bmp", ".gif", ".ppm", ".pgm", ".pbm", ".pnm", ".tif", ".tiff", ".webp"]
)
_TEST_FOLDERS = ("test", "val", "valid", "validation")
_PARTS = frozenset(("train", "training", "testing", "eval", *_TEST_FOLDERS))


@dataclass(frozen=True, eq=False)
class Listing:
    """Image files and their class indices, i4 [N]."""

    paths: tuple[Path, ...]
    labels: Labels


@dataclass(frozen=True, eq=False)
class ImageFolder:
    """What lies under a root.

    `class_names` are NFC. `ignored` counts what lies in class folders and is not taken. `remarks` are
    sentences on what is not taken, or is taken in a way that might surprise.
    """

    class_names: tuple[str, ...]
    train: Listing
    test: Listing | None
    ignored: int
    remarks: tuple[str, ...]


def find_images(root: Path, test_fraction: float | None) -> ImageFolder:
    """List the image files under `root`, without opening them.

    Raises `DatasetError` where there is no root, no class, a class without images or with a name that
    no store takes, a test folder whose classes are not those of the training folder, or where
    `test_fraction` is given beside a test folder or is None without one.
    """
    if not root.is_dir():
        raise DatasetError(
            f"there is no folder {root}: set machine.data_root (or the environment variable "
            "DECANT_DATA) to the folder that holds train/CLASS/* or CLASS/*"
        )
    train_root = _training_folder(root)
    test_root = None if train_root == root else _test_folder(root)
    if test_root is None and test_fraction is None:
        raise DatasetError(f"{root} has no folder `test`; set dataset.test_fraction, e.g. 0.2")
    if test_root is not None and test_fraction is not None:
        raise DatasetError(
            f"{root} has a folder `{test_root.name}`; set dataset.test_fraction: null"
        )
    lister = _Lister()
    classes = _classes(train_root)
    train, test = lister.collect(classes), None
    if test_root is not None:
        test_classes = _classes(test_root)
        _check_same_classes(root, classes, test_classes, test_root.name)
        test = lister.collect(test_classes)
    remarks = (*_unused_folders(root, train_root, test_root), *lister.remarks())
    return ImageFolder(tuple(classes), train, test, lister.ignored, remarks)


class _Lister:
    """Lists images class by class and counts what it leaves out."""

    def __init__(self) -> None:
        self.ignored = 0
        self._left_out: Counter[str] = Counter()
        self._inner: Counter[str] = Counter()

    def collect(self, classes: dict[str, Path]) -> Listing:
        """The images of the classes, which are numbered in their order."""
        paths: list[Path] = []
        labels: list[int] = []
        for label, folder in enumerate(classes.values()):
            images = self._images(folder)
            paths += images
            labels += [label] * len(images)
        return Listing(tuple(paths), np.asarray(labels, dtype=np.int32))

    def remarks(self) -> list[str]:
        """What was left out by its kind, and which folders within classes were read."""
        left_out = _counts(self._left_out)
        inner = ", ".join(f"CLASS/{name}" for name in self._inner)
        return [
            *([f"left out of the class folders: {left_out}"] if left_out else []),
            *([f"read from folders within classes: {inner}"] if inner else []),
        ]

    def _images(self, folder: Path) -> list[Path]:
        entries = list(os.scandir(folder))
        images = [Path(entry) for entry in entries if _is_image(entry)]
        if not images:
            inner = [path for path in _folders(folder) if _holds_images(path)]
            if len(inner) != 1:
                raise _no_images(folder, inner)
            self._inner[inner[0].name] += 1
            images = self._images(inner[0])
            entries = [entry for entry in entries if entry.name != inner[0].name]
        left_out = [entry for entry in entries if not _is_image(entry)]
        self.ignored += len(left_out)
        self._left_out.update(_kind(entry) for entry in left_out if _visible(entry))
        return sorted(images, key=_order)


def _no_images(folder: Path, inner: Sequence[Path]) -> DatasetError:
    if inner:
        names = ", ".join(path.name for path in inner[:3])
        return DatasetError(
            f"{folder} holds no image file itself, but {len(inner)} folders of them ({names}"
            f"{', ...' if len(inner) > 3 else ''}): one level too many. Set machine.data_root (or "
            "DECANT_DATA) to the folder that holds train/CLASS/* or CLASS/*"
        )
    kinds = Counter(_kind(entry) for entry in os.scandir(folder) if _visible(entry))
    instead = _counts(kinds)
    return DatasetError(
        f"{folder} holds no image file ({', '.join(sorted(SUFFIXES))})"
        f"{f' but {instead}' if instead else ''}; add some or remove the folder"
    )


def _training_folder(root: Path) -> Path:
    """ROOT/train where it holds classes, ROOT itself otherwise: `train` may be a class, too."""
    train = root / "train"
    if not train.is_dir() or not _folders(train):
        return root
    beside = [path for path in _folders(root) if path.name not in _PARTS and _holds_images(path)]
    test = _test_folder(root)
    if not beside or (test is not None and _folders(test)):
        return train
    if _holds_images(train):
        return root
    raise DatasetError(
        f"{train} holds folders, as of classes, and so does {root}, with images in them: "
        f"{', '.join(path.name for path in beside[:5])}. Move those away, or into {train}"
    )


def _test_folder(root: Path) -> Path | None:
    present = [root / name for name in _TEST_FOLDERS if (root / name).is_dir()]
    with_classes = [path for path in present if _folders(path)]
    return next(iter(with_classes or present), None)


def _unused_folders(root: Path, train_root: Path, test_root: Path | None) -> list[str]:
    if train_root == root:
        return []
    unused = [path.name for path in _folders(root) if path not in (train_root, test_root)]
    remarks = []
    if test_root is not None and test_root.name != "test":
        remarks.append(f"the test images are those of {test_root.name}")
    if unused:
        remarks.append(f"not used: the folders {', '.join(unused)} beside {train_root.name}")
    return remarks


def _classes(folder: Path) -> dict[str, Path]:
    """The class folders by the names of the classes, in their order."""
    spellings: dict[str, list[Path]] = defaultdict(list)
    for path in _folders(folder):
        spellings[composed(path.name)].append(path)
    if len(spellings) < 2 or _PARTS.issuperset(name.lower() for name in spellings):
        raise _no_classes(folder, list(spellings))
    problems = [
        f"{folder} holds a class folder {name!a}, whose name {problem}: rename it"
        for name in spellings
        if (problem := class_name_problem(name))
    ]
    problems += [
        f"{folder} holds the class {name!r} in {len(paths)} folders, which spell its accents in other "
        f"ways ({', '.join(ascii(path.name) for path in paths)}): move their images into one"
        for name, paths in spellings.items()
        if len(paths) > 1
    ]
    if problems:
        raise DatasetError("\n".join(problems))
    return {name: paths[0] for name, paths in sorted(spellings.items())}


def _no_classes(folder: Path, names: Sequence[str]) -> DatasetError:
    hint = "expected one folder of images for each of at least 2 classes"
    if len(names) > 1:
        hint = "expected ROOT/train/CLASS/*, and ROOT/test/CLASS/* where there is a test set"
    elif folder.name in _TEST_FOLDERS:
        hint += "; rename it where its images have no classes, and set dataset.test_fraction"
    elif names and len(_folders(folder / names[0])) > 1:
        hint += f"; is {folder / names[0]} meant (machine.data_root or DECANT_DATA)?"
    shown = f" ({', '.join(sorted(names))})" if names else ""
    return DatasetError(f"{folder} holds {len(names)} class folders{shown}; {hint}")


def _check_same_classes(
    root: Path, train: dict[str, Path], test: dict[str, Path], test_name: str
) -> None:
    differing = sorted(train.keys() ^ test.keys())
    if differing:
        raise DatasetError(
            f"{root}/train and {root}/{test_name} hold different classes: {', '.join(differing[:5])} "
            f"({len(differing)} in all) are in only one of them"
        )


def _folders(folder: Path) -> list[Path]:
    entries = [entry for entry in os.scandir(folder) if entry.is_dir() and _visible(entry)]
    return sorted((Path(entry) for entry in entries), key=_order)


def _holds_images(folder: Path) -> bool:
    with os.scandir(folder) as entries:
        return any(map(_is_image, entries))


def _is_image(entry: os.DirEntry[str]) -> bool:
    # A link to nothing counts: it is told when it cannot be read.
    file = entry.is_file() or (entry.is_symlink() and not entry.is_dir())
    return file and _visible(entry) and _suffix(entry) in SUFFIXES


def _visible(entry: os.DirEntry[str]) -> bool:
    # Hidden files include the "._name" companions that macOS writes, which only look like images.
    return not entry.name.startswith(".")


def _kind(entry: os.DirEntry[str]) -> str:
    return "folders" if entry.is_dir() else _suffix(entry) or "without a suffix"


def _counts(kinds: Counter[str]) -> str:
    ordered = sorted(kinds.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{count:,} {kind}" for kind, count in ordered)


def _suffix(entry: os.DirEntry[str]) -> str:
    return os.path.splitext(entry.name)[1].lower()


def _order(path: Path) -> tuple[str, str]:
    return composed(path.name), path.name
