"""Train the missing replicates of jobs, several at a time where the machine allows it.

On a CPU they are distributed over processes, on a GPU over streams. On the same kind of device a
replicate ends with the same weights, whatever is trained beside it.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pipeline.compute import (
    describe_device,
    open_work,
    pick_device,
    precision_warning,
    set_up,
    versions,
)
from pipeline.core.dataset import ImageData
from pipeline.core.files import WorkFolder
from pipeline.core.machine import Machine
from pipeline.core.progress import Display, Report, Tick
from pipeline.models.network import Network
from pipeline.models.registry import build
from pipeline.results.record import RECORD
from pipeline.results.samples import sample_rows
from pipeline.training.jobs import Job, Replicate, replicates_of
from pipeline.training.loop import OnStep
from pipeline.training.outs import CHECKPOINT, publish, write_replicate
from pipeline.training.processes import run_in_processes
from pipeline.training.together import MOST_AT_ONCE, Lane, fit_together
from pipeline.training.trainer import Curves, TestSet, Trainer
from pipeline.views.batches import ImageBank, ViewBatches
from pipeline.views.params import Augmentation
from pipeline.views.predict import clean_bank, place

TICK_SECONDS = 0.25

Bank = Callable[[Augmentation], ImageBank]


def train_and_publish(
    jobs: Mapping[Path, Job],
    data: ImageData,
    machine: Machine,
    display: Display,
    *,
    graph: bool = True,
) -> None:
    """Train the missing replicates of all jobs, then write each job's record and publish its folder.

    Args:
        jobs: folder to publish -> job.
        graph: see `Trainer`.
    """
    device = pick_device(machine)
    with ExitStack() as stack:
        opened: dict[Path, WorkFolder] = {}
        works: dict[Path, WorkFolder] = {}
        missing: dict[Path, Replicate] = {}
        for out, job in jobs.items():
            folder = open_work(f"train_{job.kind}", job.key_facts(data), device)
            if folder.path not in opened:  # entries may differ in their names only
                opened[folder.path] = stack.enter_context(folder)
            works[out] = opened[folder.path]
            for replicate in replicates_of(job, folder):
                if not (replicate.folder / RECORD).exists():
                    missing.setdefault(replicate.folder, replicate)
        run_replicates(list(missing.values()), data, device, machine, display, graph=graph)
        for out, job in jobs.items():
            display.tell(publish(job, works[out], data, out))
            reused = sum(r.folder not in missing for r in replicates_of(job, works[out]))
            if reused:
                display.tell(
                    f"{job.kind} {job.name}: {reused} of {job.replicates} were trained before (kept in "
                    f"{works[out].path}); to train them again, run `decant clean` first"
                )


def run_replicates(
    replicates: Sequence[Replicate],
    data: ImageData,
    device: torch.device,
    machine: Machine,
    display: Display,
    *,
    graph: bool = True,
) -> None:
    """Train replicates, several at a time: on a CPU in processes, on a GPU on streams."""
    set_up(device, machine.threads)
    if not replicates:
        return
    trained = [r.job for r in replicates if r.job.weights is None]
    warning = precision_warning({j.precision_key: j.training.precision for j in trained}, device)
    if warning:
        display.tell(warning)
    processes = 1 if device.type == "cuda" else machine.processes(len(replicates))
    if processes > 1:
        # A forked process has no threads of its parent's pool and would wait for them forever.
        torch.set_num_threads(1)
    # Before any process is forked, so that all of them share one copy of the images.
    train = training_function(replicates, data, device, display.tell, graph=graph)

    def work(chosen: Sequence[int], report: Report) -> None:
        torch.set_num_threads(machine.threads)
        train(chosen, report)

    everything = range(len(replicates))
    if processes > 1:
        run_in_processes(work, everything, processes, display.show)
    else:
        train(everything, display.show, MOST_AT_ONCE if device.type == "cuda" else 1)


def training_function(
    replicates: Sequence[Replicate],
    data: ImageData,
    device: torch.device,
    tell: Callable[[str], None],
    *,
    graph: bool = True,
) -> Callable[..., None]:
    """Put the images on the device, once for all replicates; returns a function that trains some of them.

    The function takes the indices of the replicates, a callback for progress and how many to train at a
    time. It continues from their checkpoints and writes their results. `tell` gets each message once.
    """
    test = TestSet(clean_bank(data.test.images, data.mean, data.std, device), data.test.labels)
    tell_once = cache(tell)

    @cache
    def bank(augmentation: Augmentation) -> ImageBank:
        return ImageBank(data.train.images, data.mean, data.std, augmentation, device)

    for job in (replicate.job for replicate in replicates):
        if job.weights is None:
            bank(job.augmentation)

    def train(chosen: Sequence[int], report: Report, at_once: int = 1) -> None:
        lanes = []
        for replicate in (replicates[index] for index in chosen):
            replicate.folder.mkdir(exist_ok=True)
            if replicate.job.weights is None:
                lanes.append(_lane(replicate, data, bank, test, report, tell_once, graph=graph))
            else:
                _write_given(replicate, data, device, report)
        fit_together(lanes, device, at_once=at_once)

    return train


def _lane(
    replicate: Replicate,
    data: ImageData,
    bank: Bank,
    test: TestSet,
    report: Report,
    tell: Callable[[str], None],
    *,
    graph: bool,
) -> Lane:
    """A replicate, ready to be trained beside others."""
    job, began = replicate.job, time.monotonic()

    def start() -> Trainer:
        nonlocal began
        began = time.monotonic()
        return Trainer(
            _network(replicate, data),
            ViewBatches(bank(job.augmentation), data.train.labels, len(data.class_names)),
            job.epochs.of(replicate.number),
            job.loss,
            job.training,
            seed=replicate.seed,
            graph=graph,
            warn=lambda text: tell(f"{job.kind} {job.name}: {text}"),
        )

    def end(trainer: Trainer, at_once: int) -> None:
        report(_tick(replicate, trainer, trainer.curves.train_loss[-1]))
        mode = {
            "precision": job.training.precision,
            "steps": "graph" if trainer.player.records else "eager",
            "replicates_at_once": at_once,
        }
        timing = _timing(replicate, began, trainer.images_seen, test.bank.device, mode)
        write_replicate(replicate, trainer.network, trainer.curves, timing, data, test)

    return Lane(
        start=start,
        test=test,
        checkpoint=replicate.folder / CHECKPOINT,
        on_step=_reporting(replicate, report),
        on_end=end,
    )


def _network(replicate: Replicate, data: ImageData) -> Network:
    torch.manual_seed(replicate.seed)
    network = build(replicate.job.network, len(data.class_names))
    network.check_image_size(*data.train.images.shape[1:3])
    return network


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
        report(Tick(job.name, done, total))

    timing = _timing(replicate, began, 0, device, {})
    write_replicate(replicate, network, Curves(), timing, data, test, count)


def _reporting(replicate: Replicate, report: Report) -> OnStep:
    """Report progress a few times a second at most: reading the loss waits for the device."""
    last = 0.0

    def on_step(trainer: Trainer, loss: Tensor) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= TICK_SECONDS:
            last = now
            report(_tick(replicate, trainer, loss.item()))

    return on_step


def _tick(replicate: Replicate, trainer: Trainer, loss: float) -> Tick:
    evaluated = [a for a in trainer.curves.test_top1_accuracy if not math.isnan(a)]
    accuracy = f" accuracy {evaluated[-1]:.2%}" if evaluated else ""
    count = trainer.batches.count
    done = trainer.epoch * count + trainer.images_in_epoch
    total = trainer.params.epochs * count
    return Tick(replicate.label, done, total, f"loss {loss:.3f}{accuracy}")


def _timing(
    replicate: Replicate, began: float, images: int, device: torch.device, mode: dict[str, Any]
) -> dict[str, Any]:
    """Duration since `began`, speed, and what computed."""
    seconds = time.monotonic() - began
    return {
        "replicate": replicate.number,
        "seconds": round(seconds, 3),
        "images_per_second": round(images / seconds, 1),
        **mode,
        **describe_device(device),
        "versions": versions(),
    }
