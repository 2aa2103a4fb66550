"""Train the replicates of one entry, beside each other where the machine allows, and publish them.

Shared by the three training stages. What a replicate needs is handed over as a `Job`; finished work
stays in a work folder whose key leaves the number of replicates out, so that asking for one more
trains one more.
"""

import json
import multiprocessing
import os
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.batches import EpochSource, ImageBank, ViewBatches
from pipeline.checkpoints import load_weights, save_weights, weights_digest
from pipeline.fit import Curves, LossFunction, TestSet, Trainer, TrainingParams, fit
from pipeline.metrics import nll, top1_accuracy, top_k_accuracy
from pipeline.models import build
from pipeline.models.network import Network
from pipeline.params import ParamsError, read, section
from pipeline.predict import clean_bank, place, predict_clean
from pipeline.prepared import ImageData, Split
from pipeline.publish import canonical_json, durable_write, work_key
from pipeline.results import (
    CURVES,
    FEATURES,
    RECORD,
    TEST_LOGITS,
    TIMING,
    TRAIN_SAMPLE,
    WEIGHTS,
    ClassFeatures,
    class_numbers,
    class_rows,
    dataset_facts,
    sample_rows,
    save_features,
    save_train_sample,
)
from pipeline.views import Augmentation
from stages.common import Machine, console, is_mistake
from stages.devices import describe_device, pick_device, set_up, versions
from stages.progress import ProgressDisplay, Tick
from stages.work import open_work

PREDICT_BATCH = 500
TICK_SECONDS = 0.25


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


def train_and_publish(job: Job, data: ImageData, out: Path, machine: Machine) -> list[float]:
    """Train what is missing, write the records, publish the folder; returns test accuracies."""
    device = pick_device(machine)
    with open_work(job.key_facts(data), device) as work:
        folders = [work.path / f"replicate-{r}" for r in range(job.replicates)]
        pending = [r for r, folder in enumerate(folders) if not (folder / RECORD).exists()]
        run_replicates(job, pending, work.path, data, device, machine)
        records = [json.loads((folder / RECORD).read_text()) for folder in folders]
        files = {RECORD: work.path / RECORD, TIMING: work.path / TIMING}
        durable_write(files[RECORD], canonical_json(_record(job, data, records)))
        timings = [json.loads((folder / TIMING).read_text()) for folder in folders]
        durable_write(files[TIMING], canonical_json({"replicates": timings}))
        for folder in folders:
            features = _class_features(job, folder, data, device)
            for name in (WEIGHTS, CURVES, TEST_LOGITS, TRAIN_SAMPLE):
                files[f"{folder.name}/{name}"] = folder / name
            files[f"{folder.name}/{FEATURES}"] = features
        work.publish(files, out)
    accuracies = [record["top1_accuracy"] for record in records]
    shown = ", ".join(f"{accuracy:.2%}" for accuracy in accuracies)
    console.print(f"{job.kind} {job.name}: {shown} on the {data.evaluated_on} set -> {out}")
    return accuracies


class ReplicateError(RuntimeError):
    """What went wrong in a process that trained a replicate."""


def run_replicates(
    job: Job,
    pending: Sequence[int],
    folder: Path,
    data: ImageData,
    device: torch.device,
    machine: Machine,
) -> None:
    """Train the pending replicates: on a CPU several at once, each in a process of its own."""
    processes = machine.processes(len(pending)) if device.type == "cpu" else 1
    set_up(device, machine.threads)
    with ProgressDisplay("images") as display:
        if processes == 1:
            for replicate in pending:
                train_replicate(job, replicate, folder, data, device, display.show)
        else:
            _run_in_processes(job, pending, folder, data, device, processes, display)


def _run_in_processes(
    job: Job,
    pending: Sequence[int],
    folder: Path,
    data: ImageData,
    device: torch.device,
    processes: int,
    display: ProgressDisplay,
) -> None:
    # Forking shares the data set's memory and spares each process the import of torch; nothing has
    # been computed yet, so no thread pool is lost in the fork.
    context = multiprocessing.get_context("fork")
    queue: Any = context.SimpleQueue()

    parent = os.getpid()

    def report(tick: Tick) -> None:
        if os.getppid() != parent:  # the stage was killed: leave no orphan that holds its lock
            os._exit(1)
        queue.put(tick)

    def work(mine: Sequence[int]) -> None:
        try:
            for replicate in mine:
                train_replicate(job, replicate, folder, data, device, report)
            queue.put(None)
        except Exception as error:
            # A message always crosses between processes; not every exception can be unpickled.
            text = str(error) if is_mistake(error) else traceback.format_exc()
            queue.put(ReplicateError(text))
        except KeyboardInterrupt:
            queue.put(KeyboardInterrupt())

    shares = [pending[start::processes] for start in range(processes)]
    workers = [context.Process(target=work, args=(mine,), daemon=True) for mine in shares]
    for worker in workers:
        worker.start()
    try:
        running = len(workers)
        while running:
            message = _next_message(queue, workers)
            if message is None:
                running -= 1
            elif isinstance(message, Tick):
                display.show(message)
            else:
                raise message
    finally:
        for worker in workers:
            worker.terminate()
            worker.join()


def _next_message(queue: Any, workers: Sequence[Any]) -> Any:
    while queue.empty():
        dead = [worker.exitcode for worker in workers if worker.exitcode not in (None, 0)]
        if dead and queue.empty():
            raise ChildProcessError(
                f"a training process ended with code {dead[0]} (out of memory?)"
            )
        time.sleep(0.05)
    return queue.get()


def train_replicate(
    job: Job,
    replicate: int,
    folder: Path,
    data: ImageData,
    device: torch.device,
    report: Callable[[Tick], None],
) -> None:
    """Train one replicate, going on from its checkpoint, and write its files; the record comes last."""
    seed, own = job.seed + replicate, folder / f"replicate-{replicate}"
    own.mkdir(exist_ok=True)
    torch.manual_seed(seed)
    network = build(job.network, len(data.class_names))
    network.check_image_size(*data.train.images.shape[1:3])
    test = TestSet(clean_bank(data.test.images, data.mean, data.std, device), data.test.labels)
    began = time.monotonic()
    if job.weights is not None:
        network.load_state_dict(job.weights)
        place(network, device)
        curves, images = Curves(), 0
    else:
        bank = ImageBank(data.train.images, data.mean, data.std, job.augmentation, device)
        batches = ViewBatches(bank, data.train.labels, len(data.class_names))
        source = job.source(replicate)
        trainer = Trainer(network, batches, source, job.loss, job.training, seed=seed)
        checkpoint = own / "state.safetensors"
        reporter = _Reporter(f"{job.name} #{replicate}", trainer, report)
        curves = fit(trainer, test, checkpoint=checkpoint, on_step=reporter)
        images = reporter.images
        report(reporter.tick(trainer, curves.train_loss[-1]))
    seconds = time.monotonic() - began
    timing = {
        "replicate": replicate,
        "seconds": round(seconds, 3),
        "images_per_second": round(images / seconds, 1),
        **describe_device(device),
        "versions": versions(),
    }
    durable_write(own / TIMING, canonical_json(timing))
    _write_train_sample(own, network, data, device)
    _write_replicate(own, replicate, seed, network, curves, test)


class _Reporter:
    """Turns training steps into ticks, a few a second, so that reading the loss costs nothing."""

    def __init__(self, name: str, trainer: Trainer, report: Callable[[Tick], None]) -> None:
        self.name, self.report = name, report
        self.total = trainer.params.epochs * trainer.batches.count
        self.first: int | None = None
        self.images = 0
        self.last = 0.0

    def __call__(self, trainer: Trainer, loss: torch.Tensor) -> None:
        """Called after each step."""
        done = trainer.epoch * trainer.batches.count + trainer.images_in_epoch
        if self.first is None:  # a resumed run starts later than at the first image
            self.first = trainer.epoch * trainer.batches.count
        self.images = done - self.first
        now = time.monotonic()
        if now - self.last < TICK_SECONDS:
            return
        self.last = now
        self.report(self.tick(trainer, loss.item()))

    def tick(self, trainer: Trainer, loss: float) -> Tick:
        """Where training stands, with the given loss."""
        seen = [a for a in trainer.curves.test_top1_accuracy if a == a]
        accuracy = f" accuracy {seen[-1]:.2%}" if seen else ""
        done = trainer.epoch * trainer.batches.count + trainer.images_in_epoch
        return Tick(self.name, done, self.total, f"loss {loss:.3f}{accuracy}")


def _write_replicate(
    own: Path, replicate: int, seed: int, network: Network, curves: Curves, test: TestSet
) -> None:
    logits, _ = predict_clean(network, test.bank, PREDICT_BATCH)
    save_weights(network, own / WEIGHTS)
    durable_write(own / CURVES, curves.to_csv().encode("ascii"))
    _save_array(own / TEST_LOGITS, logits)
    record = {
        "replicate": replicate,
        "seed": seed,
        "top1_accuracy": top1_accuracy(logits, test.labels),
        "top5_accuracy": top_k_accuracy(logits, test.labels, min(5, logits.shape[1])),
        "nll": nll(logits, test.labels),
        "train_loss": curves.train_loss[-1] if curves.train_loss else None,
        "weights_sha256": weights_digest(network.state_dict()),
    }
    durable_write(own / RECORD, canonical_json(record))
    (own / "state.safetensors").unlink(missing_ok=True)


def _write_train_sample(own: Path, network: Network, data: ImageData, device: torch.device) -> None:
    rows = sample_rows(data.train.labels)
    bank = clean_bank(data.train.images[rows], data.mean, data.std, device)
    logits, _ = predict_clean(network, bank, PREDICT_BATCH)
    save_train_sample(own / TRAIN_SAMPLE, logits, data.train.labels[rows])


def _save_array(path: Path, array: Any) -> None:
    temporary = path.with_suffix(".tmp.npy")
    np.save(temporary, array, allow_pickle=False)
    temporary.replace(path)


def _class_features(job: Job, own: Path, data: ImageData, device: torch.device) -> Path:
    """The features of the V-score classes; a file for each choice of classes, made when asked for."""
    path = own / f"features-{work_key({'classes': sorted(job.classes)})}.safetensors"
    if path.exists():
        return path
    network = build(job.network, len(data.class_names))
    network.load_state_dict(load_weights(own / WEIGHTS))
    place(network, device)

    def features_of(split: Split) -> tuple[NDArray[np.float16], NDArray[np.int32]]:
        rows = class_rows(split.labels, job.classes)
        bank = clean_bank(split.images[rows], data.mean, data.std, device)
        _, features = predict_clean(network, bank, PREDICT_BATCH)
        # Features of a hardly trained network may exceed what float16 holds.
        limit = float(np.finfo(np.float16).max)
        return features.clip(-limit, limit).astype(np.float16), split.labels[rows]

    save_features(path, ClassFeatures(*features_of(data.train), *features_of(data.test)))
    return path


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
