"""Whether students can tell a store in bfloat16 from one in float32: `python -m benchmarks.precision`.

A teacher is trained on part of the real CIFAR-100 and dumped twice, then pairs of students of one seed are
trained, one from each store. What the seed alone changes is the scale on which to read the difference.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from pathlib import Path
from statistics import mean, stdev

import click
import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console

from benchmarks.engine import kd_loss, stored
from benchmarks.setting import AUGMENTATION, find_images
from pipeline.compute import set_up
from pipeline.core.dataset import ImageData
from pipeline.core.files import WorkFolder
from pipeline.dump.dump import dump_group, group_header
from pipeline.dump.params import DumpParams, PlainViews, Precision
from pipeline.dump.ready import LOWER, ready
from pipeline.hard_labels.epochs import DrawnEpochs, hard_label_loss
from pipeline.models.network import Network
from pipeline.models.registry import build
from pipeline.results.metrics import top1_accuracy
from pipeline.store.format.manifest import TeacherInfo
from pipeline.store.read import Store, open_store
from pipeline.training.loop import fit
from pipeline.training.params import Schedule, TrainingParams
from pipeline.training.trainer import LossFunction, TestSet, Trainer
from pipeline.views.batches import EpochSource, ImageBank, ViewBatches
from pipeline.views.predict import clean_bank, predict_clean

TEACHER, STUDENT = "resnet20", "resnet8"
PRECISIONS: tuple[Precision, Precision] = ("float32", LOWER)


@dataclass(frozen=True)
class School:
    """Data, a device, how long everybody trains and in what precision."""

    data: ImageData
    device: torch.device
    epochs: int
    views: int
    training: Precision = "float32"

    def train(self, name: str, source: EpochSource, loss: LossFunction, seed: int) -> Network:
        """A network of a seed; its weights and the order of images follow from that."""
        data = self.data
        bank = ImageBank(data.train.images, data.mean, data.std, AUGMENTATION, self.device)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = build(name, len(data.class_names))
        params = TrainingParams(
            epochs=self.epochs,
            batch_size=64,
            learning_rate=0.1,
            momentum=0.9,
            weight_decay=5e-4,
            schedule=Schedule(name="one_cycle", warmup=0.25),
            evaluate_every=self.epochs,
            precision=self.training,
        )
        batches = ViewBatches(bank, data.train.labels, len(data.class_names))
        test = TestSet(self._test_bank(), data.test.labels)
        fit(Trainer(network, batches, source, loss, params, seed=seed), test)
        return network

    def teacher(self) -> Network:
        """Trained on hard labels."""
        drawn = DrawnEpochs(AUGMENTATION, None, 0, len(self.data.train.labels))
        return self.train(TEACHER, drawn, hard_label_loss, 0)

    def student(self, store: Store, seed: int) -> NDArray[np.float32]:
        """The logits f4 [N, C] of the test images, of a student of a store."""
        network = self.train(STUDENT, stored(store), kd_loss(), seed)
        return self.answers(network)

    def answers(self, network: Network) -> NDArray[np.float32]:
        """The logits f4 [N, C] of the test images."""
        return predict_clean(network, self._test_bank())[0]

    def _test_bank(self) -> ImageBank:
        data = self.data
        return clean_bank(data.test.images, data.mean, data.std, self.device)

    def store(self, teacher: Network, precision: Precision, folder: Path) -> Store:
        """A store of plain views, computed in a precision."""
        size = self.data.train.images.shape[1:3]
        asked, exact = ready(teacher, size, precision), ready(teacher, size, "float32")
        views = PlainViews(views=self.views, draw="stratified")
        params = DumpParams(seed=0, batch_size=256, plain=views, mixed=None, precision=precision)
        info = TeacherInfo(
            name=TEACHER, network=TEACHER, weights_sha256=None, training={}, top1_accuracy=None
        )
        header = group_header("plain", params, AUGMENTATION, self.data, info, self.device)
        with WorkFolder(folder / ".work", precision) as work:
            dumped = partial(dump_group, asked, header, params, self.data, self.device, work.path)
            work.publish(dumped(exact=exact), folder / f"{precision}.zarr")
        return open_store(folder / f"{precision}.zarr", groups=["plain"])


def agreement(first: NDArray[np.float32], second: NDArray[np.float32]) -> float:
    """Fraction of images that get the same class."""
    return float((first.argmax(axis=1) == second.argmax(axis=1)).mean())


def report(pairs: Sequence[Sequence[NDArray[np.float32]]], labels: NDArray[np.int32]) -> list[str]:
    """What pairs of students say of the test images, in words: accuracies and agreements.

    Args:
        pairs: logits f4 [N, C] of each seed's student of either store; two seeds or more.
    """
    accuracies = [[top1_accuracy(logits, labels) * 100 for logits in pair] for pair in pairs]
    lines = [
        f"{precision}: {mean(column):.2f} % +- {stdev(column):.2f} over {len(pairs)} seeds"
        for precision, column in zip(PRECISIONS, zip(*accuracies, strict=True), strict=True)
    ]
    differences = [lower - exact for exact, lower in accuracies]
    error = stdev(differences) / len(pairs) ** 0.5
    lines.append(f"difference by seed: {mean(differences):+.2f} +- {error:.2f} (standard error)")
    same_seed = mean(agreement(*pair) for pair in pairs)
    seeds = [agreement(a[0], b[0]) for a, b in combinations(pairs, 2)]
    lines.append(f"the same class: {same_seed:.1%} of images within pairs of one seed,")
    lines.append(f"                {mean(seeds):.1%} between seeds, both of the float32 store")
    return lines


@click.command()
@click.option("--images", default=10_000, show_default=True, help="Training images.")
@click.option("--epochs", default=10, show_default=True)
@click.option("--views", default=5, show_default=True)
@click.option("--seeds", type=click.IntRange(min=2), default=4, show_default=True)
@click.option("--training", type=click.Choice(PRECISIONS), default="float32", show_default=True)
def main(images: int, epochs: int, views: int, seeds: int, training: Precision) -> None:
    """Train a teacher and pairs of students; print what bfloat16 costs at either end."""
    data = find_images(images)
    if data.name == "random":
        raise click.UsageError(
            "set DECANT_DATA to a folder with CIFAR-100: random images teach none"
        )
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    set_up(device, threads=1)
    console = Console(highlight=False)
    with tempfile.TemporaryDirectory(prefix="decant-benchmarks-") as folder:
        school = School(data, device, epochs, views, training)
        teacher = school.teacher()
        accuracy = top1_accuracy(school.answers(teacher), school.data.test.labels)
        console.print(f"teacher {TEACHER}: {accuracy:.2%} on {images} images, {epochs} epochs")
        stores = [school.store(teacher, precision, Path(folder)) for precision in PRECISIONS]
        for name, value in stores[1].group("plain").manifest.measured_error.items():
            console.print(f"  {name}: {value:g}")
        pairs = []
        for seed in range(1, seeds + 1):
            pairs.append([school.student(store, seed) for store in stores])
            console.print(f"seed {seed}: students are trained")
        for line in report(pairs, school.data.test.labels):
            console.print(line)


if __name__ == "__main__":
    main()
