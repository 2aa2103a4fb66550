"""Whether the prepared images are those that params.yaml asks for.

What is prepared outlives an edit of params.yaml, and an accuracy on other images, or under another
normalisation, looks like any other. So whoever reads the prepared data set compares it first.
"""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.core.dataset import ImageData, Images, load_prepared
from pipeline.core.dataset_facts import DatasetError
from pipeline.core.dataset_params import DatasetParams
from pipeline.core.normalisation import Channels
from pipeline.core.params import section

# Pixels and images that are added up at a time: 2**15 squares of 255 fit into 32 bits.
_ADDED_PIXELS, _ADDED_IMAGES = 2**22, 2**15


def load_dataset(folder: Path, content: Mapping[str, Any] | None) -> ImageData:
    """The prepared data set, which has to be the one that a parameter file asks for.

    `content` is the whole parameter file; None: there is none, as where a store alone is looked at.
    Raises `DatasetError` where the folder is damaged (see `load_prepared`) or holds another data set,
    split or normalisation than its section `dataset` would give, and ParamsError where that section
    cannot be read.
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
