"""Fixtures that test modules share: real digits, and networks small enough to train in a test."""

import os
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import relu

from pipeline.core.dataset import ImageData, Split, fingerprint
from pipeline.models.network import Network
from pipeline.raw.load import DatasetParams, load_raw

torch.set_num_threads(1)

# Of git, in place of what whoever runs the tests has set: commits are unsigned, and have an author.
GIT_CONFIG = """\
[user]
    name = Somebody
    email = somebody@example.org
[safe]
    directory = *
"""


def pytest_configure(config: pytest.Config) -> None:
    """Keep whoever runs the tests out of them: no settings of theirs, and no files among theirs."""
    # Ray has sockets in it, and a socket's path is at most 107 bytes long.
    place = tempfile.TemporaryDirectory(prefix="decant-", ignore_cleanup_errors=True)
    config.add_cleanup(place.cleanup)
    folder = Path(place.name)
    (folder / "gitconfig").write_text(GIT_CONFIG)
    os.environ |= {
        "GIT_CONFIG_GLOBAL": str(folder / "gitconfig"),
        "DVC_GLOBAL_CONFIG_DIR": str(folder / "dvc-global"),
        "DVC_SYSTEM_CONFIG_DIR": str(folder / "dvc-system"),
        "DVC_SITE_CACHE_DIR": str(folder / "dvc-cache"),
        "DVC_NO_ANALYTICS": "1",  # a `dvc init` has no settings yet that say so
        "RAY_TMPDIR": str(folder),
    }
    os.environ.pop("DECANT_JOBS", None)


class TinyNetwork(Network):
    """Two convolutions with batch normalisation and a classifier."""

    min_image_size: ClassVar[int] = 4

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(8)
        self.conv2 = nn.Conv2d(8, 16, 3, stride=2, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(16)
        self.fc = nn.Linear(16, num_classes)

    @property
    def head(self) -> nn.Linear:
        return self.fc

    def feature_map(self, images: Tensor) -> Tensor:
        out = relu(self.bn1(self.conv1(images)))
        return relu(self.bn2(self.conv2(out)))


@pytest.fixture(scope="session")
def tiny_network() -> Callable[..., Network]:
    """Builder of a tiny network, the same one for the same seed."""

    def build(num_classes: int = 10, seed: int = 0) -> Network:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return TinyNetwork(num_classes)

    return build


@pytest.fixture(scope="session")
def digits() -> ImageData:
    """scikit-learn's digits as the default profile has them: 16x16 pixels."""
    params = DatasetParams(name="digits", image_size=16, test_fraction=0.2)
    return load_raw(params, Path(), download=False)


@pytest.fixture(scope="session")
def few_digits(digits: ImageData) -> ImageData:
    """The first 320 training and 100 test images of the digits."""
    train = Split(digits.train.images[:320].copy(), digits.train.labels[:320].copy())
    test = Split(digits.test.images[:100].copy(), digits.test.labels[:100].copy())
    digest = fingerprint(train, test, digits.class_names)
    return replace(digits, train=train, test=test, fingerprint=digest)
