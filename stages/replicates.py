"""Train the replicates of one entry, beside each other where the machine allows, and publish them.

Shared by the three training stages. What a replicate needs is handed over as a `Job`; finished work
stays in a work folder whose key leaves the number of replicates out, so that asking for one more
trains one more.
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from pipeline.batches import EpochSource, ImageBank, ViewBatches
from pipeline.curves import Curves
from pipeline.fit import LossFunction, TestSet, Trainer, TrainingParams
from pipeline.models import build
from pipeline.models.network import Network
from pipeline.params import ParamsError, read, section
from pipeline.predict import clean_bank, place
from pipeline.prepared import ImageData
from pipeline.publish import canonical_json, durable_write
from pipeline.results import (
    CURVES,
    FEATURES,
    RECORD,
    TEST_LOGITS,
    TIMING,
    TRAIN_SAMPLE,
    WEIGHTS,
    class_numbers,
    dataset_facts,
)
from pipeline.together import MOST_AT_ONCE, Run, fit_together
from pipeline.views import Augmentation
from stages.common import Machine, console
from stages.devices import describe_device, pick_device, set_up, versions
from stages.processes import Report, run_in_processes
from stages.progress import ProgressDisplay
from stages.replicate_files import CHECKPOINT, class_features, write_replicate
from stages.step_reporter import StepReporter
from stages.work import open_work


@dataclass(frozen=True, kw_only=True)
class Job:
    """One entry of params.yaml that a training stage works on.

    `source` and `loss` make what the replicate of a given number trains with. `inputs` are digests of
    what is read besides the data set; `facts` go into the record. Where `weights` is given nothing is
    trained and these are published.
    """

    kind: str
    name: str
    entry: dict[str, Any]
    network: str
    seed: int
    replicates: int
    training: TrainingParams
    augmentation: Augmentation
    classes: Sequence[int]
    source: Callable[[int], EpochSource]
    loss: LossFunction
    inputs: dict[str, Any] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    weights: dict[str, torch.Tensor] | None = None

    def key_facts(self, data: ImageData) -> dict[str, Any]:
        """What a finished replicate depends on besides code and device."""
        counted = ("replicates",)  # more of these reuse what is done
        return {
            "kind": self.kind,
            "entry": {k: v for k, v in self.entry.items() if k not in counted},
            "training": asdict(self.training),
            "augmentation": asdict(self.augmentation),
            "dataset": data.fingerprint,
            "normalisation": [data.mean, data.std],
            "inputs": self.inputs,
        }


def resolve_training(
    content: dict[str, Any], overrides: dict[str, Any], where: str
) -> TrainingParams:
    """The shared `training` section with an entry's own values in place of the shared ones.

    A `schedule` is replaced whole: a step schedule's milestones mean nothing to a cosine. Raises
    ParamsError, naming the entry where it overrides anything.
    """
    problems: list[str] = []
    name = f"{where}.training" if overrides else "training"
    result = read(TrainingParams, {**content.get("training", {}), **overrides}, name, problems)
    if problems:
        raise ParamsError(problems)
    assert isinstance(result, TrainingParams)
    return result


def vscore_classes(content: dict[str, Any], data: ImageData) -> list[int]:
    """Numbers of the classes whose features are kept: those of all V-score groups."""
    groups = section(content, dict[str, list[str]], "evaluation", "vscore", "groups")
    names = sorted({name for group in groups.values() for name in group})
    return class_numbers(names, data.class_names)


def train_and_publish(
    job: Job, data: ImageData, out: Path, machine: Machine, *, graph: bool = True
) -> list[float]:
    """Train what is missing, write the records, publish the folder; returns test accuracies.

    `graph`: see `Trainer`.
    """
    device = pick_device(machine)
    with open_work(job.key_facts(data), device) as work:
        folders = [work.path / f"replicate-{r}" for r in range(job.replicates)]
        pending = [r for r, folder in enumerate(folders) if not (folder / RECORD).exists()]
        run_replicates(job, pending, work.path, data, device, machine, graph=graph)
        records = [json.loads((folder / RECORD).read_text()) for folder in folders]
        files = {RECORD: work.path / RECORD, TIMING: work.path / TIMING}
        durable_write(files[RECORD], canonical_json(_record(job, data, records)))
        timings = [json.loads((folder / TIMING).read_text()) for folder in folders]
        durable_write(files[TIMING], canonical_json({"replicates": timings}))
        for folder in folders:
            features = class_features(job.network, job.classes, folder, data, device)
            for name in (WEIGHTS, CURVES, TEST_LOGITS, TRAIN_SAMPLE):
                files[f"{folder.name}/{name}"] = folder / name
            files[f"{folder.name}/{FEATURES}"] = features
        work.publish(files, out)
    accuracies = [record["top1_accuracy"] for record in records]
    shown = ", ".join(f"{accuracy:.2%}" for accuracy in accuracies)
    console.print(f"{job.kind} {job.name}: {shown} on the {data.evaluated_on} set -> {out}")
    return accuracies


def run_replicates(
    job: Job,
    pending: Sequence[int],
    folder: Path,
    data: ImageData,
    device: torch.device,
    machine: Machine,
    *,
    graph: bool = True,
) -> None:
    """Train the pending replicates at the same time: on a CPU in processes, on a GPU on streams."""
    set_up(device, machine.threads)
    if not pending:
        return
    # Made before any process is, which then have one copy of the images between them.
    trainings = Trainings(job, folder, data, device, graph=graph)
    with ProgressDisplay("images") as display:
        if device.type == "cuda":
            trainings.train(pending, display.show, MOST_AT_ONCE)
        elif (processes := machine.processes(len(pending))) > 1:
            run_in_processes(trainings.train, pending, processes, display.show)
        else:
            trainings.train(pending, display.show)


class Trainings:
    """The replicates of a job on one device; all see the same copy of the images."""

    def __init__(
        self,
        job: Job,
        folder: Path,
        data: ImageData,
        device: torch.device,
        *,
        graph: bool = True,
    ) -> None:
        self.job, self.folder, self.data, self.device = job, folder, data, device
        self.graph = graph
        self.test = TestSet(
            clean_bank(data.test.images, data.mean, data.std, device), data.test.labels
        )
        if job.weights is None:
            self.bank = ImageBank(data.train.images, data.mean, data.std, job.augmentation, device)
        self._told: set[str] = set()

    def train(self, replicates: Sequence[int], report: Report, at_once: int = 1) -> None:
        """Train replicates, going on from their checkpoints, and write the files of each."""
        mine = [_Replicate(self, replicate, report) for replicate in replicates]
        if self.job.weights is not None:
            for replicate in mine:
                replicate.use_weights(self.job.weights)
            return
        fit_together([replicate.run() for replicate in mine], self.device, at_once=at_once)

    def warn(self, text: str) -> None:
        """Tell something on the console, once for all replicates."""
        if text not in self._told:
            self._told.add(text)
            console.print(f"{self.job.kind} {self.job.name}: {text}")


class _Replicate:
    """One replicate of a job: what it begins with, reports and leaves."""

    def __init__(self, trainings: Trainings, number: int, report: Report) -> None:
        self.trainings, self.number, self.report = trainings, number, report
        self.job, self.data = trainings.job, trainings.data
        self.seed = self.job.seed + number
        self.own = trainings.folder / f"replicate-{number}"
        self.own.mkdir(exist_ok=True)
        self.began = time.monotonic()
        self.reporter: StepReporter | None = None

    def run(self) -> Run:
        """This replicate as a run of the training loop."""
        checkpoint = self.own / CHECKPOINT
        return Run(
            start=self._start,
            test=self.trainings.test,
            checkpoint=checkpoint,
            on_step=self._on_step,
            on_end=self._end,
        )

    def _network(self) -> Network:
        torch.manual_seed(self.seed)
        network = build(self.job.network, len(self.data.class_names))
        network.check_image_size(*self.data.train.images.shape[1:3])
        return network

    def _start(self) -> Trainer:
        self.began = time.monotonic()
        trainings, job = self.trainings, self.job
        batches = ViewBatches(trainings.bank, self.data.train.labels, len(self.data.class_names))
        trainer = Trainer(
            self._network(),
            batches,
            job.source(self.number),
            job.loss,
            job.training,
            seed=self.seed,
            graph=trainings.graph,
            warn=trainings.warn,
        )
        self.reporter = StepReporter(f"{job.name} #{self.number}", trainer, self.report)
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
        self._write(trainer.network, trainer.curves, self.reporter.images, how)

    def use_weights(self, weights: Mapping[str, torch.Tensor]) -> None:
        """Write the files of a network that was trained elsewhere."""
        network = self._network()
        network.load_state_dict(weights)
        self._write(place(network, self.trainings.device), Curves(), 0, {})

    def _write(self, network: Network, curves: Curves, images: int, how: dict[str, Any]) -> None:
        seconds = time.monotonic() - self.began
        timing = {
            "replicate": self.number,
            "seconds": round(seconds, 3),
            "images_per_second": round(images / seconds, 1),
            **how,
            **describe_device(self.trainings.device),
            "versions": versions(),
        }
        durable_write(self.own / TIMING, canonical_json(timing))
        test = self.trainings.test
        write_replicate(self.own, self.number, self.seed, network, curves, self.data, test)


def _record(job: Job, data: ImageData, replicates: list[dict[str, Any]]) -> dict[str, Any]:
    network = build(job.network, len(data.class_names))
    return {
        "kind": job.kind,
        "name": job.name,
        "network": job.network,
        "parameters": sum(p.numel() for p in network.parameters()),
        "feature_dim": network.feature_dim,
        "entry": job.entry,
        "training": json.loads(json.dumps(asdict(job.training))),
        "augmentation": asdict(job.augmentation),
        "dataset": dataset_facts(data),
        "method": None,
        "teacher": None,
        **job.facts,
        "replicates": replicates,
    }
