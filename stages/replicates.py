"""Train replicates of jobs: beside each other where the machine allows, each in its own folder.

On a CPU they are shared out among processes, on a GPU they run together on streams; whatever the
company, a replicate ends with the same weights on the same kind of device.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch

from pipeline.batches import ImageBank, ViewBatches
from pipeline.curves import Curves
from pipeline.fit import TestSet, Trainer
from pipeline.models import build
from pipeline.models.network import Network
from pipeline.predict import clean_bank, place
from pipeline.prepared import ImageData
from pipeline.publish import canonical_json, durable_write
from pipeline.results import TIMING, sample_rows
from pipeline.together import MOST_AT_ONCE, Run, fit_together
from pipeline.views import Augmentation
from stages.common import Machine, console
from stages.devices import describe_device, precision_warning, set_up, versions
from stages.jobs import Job
from stages.processes import Report, run_in_processes
from stages.progress import ProgressDisplay, Tick
from stages.replicate_files import CHECKPOINT, write_replicate
from stages.step_reporter import StepReporter


@dataclass(frozen=True)
class Replicate:
    """One replicate of a job; its files lie in a folder of its own below `work`."""

    job: Job
    number: int
    work: Path

    @property
    def folder(self) -> Path:
        """Where it keeps its checkpoint, and what it leaves."""
        return self.work / f"replicate-{self.number}"

    @property
    def seed(self) -> int:
        """Of its weights and of the order of the images."""
        return self.job.seed + self.number


def run_replicates(
    replicates: Sequence[Replicate],
    data: ImageData,
    device: torch.device,
    machine: Machine,
    *,
    graph: bool = True,
) -> None:
    """Train replicates at the same time: on a CPU in processes, on a GPU on streams."""
    set_up(device, machine.threads)
    if not replicates:
        return
    trained = [r.job for r in replicates if r.job.weights is None]
    warning = precision_warning({j.precision_key: j.training.precision for j in trained}, device)
    if warning:
        console.print(warning)
    processes = 1 if device.type == "cuda" else machine.processes(len(replicates))
    if processes > 1:
        # A pool of threads does not outlive forking: the processes would wait for it forever.
        torch.set_num_threads(1)
    # Made before any process is, which then have one copy of the images between them.
    trainings = Trainings(replicates, data, device, graph=graph)
    everything = range(len(replicates))

    def work(chosen: Sequence[int], report: Report) -> None:
        torch.set_num_threads(machine.threads)
        trainings.train(chosen, report)

    with ProgressDisplay("images") as display:
        if device.type == "cuda":
            trainings.train(everything, display.show, MOST_AT_ONCE)
        elif processes > 1:
            run_in_processes(work, everything, processes, display.show)
        else:
            trainings.train(everything, display.show)


class Trainings:
    """Replicates on one device; all see the same copy of the images."""

    def __init__(
        self,
        replicates: Sequence[Replicate],
        data: ImageData,
        device: torch.device,
        *,
        graph: bool = True,
    ) -> None:
        self.replicates, self.data, self.device, self.graph = replicates, data, device, graph
        self.test = TestSet(
            clean_bank(data.test.images, data.mean, data.std, device), data.test.labels
        )
        self.bank = cache(self._bank)
        for replicate in replicates:
            if replicate.job.weights is None:
                self.bank(replicate.job.augmentation)
        self._told: set[tuple[str, str]] = set()

    def _bank(self, augmentation: Augmentation) -> ImageBank:
        data = self.data
        return ImageBank(data.train.images, data.mean, data.std, augmentation, self.device)

    def train(self, chosen: Sequence[int], report: Report, at_once: int = 1) -> None:
        """Train the chosen replicates, going on from their checkpoints, and write their files."""
        beginning = [_Training(self, self.replicates[index], report) for index in chosen]
        for one in beginning:
            if one.job.weights is not None:
                one.use_weights(one.job.weights)
        runs = [one.run() for one in beginning if one.job.weights is None]
        fit_together(runs, self.device, at_once=at_once)

    def warn(self, job: Job, text: str) -> None:
        """Tell something on the console, once for all replicates of a job."""
        if (job.name, text) not in self._told:
            self._told.add((job.name, text))
            console.print(f"{job.kind} {job.name}: {text}")


class _Training:
    """One replicate in training: what it begins with, reports and leaves."""

    def __init__(self, trainings: Trainings, replicate: Replicate, report: Report) -> None:
        self.trainings, self.replicate, self.report = trainings, replicate, report
        self.job, self.data = replicate.job, trainings.data
        self.own = replicate.folder
        self.own.mkdir(exist_ok=True)
        self.began = time.monotonic()
        self.reporter: StepReporter | None = None

    def run(self) -> Run:
        """As a run of the training loop."""
        return Run(
            start=self._start,
            test=self.trainings.test,
            checkpoint=self.own / CHECKPOINT,
            on_step=self._on_step,
            on_end=self._end,
        )

    def _network(self) -> Network:
        torch.manual_seed(self.replicate.seed)
        network = build(self.job.network, len(self.data.class_names))
        network.check_image_size(*self.data.train.images.shape[1:3])
        return network

    def _start(self) -> Trainer:
        self.began = time.monotonic()
        trainings, job, number = self.trainings, self.job, self.replicate.number
        bank = trainings.bank(job.augmentation)
        trainer = Trainer(
            self._network(),
            ViewBatches(bank, self.data.train.labels, len(self.data.class_names)),
            job.source(number),
            job.loss,
            job.training,
            seed=self.replicate.seed,
            graph=trainings.graph,
            warn=lambda text: trainings.warn(job, text),
        )
        self.reporter = StepReporter(f"{job.name} #{number}", trainer, self.report)
        return trainer

    def _on_step(self, trainer: Trainer, loss: torch.Tensor) -> None:
        assert self.reporter is not None
        self.reporter(trainer, loss)

    def _end(self, trainer: Trainer, at_once: int) -> None:
        assert self.reporter is not None
        self.report(self.reporter.tick(trainer, trainer.curves.train_loss[-1]))
        how = {
            "precision": trainer.params.precision,
            "steps": "graph" if trainer.player.records else "eager",
            "replicates_at_once": at_once,
        }
        self._write(trainer.network, trainer.curves, self.reporter.images, how, self.trainings.test)

    def use_weights(self, weights: Mapping[str, torch.Tensor]) -> None:
        """Write the files of a network that was trained elsewhere, under its own normalisation."""
        network, device = self._network(), self.trainings.device
        network.load_state_dict(weights)
        self.data = self.data.seen_by(self.job.facts)
        bank = clean_bank(self.data.test.images, self.data.mean, self.data.std, device)
        test = TestSet(bank, self.data.test.labels)
        done, total = 0, len(test.labels) + len(sample_rows(self.data.train.labels))

        def count(images: int) -> None:
            nonlocal done
            done += images
            self.report(Tick(self.job.name, done, total))

        self._write(place(network, device), Curves(), 0, {}, test, count)

    def _write(
        self,
        network: Network,
        curves: Curves,
        images: int,
        how: dict[str, Any],
        test: TestSet,
        on_batch: Callable[[int], None] = lambda images: None,
    ) -> None:
        seconds = time.monotonic() - self.began
        timing = {
            "replicate": self.replicate.number,
            "seconds": round(seconds, 3),
            "images_per_second": round(images / seconds, 1),
            **how,
            **describe_device(self.trainings.device),
            "versions": versions(),
        }
        durable_write(self.own / TIMING, canonical_json(timing))
        number, seed = self.replicate.number, self.replicate.seed
        write_replicate(self.own, number, seed, network, curves, self.data, test, on_batch)
