"""Peak host memory at full size: `python -m benchmarks.memory`.

50,000 images, 100 classes, 240 views of each group, on the CPU. Each task runs in a process of its own:
preparing, the dump up to its first batch (by then it holds all plans), and a student's training with
mixup that goes through some epochs, a few steps of each, with the next epoch's views read ahead.
"""

import multiprocessing
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import click
import torch
from rich.console import Console
from rich.table import Table

from benchmarks.engine import STUDENT, kd_loss, stored, training
from benchmarks.setting import AUGMENTATION, find_images, view_header, write_store
from pipeline.core.dataset import load_prepared, save_prepared
from pipeline.dump.dump import dump_group
from pipeline.dump.params import DumpParams, MixedViews
from pipeline.models.registry import build
from pipeline.store.format.manifest import describe_dataset
from pipeline.store.read import open_store
from pipeline.training.trainer import TestSet, Trainer
from pipeline.views.batches import ImageBank, ViewBatches
from pipeline.views.params import GROUPS
from pipeline.views.predict import clean_bank, place

CPU = torch.device("cpu")
TEACHER = "resnet56"
LIMIT_GB = 3.0


def peak_of(task: Callable[..., None], *arguments: Any) -> float:
    """Largest resident memory, in GB, of a fresh process that does nothing but a task.

    The interpreter and the imports are part of it. The task is a function of a module.
    """
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_report_peak, args=(sender, task, arguments))
    process.start()
    sender.close()
    try:
        peak = receiver.recv()
    except EOFError:
        raise RuntimeError(f"{task.__name__} failed, see above") from None
    finally:
        process.join()
    assert isinstance(peak, float)
    return peak


def _report_peak(sender: Connection, task: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    torch.set_num_threads(1)
    task(*arguments)
    # Not getrusage: its maximum is that of the parent where that was larger.
    lines = Path("/proc/self/status").read_text().splitlines()
    (peak,) = (line.split()[1] for line in lines if line.startswith("VmHWM:"))
    sender.send(int(peak) * 1024 / 1e9)


def nothing() -> None:
    """The task of a process that only imports."""


def prepare(folder: Path, images: int, views: int) -> None:
    """Write prepared images and a store of some views."""
    data = find_images(images)
    save_prepared(data, folder / "prepared")
    write_store(folder, data, views)


def dump(folder: Path, views: int) -> None:
    """Begin the dump of the mixed views, the larger group, and stop after its first batch."""
    data = load_prepared(folder / "prepared")
    group = MixedViews(views=views, draw="stratified", alpha=1.0, features=True)
    params = DumpParams(seed=0, batch_size=256, plain=None, mixed=group)
    network = place(build(TEACHER, len(data.class_names)), CPU)

    class Enough(Exception):  # noqa: N818 - not an error
        pass

    def stop(done: int, total: int) -> None:
        raise Enough

    try:
        header = view_header("mixed", data)
        dump_group(network, header, params, data, CPU, folder / "dump", stop)
    except Enough:
        return


def train(folder: Path, share: float, epochs: int, steps: int) -> None:
    """A student's training from the store: what `fit` keeps in memory, with fewer steps an epoch."""
    data = load_prepared(folder / "prepared")
    store = open_store(folder / "random.zarr", groups=GROUPS, dataset=describe_dataset(data))
    bank = ImageBank(data.train.images, data.mean, data.std, AUGMENTATION, CPU)
    batches = ViewBatches(bank, data.train.labels, len(data.class_names))
    network = build(STUDENT, len(data.class_names))
    trainer = Trainer(
        network, batches, stored(store, share), kd_loss(), training("float32"), seed=0
    )
    test = TestSet(clean_bank(data.test.images, data.mean, data.std, CPU), data.test.labels)
    with ThreadPoolExecutor(1) as reader:
        ahead = reader.submit(trainer.stage, 0)
        for epoch in range(epochs):
            current = ahead.result()
            ahead = reader.submit(trainer.stage, epoch + 1)
            for _ in islice(trainer.steps(current), steps):
                pass
    test.evaluate(trainer.network)


@click.command()
@click.option("--images", default=50_000, show_default=True)
@click.option("--views", default=240, show_default=True)
@click.option("--epochs", default=4, show_default=True)
@click.option("--steps", default=5, show_default=True, help="Training steps of each epoch.")
def main(images: int, views: int, epochs: int, steps: int) -> None:
    """Print the peak host memory of each task."""
    with tempfile.TemporaryDirectory(prefix="decant-benchmarks-") as name:
        folder = Path(name)
        peaks = {
            "imports alone": peak_of(nothing),
            "prepare, write a store": peak_of(prepare, folder, images, views),
            "dump": peak_of(dump, folder, views),
            "student, share 0": peak_of(train, folder, 0.0, epochs, steps),
            "student, share 0.5": peak_of(train, folder, 0.5, epochs, steps),
        }
    table = Table(title=f"{images} images, {views} views a group", title_justify="left")
    table.add_column("one process")
    table.add_column(f"peak GB (limit {LIMIT_GB:g})", justify="right")
    for task, peak in peaks.items():
        table.add_row(task, f"{peak:.2f}", style="yellow" if peak > LIMIT_GB else None)
    Console().print(table)


if __name__ == "__main__":
    main()
