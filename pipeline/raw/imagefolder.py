"""Folders of the user's own images, one folder per class.

Either ROOT/train/CLASS/* with an optional ROOT/test/CLASS/* (or val, valid, validation), or
ROOT/CLASS/*. The images of a class may be in a single subfolder, CLASS/images/*. Classes and files
are sorted by name in Unicode's normal form NFC, because file systems encode accents differently. Files that
are not used are counted and reported.
"""

import os
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.core.class_names import class_name_problem, composed
from pipeline.core.dataset_facts import DatasetError

_JPEG = (".jpg", ".jpeg", ".jpe", ".jfif")
SUFFIXES = frozenset(
    [*_JPEG, ".png", ".bmp", ".gif", ".ppm", ".pgm", ".pbm", ".pnm", ".tif", ".tiff", ".webp"]
)
_TEST_FOLDERS = ("test", "val", "valid", "validation")
_PARTS = frozenset(("train", "training", "testing", "eval", *_TEST_FOLDERS))


@dataclass(frozen=True, eq=False)
class Listing:
    """Image files and their class indices."""

    paths: tuple[Path, ...]
    labels: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class ImageFolder:
    """The images under a root.

    `class_names` are in NFC. `ignored` is the number of entries in class folders that are not used.
    `remarks` describe, for the user, what is not used or is used in a way that might surprise.
    """

    class_names: tuple[str, ...]
    train: Listing
    test: Listing | None
    ignored: int
    remarks: tuple[str, ...]


def find_images(root: Path, test_fraction: float | None) -> ImageFolder:
    """List the image files under `root`, without opening them.

    Raises `DatasetError` if there is no root or no class, if a class has no images or a name that a store
    cannot hold, if test and training folders have different classes, or if `test_fraction` is given with
    a test folder or missing without one.
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
    """Lists images class by class and counts the files that it ignores."""

    def __init__(self) -> None:
        self.ignored = 0
        self._ignored_types: Counter[str] = Counter()
        self._subfolders: Counter[str] = Counter()

    def collect(self, classes: dict[str, Path]) -> Listing:
        """The images of all classes; labels number the classes in order."""
        paths: list[Path] = []
        labels: list[int] = []
        for label, folder in enumerate(classes.values()):
            images = self._images(folder)
            paths += images
            labels += [label] * len(images)
        return Listing(tuple(paths), tuple(labels))

    def remarks(self) -> list[str]:
        """Which types of files were ignored, and which subfolders of classes were read."""
        ignored = _counts(self._ignored_types)
        subfolders = ", ".join(f"CLASS/{name}" for name in self._subfolders)
        return [
            *([f"ignored in the class folders: {ignored}"] if ignored else []),
            *([f"read from subfolders of classes: {subfolders}"] if subfolders else []),
        ]

    def _images(self, folder: Path) -> list[Path]:
        entries = list(os.scandir(folder))
        images = [Path(entry) for entry in entries if _is_image(entry)]
        if not images:
            subfolders = [path for path in _folders(folder) if _holds_images(path)]
            if len(subfolders) != 1:
                raise _no_images(folder, subfolders)
            self._subfolders[subfolders[0].name] += 1
            images = self._images(subfolders[0])
            entries = [entry for entry in entries if entry.name != subfolders[0].name]
        ignored = [entry for entry in entries if not _is_image(entry)]
        self.ignored += len(ignored)
        self._ignored_types.update(_type(entry) for entry in ignored if _visible(entry))
        return sorted(images, key=_order)


def _no_images(folder: Path, subfolders: Sequence[Path]) -> DatasetError:
    if subfolders:
        names = ", ".join(path.name for path in subfolders[:3])
        return DatasetError(
            f"{folder} holds no image file itself, but {len(subfolders)} folders of them ({names}"
            f"{', ...' if len(subfolders) > 3 else ''}): one level too many. Set machine.data_root (or "
            "DECANT_DATA) to the folder that holds train/CLASS/* or CLASS/*"
        )
    instead = _counts(Counter(_type(entry) for entry in os.scandir(folder) if _visible(entry)))
    return DatasetError(
        f"{folder} holds no image file ({', '.join(sorted(SUFFIXES))})"
        f"{f' but {instead}' if instead else ''}; add some or remove the folder"
    )


def _training_folder(root: Path) -> Path:
    """ROOT/train if it holds classes, otherwise ROOT itself: `train` may be the name of a class."""
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
    """Class name -> folder, sorted by name."""
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
        f"{folder} holds the class {name!r} in {len(paths)} folders, which encode its accents in other "
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
    # A broken link, or one to a pipe, counts as an image, so that reading it reports an error.
    file = entry.is_file() or (entry.is_symlink() and not entry.is_dir())
    return file and _visible(entry) and _suffix(entry) in SUFFIXES


def _visible(entry: os.DirEntry[str]) -> bool:
    # Hidden files include the "._name" files that macOS writes beside images.
    return not entry.name.startswith(".")


def _type(entry: os.DirEntry[str]) -> str:
    return "folders" if entry.is_dir() else _suffix(entry) or "without a suffix"


def _counts(types: Counter[str]) -> str:
    ordered = sorted(types.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{count:,} {name}" for name, count in ordered)


def _suffix(entry: os.DirEntry[str]) -> str:
    return os.path.splitext(entry.name)[1].lower()


def _order(path: Path) -> tuple[str, str]:
    return composed(path.name), path.name
