"""CIFAR-10 and CIFAR-100 through torchvision, with errors that say what is missing."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np

from pipeline.core.dataset import Split
from pipeline.core.dataset_facts import DatasetError
from pipeline.raw.torchvision_compat import torchvision

TITLES = {"cifar10": "CIFAR-10", "cifar100": "CIFAR-100"}


def read_cifar(
    name: Literal["cifar10", "cifar100"], root: Path, *, download: bool
) -> tuple[tuple[str, ...], Split, Split]:
    """Class names in label order, training and test images (u1 [N,32,32,3]).

    Reads the files of `torchvision.datasets`, in the folder `cifar-10-batches-py` or `cifar-100-python` of
    `root`, and checks their md5 sums. With `download`, missing files are fetched. Raises `DatasetError` if
    files are missing or damaged.
    """
    datasets: Any = torchvision.datasets
    cls = datasets.CIFAR10 if name == "cifar10" else datasets.CIFAR100
    folder = root / cls.base_folder
    if download and any(_damaged_files(cls, folder)):
        _download(cls, name, root)
    damaged = list(_damaged_files(cls, folder))
    if damaged:
        raise DatasetError(_advice(cls, name, root, damaged))
    train, test = cls(root, train=True), cls(root, train=False)
    return tuple(train.classes), _split(train), _split(test)


def _split(data: Any) -> Split:
    images = np.ascontiguousarray(data.data, dtype=np.uint8)
    return Split(images=images, labels=np.asarray(data.targets, dtype=np.int32))


def _damaged_files(cls: Any, folder: Path) -> Iterator[str]:
    """What is wrong with each of the files that torchvision would read, in words."""
    listed = [*cls.train_list, *cls.test_list, [cls.meta["filename"], cls.meta["md5"]]]
    for filename, md5 in listed:
        path = folder / filename
        if not path.is_file():
            yield f"{filename} is missing"
        elif not torchvision.datasets.utils.check_integrity(path, md5):
            yield f"{filename} is damaged (its md5 is not {md5})"


def _advice(cls: Any, name: str, root: Path, damaged: list[str]) -> str:
    folder = root / cls.base_folder
    mend = (
        "Set machine.data_root (or the environment variable DECANT_DATA) to the folder that holds "
        f"`{cls.base_folder}`, or machine.download: true to fetch it"
    )
    if not folder.is_dir():
        return f"{TITLES[name]} was not found: there is no folder {folder}. {mend}."
    return (
        f"{TITLES[name]} in {folder} is incomplete or damaged: {', '.join(damaged)}. "
        f"Delete that folder and fetch it again. {mend}."
    )


def _download(cls: Any, name: str, root: Path) -> None:
    try:
        root.mkdir(parents=True, exist_ok=True)
        cls(root, train=True, download=True)
    except (OSError, RuntimeError) as error:
        raise DatasetError(
            f"{TITLES[name]} could not be fetched from {cls.url} ({error}). Fetch {cls.filename} "
            f"elsewhere and unpack it into {root}, or set machine.data_root (or the environment "
            f"variable DECANT_DATA) to the folder that holds `{cls.base_folder}`."
        ) from error
