"""Which images params.yaml asks for, and whether the prepared ones are these.

What is prepared outlives an edit of params.yaml, and an accuracy on other images, or under another
normalisation, looks like any other. So whoever reads the prepared data set compares it first.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from pipeline.core.dataset import (
    Channels,
    DatasetError,
    ImageData,
    Images,
    load_prepared,
    normalisation_problems,
)
from pipeline.core.params import section

DatasetName = Literal["digits", "cifar10", "cifar100", "imagefolder"]

# Pixels and images that are added up at a time: 2**15 squares of 255 fit into 32 bits.
_ADDED_PIXELS, _ADDED_IMAGES = 2**22, 2**15


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
        return problems | normalisation_problems(self.mean, self.std)


def load_dataset(folder: Path, content: Mapping[str, Any] | None) -> ImageData:
    """The prepared data set, which has to be the one that a parameter file asks for.

    `content` is the whole parameter file; None: there is none, as where a store alone is looked at.
    Raises `DatasetError` where the folder is damaged (see
    `load_prepared`) or holds another data set, split or normalisation than its section `dataset`
    would give, and ParamsError where that section cannot be read.
    """
    if content is None:
        return load_prepared(folder)
    params = section(content, DatasetParams, "dataset")
    data = load_prepared(folder)
    if differences := list(_differences(data, params)):
        raise DatasetError(
            f"{folder} is not what params.yaml asks for: {'; '.join(differences)}. Make it again "
            "(`decant prepare`, or `dvc repro prepare`), or set `dataset` in params.yaml back"
        )
    return data


def _differences(data: ImageData, params: DatasetParams) -> Iterator[str]:
    """What `prepare` would have recorded otherwise: key, what is prepared, what is asked for."""
    prepared = {
        "name": data.name,
        "image_size": data.notes.get("image_size"),
        "test_fraction": _fraction(data, "test", None),
        "validation_fraction": _fraction(data, "validation", 0.0),
        "subset_fraction": _fraction(data, "subset", 1.0),
        "seed": data.notes.get("seed"),
    }
    different = [key for key, value in prepared.items() if value != getattr(params, key)]
    for key in different:
        yield f"{key} is {prepared[key]} there and {getattr(params, key)} in params.yaml"
    if different or (params.mean is not None and params.std is not None):
        measured: tuple[Channels, Channels] | None = None
    else:
        measured = channel_statistics(data.train.images)
    for place, key in enumerate(("mean", "std")):
        asked, recorded = getattr(params, key), getattr(data, key)
        wanted = asked if asked is not None else measured and measured[place]
        if wanted is not None and not np.allclose(recorded, wanted, rtol=0, atol=1e-12):
            text = _shown(wanted) if asked is not None else f"null (measured: {_shown(wanted)})"
            yield f"{key} is {_shown(recorded)} there and {text} in params.yaml"


def _fraction(data: ImageData, part: str, default: float | None) -> float | None:
    note = data.notes.get(part)
    return note.get("fraction") if isinstance(note, Mapping) else default


def _shown(values: Channels) -> str:
    return "[" + ", ".join(f"{value:.6g}" for value in values) + "]"


def channel_statistics(images: Images) -> tuple[Channels, Channels]:
    """Mean and population standard deviation of pixel/255 for each channel of u1 [N,H,W,3].

    Computed from sums in exact integers, so that the result depends on the pixels alone.
    """
    rows = images.reshape(len(images), -1)
    totals, squares = np.zeros((2, rows.shape[1]), np.uint64)
    step = max(1, min(_ADDED_IMAGES, _ADDED_PIXELS // rows.shape[1]))
    for start in range(0, len(rows), step):
        pixels = rows[start : start + step]
        wide = pixels.astype(np.uint16)
        wide *= wide
        totals += pixels.sum(axis=0, dtype=np.uint32)
        squares += wide.sum(axis=0, dtype=np.uint32)
    number = images.size // 3
    mean, std = [], []
    for channel in range(3):
        total, square = (int(sums[channel::3].sum()) for sums in (totals, squares))
        mean.append(total / (255 * number))
        std.append(math.sqrt(number * square - total * total) / (255 * number))
    return (mean[0], mean[1], mean[2]), (std[0], std[1], std[2])


_CIFAR100 = """
apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can
castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin
elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard
lobster man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear
pickup_truck pine_tree plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark
shrew skunk skyscraper snail snake spider squirrel streetcar sunflower sweet_pepper table tank telephone
television tiger tractor train trout tulip turtle wardrobe whale willow_tree wolf woman worm
"""


CLASS_NAMES: dict[str, tuple[str, ...]] = {
    "digits": tuple("0123456789"),
    "cifar10": (
        "airplane",
        "automobile",
        "bird",
        "cat",
        "deer",
        "dog",
        "frog",
        "horse",
        "ship",
        "truck",
    ),
    "cifar100": tuple(_CIFAR100.split()),
}
