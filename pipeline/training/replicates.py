"""Train the missing replicates of jobs, several at a time where the machine allows it.

On a CPU they are distributed over processes, on a GPU over streams, on a cluster over its nodes. On the
same kind of device a replicate ends with the same weights, whatever is trained beside it. Under torchrun all
processes train each replicate together, one replicate after the other (`ranks`).
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor

from pipeline.compute import describe_device, set_up, versions
from pipeline.core.dataset import ImageData
from pipeline.core.errors import is_mistake, mistake_text
from pipeline.core.machine import Machine
from pipeline.core.progress import Display, Report, Tick
from pipeline.models.network import Network
from pipeline.models.registry import build
from pipeline.results.samples import sample_rows
from pipeline.training.cost import relative_costs
from pipeline.training.jobs import Replicate
from pipeline.training.loop import OnStep
from pipeline.training.outs import CHECKPOINT, write_replicate
from pipeline.training.processes import run_in_processes
from pipeline.training.ranks import ALONE, PartBatches, Ranks
from pipeline.training.together import MOST_AT_ONCE, Lane, fit_together
from pipeline.training.trainer import Curves, TestSet, Trainer
from pipeline.views.batches import ImageBank
from pipeline.views.params import Augmentation
from pipeline.views.predict import clean_bank, place

TICK_SECONDS = 0.25

Bank = Callable[[Augmentation], ImageBank]
Ended = Callable[[int, str | None], None]  # the index of a replicate, and what went wrong with it


def run_replicates(
    replicates: Sequence[Replicate],
    data: ImageData,
    device: torch.device,
    machine: Machine,
    display: Display,
    *,
    graph: bool = True,
    on_end: Callable[[Replicate], None] = lambda replicate: None,
    ranks: Ranks = ALONE,
) -> list[str]:
    """Train replicates, several at a time: on a CPU in processes, on a GPU on streams, on a cluster's nodes.

    `on_end` is called for each when its results are written. Returns what went wrong, a line for each
    that a mistake of the user's ended; other errors end all, and on several ranks each error does.
    """
    if not replicates:
        return []
    costs = relative_costs(replicates, data)
    # The longest first: then no core waits for the last one.
    order = sorted(range(len(replicates)), key=lambda index: -costs[index])
    replicates = [replicates[index] for index in order]
    expected = {replicates[place].label: costs[index] for place, index in enumerate(order)}
    failures: dict[int, str] = {}

    def ended(index: int, failure: str | None) -> None:
        if failure is None:
            on_end(replicates[index])
        else:
            failures[index] = failure
            if len(replicates) > 1:  # the others go on
                display.tell(failure)

    train: Callable[..., None] = partial(_train_here, ranks=ranks)
    if machine.cluster is not None:
        from pipeline.cluster.training import train_there as train
    train(replicates, data, device, machine, display, expected, ended, graph=graph)
    return [failures[index] for index in sorted(failures)]


def _train_here(
    replicates: Sequence[Replicate],
    data: ImageData,
    device: torch.device,
    machine: Machine,
    display: Display,
    expected: Mapping[str, float],
    ended: Ended,
    *,
    graph: bool,
    ranks: Ranks,
) -> None:
    """Train replicates, in their order, on this machine."""
    set_up(device, machine.threads)
    on_cpu = device.type == "cpu"
    at_once = machine.processes(len(replicates)) if on_cpu else machine.streams(MOST_AT_ONCE)
    at_once = at_once if ranks.alone else 1
    display.expect(expected, at_once)
    if on_cpu and at_once > 1:
        # A forked process has no threads of its parent's pool and would wait for them forever.
        torch.set_num_threads(1)
    # Before any process is forked, so that all of them share one copy of the images.
    train = training_function(replicates, data, device, display.tell, graph=graph, ranks=ranks)

    def work(index: int, report: Report) -> str | None:
        torch.set_num_threads(machine.threads)
        failed: list[str | None] = []
        train([index], report, lambda index, failure: failed.append(failure))
        return failed[0]

    if on_cpu and at_once > 1:
        run_in_processes(work, len(replicates), at_once, display.show, ended)
    else:
        train(range(len(replicates)), display.show, ended, 1 if on_cpu else at_once)


def training_function(
    replicates: Sequence[Replicate],
    data: ImageData,
    device: torch.device,
    tell: Callable[[str], None],
    *,
    graph: bool = True,
    ranks: Ranks = ALONE,
) -> Callable[..., None]:
    """Put the images on the device, once for all replicates; returns a function that trains some of them.

    The function takes the indices of the replicates, a callback for progress, one for each that ends
    (its index, and what went wrong or None) and how many to train at a time. It continues from their
    checkpoints and writes their results. `tell` gets each message once.
    """
    test = TestSet(clean_bank(data.test.images, data.mean, data.std, device), data.test.labels)
    tell_once = cache(tell)

    @cache
    def bank(augmentation: Augmentation) -> ImageBank:
        return ImageBank(data.train.images, data.mean, data.std, augmentation, device)

    for job in (replicate.job for replicate in replicates):
        if job.weights is None:
            bank(job.augmentation)

    def train(chosen: Sequence[int], report: Report, ended: Ended, at_once: int = 1) -> None:
        lanes = []
        for index in chosen:
            replicate = replicates[index]
            if ranks.is_first:
                replicate.folder.mkdir(exist_ok=True)
            if replicate.job.weights is None:
                lanes.append(
                    _lane(
                        replicate,
                        data,
                        bank,
                        test,
                        report,
                        tell_once,
                        partial(ended, index),
                        graph=graph,
                        ranks=ranks,
                    )
                )
                continue
            problem = None
            try:
                if ranks.is_first:
                    _write_given(replicate, data, device, report)
            except Exception as error:
                if not (ranks.alone and is_mistake(error)):
                    raise
                problem = f"{replicate.label}: {mistake_text(error)}"
            ended(index, problem)
        fit_together(lanes, device, at_once=at_once)

    return train


def _lane(
    replicate: Replicate,
    data: ImageData,
    bank: Bank,
    test: TestSet,
    report: Report,
    tell: Callable[[str], None],
    ended: Callable[[str | None], None],
    *,
    graph: bool,
    ranks: Ranks,
) -> Lane:
    """A replicate, ready to be trained beside others; of several ranks the first reads and writes.

    `ended` is called at its end, with what went wrong or None.
    """
    job = replicate.job

    def start() -> Trainer:
        return Trainer(
            _network(replicate, data),
            PartBatches(ranks, bank(job.augmentation), data.train.labels, len(data.class_names)),
            job.epochs.of(replicate.number),
            job.loss,
            job.training,
            seed=replicate.seed,
            graph=graph,
            warn=lambda text: tell(f"{job.kind} {job.name}: {text}"),
            ranks=ranks,
        )

    def write(trainer: Trainer, at_once: int) -> None:
        report(_tick(replicate, trainer, trainer.curves.train_loss[-1]))
        mode = {
            "precision": job.training.precision,
            "steps": "graph" if trainer.player.records else "eager",
            "replicates_at_once": at_once,
            **({} if ranks.alone else {"ranks": ranks.count}),
        }
        images, _ = _images(trainer)
        timing = _timing(replicate, trainer.seconds, images, test.bank.device, mode)
        write_replicate(replicate, trainer.network, trainer.curves, timing, data, test)

    def end(trainer: Trainer, at_once: int) -> None:
        if ranks.is_first:
            write(trainer, at_once)
        ended(None)

    def fail(error: Exception) -> None:
        ended(f"{replicate.label}: {mistake_text(error)}")

    return Lane(
        start=start,
        test=test,
        checkpoint=replicate.folder / CHECKPOINT if ranks.is_first else None,
        on_step=_reporting(replicate, report),
        on_end=end,
        # Of several ranks the others could wait for this one in the next training.
        on_mistake=fail if ranks.alone else None,
    )


def _network(replicate: Replicate, data: ImageData) -> Network:
    torch.manual_seed(replicate.seed)
    return build(replicate.job.network, len(data.class_names))


def _write_given(
    replicate: Replicate, data: ImageData, device: torch.device, report: Report
) -> None:
    """Write the results of a network that was trained elsewhere, under its own normalisation."""
    began, job = time.monotonic(), replicate.job
    data = data.normalised(job.normalisation)
    test = TestSet(clean_bank(data.test.images, data.mean, data.std, device), data.test.labels)
    network = _network(replicate, data)
    assert job.weights is not None
    network.load_state_dict(dict(job.weights))
    place(network, device)
    done, total = 0, len(test.labels) + len(sample_rows(data.train.labels))

    def count(images: int) -> None:
        nonlocal done
        done += images
        report(Tick(replicate.label, done, total))

    timing = _timing(replicate, time.monotonic() - began, 0, device, {})
    write_replicate(replicate, network, Curves(), timing, data, test, count)


def _reporting(replicate: Replicate, report: Report) -> OnStep:
    """Report progress a few times a second at most: reading the loss waits for the device."""
    last = 0.0

    def on_step(trainer: Trainer, loss: Tensor) -> None:
        nonlocal last
        now = time.monotonic()
        done, total = _images(trainer)
        if now - last >= TICK_SECONDS and done < total:  # the end is told with its accuracy
            last = now
            report(_tick(replicate, trainer, loss.item()))

    return on_step


def _tick(replicate: Replicate, trainer: Trainer, loss: float) -> Tick:
    evaluated = [a for a in trainer.curves.test_top1_accuracy if not math.isnan(a)]
    accuracy = f" accuracy {evaluated[-1]:.2%}" if evaluated else ""
    note = f"loss {loss:.3f}{accuracy}"
    return Tick(replicate.label, *_images(trainer), note, trainer.params.epochs)


def _images(trainer: Trainer) -> tuple[int, int]:
    """Images that a training has seen, and will have seen."""
    count = trainer.batches.count
    return trainer.epoch * count + trainer.images_in_epoch, trainer.params.epochs * count


def _timing(
    replicate: Replicate, seconds: float, images: int, device: torch.device, mode: dict[str, Any]
) -> dict[str, Any]:
    """Duration, speed, and what computed."""
    return {
        "replicate": replicate.number,
        "seconds": round(seconds, 3),
        "images_per_second": round(images / seconds, 1),
        **mode,
        **describe_device(device),
        "versions": versions(),
    }
