"""What everything is measured on: CIFAR-100, or random images of its shape, and a teacher's store.

Times do not depend on what images show or what a teacher says, so random ones do where CIFAR-100 is
absent, and the store's logits are always random.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipeline.core.dataset import ImageData, Images, Labels, Split, fingerprint
from pipeline.core.dataset_params import DatasetParams
from pipeline.core.files import WorkFolder
from pipeline.raw.load import DatasetError, load_raw
from pipeline.store.format.manifest import Header, TeacherInfo, describe_dataset
from pipeline.store.read import Store, open_store
from pipeline.store.write.writers import GroupWriter
from pipeline.views.params import GROUPS, Augmentation, Group
from pipeline.views.plans import ViewRecipe, draw_view

CLASSES = 100
IMAGE_SIZE = 32
MEAN, STD = (0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761)
AUGMENTATION = Augmentation(pad=4, flip=True)
BATCH = 64
TEACHER = TeacherInfo(
    name="random", network="resnet56", weights_sha256=None, training={}, top1_accuracy=None
)


@dataclass(frozen=True, kw_only=True)
class Setting:
    """Where and how much is measured.

    `rounds` is the number of turns of each contender, `steps` the training steps of a turn,
    `dump_images` the images of a view that is dumped. `precision` is what students and live
    teachers compute in (see `networks.faster_precision`). `folder` is for temporary files.
    """

    device: torch.device
    rounds: int
    steps: int
    dump_images: int
    precision: str
    folder: Path
    data: ImageData
    store: Store

    def wait(self) -> None:
        """Return when the device has finished what it was given."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def facts(self) -> dict[str, Any]:
        """The settings of a run, for its results."""
        return {
            "device": self.device.type,
            "data": f"{self.data.name}, {len(self.data.train.labels)} images of "
            f"{IMAGE_SIZE}x{IMAGE_SIZE}",
            "rounds": self.rounds,
            "steps_per_turn": self.steps,
            "images_a_dumped_view": self.dump_images,
            "batch_size": BATCH,
            "precision": self.precision,
            "threads": torch.get_num_threads(),
        }


def find_images(count: int) -> ImageData:
    """The first `count` training images of CIFAR-100 where DECANT_DATA has it, else random ones."""
    root = os.environ.get("DECANT_DATA")
    if root:
        params = DatasetParams(name="cifar100", image_size=IMAGE_SIZE, mean=MEAN, std=STD)
        try:
            return first_images(load_raw(params, Path(root), download=False), count)
        except DatasetError:
            pass
    return random_images(count)


def first_images(data: ImageData, count: int) -> ImageData:
    """A data set of the first training images only."""
    train = Split(data.train.images[:count].copy(), data.train.labels[:count].copy())
    return replace(data, train=train, fingerprint=fingerprint(train, data.test, data.class_names))


def random_images(count: int, test_count: int = 100) -> ImageData:
    """Random images of CIFAR-100's shape, with random labels."""
    rng = np.random.Generator(np.random.Philox(key=0))

    def draw(size: int) -> tuple[Images, Labels]:
        images = rng.integers(0, 256, (size, IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8)
        return images, rng.integers(0, CLASSES, size, np.int32)

    train, test = Split(*draw(count)), Split(*draw(test_count))
    names = tuple(f"class {number}" for number in range(CLASSES))
    return ImageData(
        name="random",
        train=train,
        test=test,
        class_names=names,
        mean=MEAN,
        std=STD,
        fingerprint=fingerprint(train, test, names),
        evaluated_on="test",
        notes={},
    )


def recipe(group: Group) -> ViewRecipe:
    """How the views of a group are drawn: as the field does."""
    alpha = 1.0 if group == "mixed" else None
    return ViewRecipe(
        pad=AUGMENTATION.pad, flip=AUGMENTATION.flip, draw="random", alpha=alpha, seed=0
    )


def view_header(group: Group, data: ImageData, batch_size: int = 256) -> Header:
    """What the manifest of a random teacher's group states."""
    return Header(
        group=group,
        dataset=describe_dataset(data),
        teacher=TEACHER,
        recipe=recipe(group),
        batch_size=batch_size,
        precision="float32",
        tolerance=0.02,
        versions={},
    )


def write_store(
    folder: Path, data: ImageData, views: int, groups: Sequence[Group] = GROUPS
) -> Store:
    """A published store of a random teacher, opened.

    All views of a group hold the same logits and share one file on disk, so that a store of 240
    views is made in seconds; whoever reads it reads as many bytes as from any other.
    """
    rng = np.random.Generator(np.random.Philox(key=1))
    count, classes = len(data.train.labels), len(data.class_names)
    logits = rng.standard_normal((count, classes), np.float32).astype(np.float16)
    target = folder / "random.zarr"
    with WorkFolder(folder / ".work", "store") as work:
        files: dict[str, Path] = {}
        for group in groups:
            plan = [draw_view(group, recipe(group), v, count) for v in range(views)]
            writer = GroupWriter(
                work.path / "store", view_header(group, data), plan, feature_dim=None
            )
            writer.write_view(0, logits)
            values = work.path / "store" / group / "logits"
            (first,) = (path for path in values.iterdir() if path.name.startswith("c."))
            for v in range(1, views):
                (values / f"c.{v}.0.0").hardlink_to(first)
            writer.finish()
            files |= writer.files()
        work.publish(files, target)
    return open_store(target, groups=groups)
