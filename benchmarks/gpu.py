"""Figures of a GPU: launches, epochs, replicates together, and the dump."""

from collections.abc import Sequence
from functools import partial
from statistics import harmonic_mean

import torch

from benchmarks.dumping import Dump
from benchmarks.engine import STUDENT, Run, cached_run, image_bank
from benchmarks.field import best_crew
from benchmarks.figures import Measured
from benchmarks.setting import Setting
from benchmarks.steps import epoch_figure
from benchmarks.teachers import teacher
from benchmarks.timing import Ratio, take_turns
from pipeline.dump.ready import ready
from pipeline.views.batches import ImageBank
from pipeline.views.predict import place

TOGETHER = 4
TEACHER = "resnet56"
DUMPED = "resnet110"
DUMP_BATCHES = (512, 1024, 2048, 4096)
DUMP_VIEWS = 4


def graph_figure(setting: Setting) -> dict[str, Measured]:
    """GPU: cached steps, eager ones against one graph."""
    bank = image_bank(setting)
    graph, reason = graph_run(setting, bank)
    if graph is None:
        return {"gpu_graph_vs_eager": Measured(value=None, facts={"why": reason})}
    runs = {"eager": cached_run(setting, bank, graph=False), "graph": graph}
    contenders = {name: partial(run.steps, setting.steps) for name, run in runs.items()}
    found = take_turns(contenders, setting.rounds, setting.wait)
    facts = {f"{name}_ms": found.seconds(name) / setting.steps * 1e3 for name in runs}
    return {"gpu_graph_vs_eager": Measured.of(found, "eager", "graph", facts=facts)}


def graph_run(setting: Setting, bank: ImageBank) -> tuple[Run | None, str]:
    """A run whose steps are replayed as graphs; or None, and why there is none."""
    reasons = ["only a GPU has CUDA graphs"]
    run = cached_run(setting, bank, graph=True, warn=reasons.append)
    run.steps(1)
    return (run, "") if run.trainer.player.records else (None, reasons[-1])


def gpu_epoch_figure(setting: Setting) -> dict[str, Measured]:
    """GPU: epochs from the store against those of the field's loop."""
    crew = best_crew(setting.data, setting.device, TEACHER, STUDENT, setting.steps)
    return {"gpu_epoch_vs_field": epoch_figure(setting, TEACHER, crew)}


def together_figure(setting: Setting) -> dict[str, Measured]:
    """GPU: images in a second of four replicates, each on a stream of its own, against one alone."""
    bank = image_bank(setting)
    found_runs = [graph_run(setting, bank) for _ in range(TOGETHER)]
    replicates = [(run, _stream()) for run, _ in found_runs if run is not None]
    if len(replicates) < TOGETHER:
        why = {"why": found_runs[0][1]}
        return {"gpu_four_replicates_vs_one": Measured(value=None, facts=why)}

    def train(which: Sequence[tuple[Run, torch.cuda.Stream]]) -> None:
        for _ in range(setting.steps):
            for run, stream in which:
                with torch.cuda.stream(stream):
                    run.steps(1)

    contenders = {"one": partial(train, replicates[:1]), "four": partial(train, replicates)}
    found = take_turns(contenders, setting.rounds, setting.wait)
    ratio = Ratio.of(TOGETHER * found.wall["one"] / found.wall["four"])
    facts = {f"{name}_ms": found.seconds(name) / setting.steps * 1e3 for name in contenders}
    together = Measured(value=ratio.median, low=ratio.low, high=ratio.high, facts=facts)
    return {"gpu_four_replicates_vs_one": together}


def _stream() -> torch.cuda.Stream:
    return torch.cuda.Stream()  # type: ignore[no-untyped-call]


def dump_figure(setting: Setting) -> dict[str, Measured]:
    """GPU: images that a dump of resnet110 computes and writes in a second, at its best batch size.

    Of plain and mixed views, as many of each; without what is done once for all views.
    """
    classes = len(setting.data.class_names)
    size = setting.data.train.images.shape[1:3]
    network = ready(place(teacher(DUMPED, classes), setting.device), size, "float32")
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
