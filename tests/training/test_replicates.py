"""Replicates of a stage: alone, in processes or together, stopped and resumed, the same files."""

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy
from training_samples import AUGMENTATION, PARAMS

from pipeline.core.dataset import ImageData, Split, fingerprint
from pipeline.core.errors import DecantError, mistake_text
from pipeline.core.machine import Machine
from pipeline.hard_labels.epochs import HardLabels, hard_label_loss
from pipeline.models.weights import load_weights
from pipeline.training.cost import relative_costs
from pipeline.training.jobs import Job, Replicate
from pipeline.training.processes import WorkerError
from pipeline.training.replicates import run_replicates, training_function
from pipeline.training.together import MOST_AT_ONCE

CPU = torch.device("cpu")
MACHINE = Machine(data_root="", workers=1)
FILES = {
    "weights.safetensors",
    "curves.csv",
    "test_logits.npy",
    "train_sample.safetensors",
    "record.json",
    "timing.json",
    "metrics.jsonl",
}
NETWORK = "conftest:TinyNetwork"  # its weights follow from torch's generator, as a real one's do
DETERMINISTIC = sorted(FILES - {"timing.json", "metrics.jsonl"})


class Told:
    """A display that keeps what it is told."""

    def __init__(self):
        self.ticks, self.texts = [], []

    def show(self, tick):
        self.ticks.append(tick)

    def expect(self, costs, at_once):
        self.expected = costs, at_once

    def tell(self, text):
        self.texts.append(text)


@pytest.fixture
def job(few_digits):
    count = len(few_digits.train.labels)
    return Job(
        kind="student",
        name="s",
        entry={},
        network=NETWORK,
        seed=20,
        replicates=3,
        training=replace(PARAMS, epochs=2),
        augmentation=AUGMENTATION,
        epochs=HardLabels(AUGMENTATION, None, 20, count),
        loss=hard_label_loss,
    )


def train(job, data, folder, *, pending=(0, 1, 2), machine=MACHINE, **options):
    folder.mkdir(exist_ok=True)
    told = Told()
    run_replicates(replicates_of(job, folder, pending), data, CPU, machine, told, **options)
    return folder


def replicates_of(job, folder, numbers=(0, 1, 2)):
    return [Replicate(job, number, folder) for number in numbers]


def contents(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.name in DETERMINISTIC
    }


def test_what_a_replicate_leaves(job, few_digits, tmp_path):
    folder = train(job, few_digits, tmp_path / "a")
    for number in range(3):
        own = folder / f"replicate-{number}"
        assert {path.name for path in own.iterdir()} == FILES
        record = json.loads((own / "record.json").read_text())
        assert (record["replicate"], record["seed"]) == (number, 20 + number)
        timing = json.loads((own / "timing.json").read_text())
        assert timing["seconds"] > 0
        assert timing["images_per_second"] > 0
        assert (timing["steps"], timing["precision"]) == ("eager", "float32")
        assert timing["replicates_at_once"] == 1
    digests = {f["weights_sha256"] for f in map(json.loads, records(folder))}
    assert len(digests) == 3


def records(folder):
    return [path.read_text() for path in sorted(folder.rglob("record.json"))]


def test_in_processes_and_one_after_the_other_the_same(job, few_digits, tmp_path):
    one = train(job, few_digits, tmp_path / "one")
    two = train(job, few_digits, tmp_path / "two", machine=Machine(data_root="", workers=2))
    assert contents(one) == contents(two)
    assert len(contents(one)) == 15


def test_together_and_one_after_the_other_the_same(job, few_digits, tmp_path):
    one = train(job, few_digits, tmp_path / "one")
    (tmp_path / "together").mkdir()
    told = Told()
    train_some = training_function(
        replicates_of(job, tmp_path / "together"), few_digits, CPU, told.tell
    )
    train_some([0, 1, 2], told.show, lambda index, failure: None, MOST_AT_ONCE)
    assert contents(one) == contents(tmp_path / "together")
    timing = json.loads((tmp_path / "together/replicate-1/timing.json").read_text())
    assert timing["replicates_at_once"] == 3
    last = {tick.job: (tick.done, tick.total) for tick in told.ticks}
    assert last == {f"student s #{number}": (640, 640) for number in range(3)}


class StoppedError(Exception):
    """In the middle of an epoch."""


def stopping(job, number, epoch):
    """The same job, but the source of one replicate fails in an epoch."""

    class Stopping:
        def of(self, replicate):
            drawn = job.epochs.of(replicate)

            def epochs(current):
                if (replicate, current) == (number, epoch):
                    raise StoppedError
                return drawn(current)

            return epochs

    return replace(job, epochs=Stopping())


def test_one_of_several_is_resumed(job, few_digits, tmp_path):
    whole = train(job, few_digits, tmp_path / "whole")
    folder = tmp_path / "stopped"
    folder.mkdir()
    told = Told()
    train_some = training_function(
        replicates_of(stopping(job, 1, 1), folder), few_digits, CPU, told.tell
    )
    with pytest.raises(StoppedError):
        train_some([0, 1, 2], told.show, lambda index, failure: None, MOST_AT_ONCE)
    assert (folder / "replicate-1/state.safetensors").exists()
    assert records(folder) == []
    train(job, few_digits, folder)
    assert contents(folder) == contents(whole)


def test_networks_that_cannot_be_counted_cost_their_epochs(job, few_digits, tmp_path):
    """One may run on a GPU alone: only the order of trainings hangs on it."""
    longer = replace(job, training=replace(job.training, epochs=3 * job.training.epochs))
    jobs = (replace(job, network="conftest:RunsNowhere"), longer)
    first, second = relative_costs([Replicate(each, 0, tmp_path) for each in jobs], few_digits)
    assert second == 3 * first > 0


def test_errors_in_processes_are_told(job, few_digits, tmp_path):
    two = Machine(data_root="", workers=2)
    with pytest.raises(WorkerError, match="StoppedError"):
        train(stopping(job, 1, 0), few_digits, tmp_path / "a", machine=two)


class OwnLoss:
    """With a mistake in its code that raises a ValueError."""

    def __call__(self, logits, features, batch, epoch):
        first, second = logits[:1]
        return first + second


@pytest.mark.parametrize("workers", [1, 2])
def test_a_mistake_of_own_code_says_where(job, few_digits, tmp_path, workers):
    """It may be one of the code, not of the parameters."""
    pending = replicates_of(replace(job, loss=OwnLoss()), tmp_path)
    machine = Machine(data_root="", workers=workers)
    failures = run_replicates(pending, few_digits, CPU, machine, Told())
    line = OwnLoss.__call__.__code__.co_firstlineno + 1
    expected = "not enough values to unpack (expected 2, got 1)"
    place = Path(__file__).relative_to(Path.cwd())
    assert failures == [f"student s #{n}: {expected} ({place}:{line})" for n in range(3)]


def test_a_mistake_that_torch_finds_is_where_it_was_called():
    with pytest.raises(ValueError, match="batch_size") as caught:
        cross_entropy(torch.zeros(3, 2), torch.zeros(2, dtype=torch.int64))
    assert re.search(r"batch_size \(2\).*test_replicates\.py:\d+\)$", mistake_text(caught.value))
    assert mistake_text(WorkerError("words")) == "words"


def test_a_mistake_before_the_first_step_leaves_the_others_alone(job, few_digits, tmp_path):
    class Lacking:
        def of(self, replicate):
            if replicate == 1:
                raise DecantError("views: 50 are asked for")
            return job.epochs.of(replicate)

    pending = replicates_of(replace(job, epochs=Lacking()), tmp_path)
    machine = Machine(data_root="", workers=2)
    failures = run_replicates(pending, few_digits, CPU, machine, Told())
    assert failures == ["student s #1: views: 50 are asked for"]
    assert len(records(tmp_path)) == 2


def test_why_steps_are_not_recorded_is_told_once(job, few_digits, tmp_path, monkeypatch):
    def refuse(body, restore):
        raise RuntimeError("no such operation in a graph")

    monkeypatch.setattr("pipeline.training.trainer.recorder_for", lambda device: refuse)
    told = {True: Told(), False: Told()}
    for graph, folder in ((True, tmp_path / "a"), (False, tmp_path / "b")):
        folder.mkdir()
        run_replicates(
            replicates_of(job, folder), few_digits, CPU, MACHINE, told[graph], graph=graph
        )
    (text,) = told[True].texts
    assert text.startswith(
        "student s: steps are run one operation at a time, not as a CUDA graph: no such operation"
    )
    assert told[False].texts == []
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_recorded_steps_are_recorded_in_the_timing(job, few_digits, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "pipeline.training.trainer.recorder_for", lambda device: lambda body, restore: body
    )
    train(job, few_digits, tmp_path / "a", pending=[0])
    timing = json.loads((tmp_path / "a/replicate-0/timing.json").read_text())
    assert timing["steps"] == "graph"


def test_weights_that_are_there_are_not_trained(job, few_digits, tmp_path, tiny_network):
    network = tiny_network(10, 7)
    given = replace(job, weights=network.state_dict(), epochs=None, replicates=1)
    folder = train(given, few_digits, tmp_path / "a", pending=[0])
    actual = load_weights(folder / "replicate-0/weights.safetensors")
    for name, value in network.state_dict().items():
        assert torch.equal(actual[name], value), name
    timing = json.loads((folder / "replicate-0/timing.json").read_text())
    assert timing["images_per_second"] == 0


def test_nothing_pending_makes_nothing(job, few_digits, tmp_path):
    train(job, few_digits, tmp_path / "a", pending=[])
    assert list((tmp_path / "a").iterdir()) == []


def train_large_images(folder):
    """Two replicates in two processes of two threads each, on images of 112 pixels."""
    rng = np.random.Generator(np.random.Philox(key=1))
    labels = np.arange(8, dtype=np.int32) % 2
    split = Split(rng.integers(0, 256, (8, 112, 112, 3), np.uint8), labels)
    data = ImageData(
        name="large",
        train=split,
        test=split,
        class_names=("a", "b"),
        mean=(0.5, 0.5, 0.5),
        std=(0.2, 0.2, 0.2),
        fingerprint=fingerprint(split, split, ("a", "b")),
        evaluated_on="test",
        notes={},
    )
    job = Job(
        kind="baseline",
        name="b",
        entry={},
        network="resnet8",
        seed=0,
        replicates=2,
        training=replace(PARAMS, epochs=1),
        augmentation=AUGMENTATION,
        epochs=HardLabels(AUGMENTATION, None, 0, 8),
        loss=hard_label_loss,
    )
    machine = Machine(data_root="", workers=2, threads=2)
    run_replicates(replicates_of(job, folder, (0, 1)), data, CPU, machine, Told())


def test_processes_have_threads_of_their_own(tmp_path):
    """Images this large are worth several threads to torch, whose pool a forked process lacks."""
    code = (
        "import sys, pathlib, test_replicates as t; t.train_large_images(pathlib.Path(sys.argv[1]))"
    )
    here = Path(__file__).resolve().parent
    places = (here, here.parent, here.parent.parent)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, places))}
    # It would wait forever.
    subprocess.run([sys.executable, "-c", code, tmp_path], check=True, timeout=240, env=environment)
    timing = json.loads((tmp_path / "replicate-1/timing.json").read_text())
    assert timing["threads"] == 2
