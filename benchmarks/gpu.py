"""Figures of a GPU: launches, epochs, replicates together, and the dump."""

import inspect
from functools import partial
from statistics import harmonic_mean
from typing import Any

import torch

from benchmarks.dumping import Dump
from benchmarks.engine import Run, cached_run, image_bank
from benchmarks.figures import Measured
from benchmarks.setting import Setting
from benchmarks.steps import epoch_figure
from benchmarks.teachers import teacher
from benchmarks.timing import Ratio, take_turns
from pipeline.fit import Trainer
from pipeline.predict import place

# The keyword of `Trainer` that turns the whole step into one CUDA graph.
GRAPH = "graph"
EAGER_STEPS: dict[str, Any] = {GRAPH: False}
GRAPH_STEPS: dict[str, Any] = {GRAPH: True}
NO_GRAPHS = Measured(value=None, facts={"why": "this version has no CUDA graphs"})
TOGETHER = 4
TEACHER = "resnet56"
DUMPED = "resnet110"
DUMP_BATCHES = (512, 1024, 2048, 4096)
DUMP_VIEWS = 4


def has_graphs() -> bool:
    """Whether the training loop can be told to run with or without a CUDA graph."""
    return GRAPH in inspect.signature(Trainer).parameters


def graph_figure(setting: Setting) -> dict[str, Measured]:
    """GPU: cached steps, eager ones against one graph."""
    if not has_graphs():
        return {"gpu_graph_vs_eager": NO_GRAPHS}
    bank = image_bank(setting)
    runs = {
        "eager": cached_run(setting, bank, **EAGER_STEPS),
        "graph": cached_run(setting, bank, **GRAPH_STEPS),
    }
    contenders = {name: partial(run.steps, setting.steps) for name, run in runs.items()}
    found = take_turns(contenders, setting.rounds, setting.wait)
    facts = {f"{name}_ms": found.seconds(name) / setting.steps * 1e3 for name in runs}
    return {"gpu_graph_vs_eager": Measured.of(found, "eager", "graph", facts=facts)}


def gpu_epoch_figure(setting: Setting) -> dict[str, Measured]:
    """GPU: epochs from the store against those of the field's loop."""
    return {"gpu_epoch_vs_field": epoch_figure(setting, TEACHER)}


def together_figure(setting: Setting) -> dict[str, Measured]:
    """GPU: images in a second of four replicates, each on a stream of its own, against one alone."""
    if not has_graphs():
        return {"gpu_four_replicates_vs_one": NO_GRAPHS}
    bank = image_bank(setting)
    replicates = [_OnStream(cached_run(setting, bank, **GRAPH_STEPS)) for _ in range(TOGETHER)]

    def train(which: list[_OnStream]) -> None:
        for _ in range(setting.steps):
            for replicate in which:
                replicate.step()

    contenders = {"one": partial(train, replicates[:1]), "four": partial(train, replicates)}
    found = take_turns(contenders, setting.rounds, setting.wait)
    ratio = Ratio.of(TOGETHER * found.wall["one"] / found.wall["four"])
    facts = {f"{name}_ms": found.seconds(name) / setting.steps * 1e3 for name in contenders}
    together = Measured(value=ratio.median, low=ratio.low, high=ratio.high, facts=facts)
    return {"gpu_four_replicates_vs_one": together}


class _OnStream:
    """A training whose work is queued on a stream of its own."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]

    def step(self) -> None:
        """Queue one step."""
        with torch.cuda.stream(self._stream):
            self._run.steps(1)


def dump_figure(setting: Setting) -> dict[str, Measured]:
    """GPU: images that a dump of resnet110 computes and writes in a second, at its best batch size.

    Of plain and mixed views, as many of each; without what is done once for all views.
    """
    classes = len(setting.data.class_names)
    network = place(teacher(DUMPED, classes), setting.device)
    rates: dict[int, list[float]] = {}
    for batch_size in DUMP_BATCHES:
        dump = Dump(network, setting.data, setting, batch_size=batch_size, views=DUMP_VIEWS)
        rates[batch_size] = []
        for _ in range(setting.rounds):
            dump.run()
            dump.delete()
            rates[batch_size].append(harmonic_mean(dump.images_per_s.values()))
    spread = {size: Ratio.of(torch.tensor(values).numpy()) for size, values in rates.items()}
    best = max(spread, key=lambda size: spread[size].median)
    facts = {
        "batch_size": best,
        "images_per_s_by_batch": {str(size): found.median for size, found in spread.items()},
    }
    found = spread[best]
    measured = Measured(value=found.median, low=found.low, high=found.high, facts=facts)
    return {"gpu_dump_images_per_s": measured}
