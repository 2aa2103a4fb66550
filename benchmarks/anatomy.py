"""Where a step's time goes: `python -m benchmarks.anatomy`.

The parts of a cached training step of Decant's own loop, in the order in which they run, and the
operators that take most of it. Beside them what bounds a step: operations, bytes, launches.
"""

import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import nn
from torch.profiler import ProfilerActivity, profile

from benchmarks.engine import STUDENT, Run, image_bank, kd_loss, stored
from benchmarks.networks import PRECISIONS
from benchmarks.setting import (
    BATCH,
    CLASSES,
    IMAGE_SIZE,
    Setting,
    find_images,
    write_store,
)
from benchmarks.steps import TEACHERS
from pipeline.cost import TRAINING_PASSES, network_cost
from pipeline.models import build
from stages.devices import set_up

WARM_UP = 3
OPERATORS = 12


class Stopwatch:
    """Seconds spent in functions, step by step; calls inside of a timed one count for it."""

    def __init__(
        self, wait: Callable[[], None], clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self.wait, self.clock = wait, clock
        self.spent: dict[str, float] = defaultdict(float)

    def time(self, owner: Any, attribute: str, name: str) -> None:
        """Replace a method of an object by one that is timed."""
        function = getattr(owner, attribute)

        def timed(*args: Any, **kwargs: Any) -> Any:
            self.wait()
            began = self.clock()
            result = function(*args, **kwargs)
            self.wait()
            self.spent[name] += self.clock() - began
            return result

        setattr(owner, attribute, timed)

    def take(self) -> dict[str, float]:
        """What was spent since the last call."""
        spent, self.spent = dict(self.spent), defaultdict(float)
        return spent


def step_parts(setting: Setting, share: float, rounds: int) -> dict[str, float]:
    """Median milliseconds of the parts of a step; the rest of it is the backward pass."""
    run = Run(setting, image_bank(setting), stored(setting.store, share), kd_loss(), graph=False)
    run.steps(WARM_UP)
    trainer, batches = run.trainer, run.trainer.batches
    # On a CPU processor time, which other programs hardly move.
    clock = time.process_time if setting.device.type == "cpu" else time.perf_counter
    watch = Stopwatch(setting.wait, clock)
    watch.time(batches, "images", "images: crop, normalise, mix")
    watch.time(batches, "targets", "targets")
    watch.time(trainer.network, "forward_features", "forward")
    watch.time(trainer, "loss", "loss")
    watch.time(trainer.optimiser, "step", "optimiser")
    watch.time(run, "steps", "whole step")
    found: dict[str, list[float]] = defaultdict(list)
    for _ in range(rounds):
        run.steps(1)
        parts = watch.take()
        whole = parts.pop("whole step")
        parts["backward, and all else"] = whole - sum(parts.values())
        for name, seconds in (parts | {"whole step": whole}).items():
            found[name].append(seconds * 1e3)
    return {name: float(np.median(values)) for name, values in found.items()}


def operators(setting: Setting, rounds: int) -> tuple[dict[str, tuple[float, float]], float]:
    """The operators that take most of a step (part of its time, calls), and all calls of a step."""
    run = Run(setting, image_bank(setting), stored(setting.store), kd_loss(), graph=False)
    run.steps(WARM_UP)
    kinds = [ProfilerActivity.CPU]
    with profile(activities=kinds) as profiler:
        run.steps(rounds)
    events = sorted(profiler.key_averages(), key=lambda event: -event.self_cpu_time_total)
    calls = sum(event.count for event in events if event.key.startswith("aten::"))
    total = sum(event.self_cpu_time_total for event in events)
    most = {
        event.key: (event.self_cpu_time_total / total, event.count / rounds)
        for event in events[:OPERATORS]
    }
    return most, calls / rounds


@torch.no_grad()
def activation_bytes(network: nn.Module, itemsize: int) -> int:
    """Bytes that convolutions and norms write for one image; a backward pass reads them again."""
    written = 0

    def count(module: nn.Module, inputs: Any, output: Any) -> None:
        nonlocal written
        if isinstance(module, nn.Conv2d | nn.BatchNorm2d):
            written += output.numel() * itemsize

    handles = [module.register_forward_hook(count) for module in network.modules()]
    network(torch.zeros(1, 3, IMAGE_SIZE, IMAGE_SIZE))
    for handle in handles:
        handle.remove()
    return written


@click.command()
@click.option("--rounds", default=15, show_default=True)
@click.option("--images", default=10_000, show_default=True)
def main(rounds: int, images: int) -> None:
    """Print where a step of a cached student goes, in both precisions."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    set_up(device, threads=1)
    console = Console()
    with tempfile.TemporaryDirectory(prefix="decant-benchmarks-") as name:
        folder, data = Path(name), find_images(images)
        setting = Setting(
            device=device,
            rounds=rounds,
            steps=1,
            dump_images=0,
            precision="float32",
            folder=folder,
            data=data,
            store=write_store(folder, data, 4),
        )
        settings = [replace(setting, precision=precision) for precision in PRECISIONS]
        console.print(_parts_table(settings, rounds))
        for each in settings:
            console.print(_operators_table(each, rounds))
    console.print(_limits_table())


def _parts_table(settings: list[Setting], rounds: int) -> Table:
    columns = {
        f"{setting.precision}, share {share:g}": step_parts(setting, share, rounds)
        for setting in settings
        for share in (0.0, 0.5)
    }
    table = Table("part", title=f"a step of {STUDENT}, batch {BATCH}: ms", title_justify="left")
    for column in columns:
        table.add_column(column, justify="right")
    for part in next(iter(columns.values())):
        table.add_row(part, *(f"{found[part]:.2f}" for found in columns.values()))
    return table


def _operators_table(setting: Setting, rounds: int) -> Table:
    most, calls = operators(setting, rounds)
    title = f"{setting.precision}: operators of a step ({calls:.0f} calls in all)"
    table = Table("operator", title=title, title_justify="left")
    table.add_column("of the step", justify="right")
    table.add_column("calls", justify="right")
    for operator, (part, count) in most.items():
        table.add_row(operator, f"{part:.1%}", f"{count:.0f}")
    return table


def _limits_table() -> Table:
    """What a batch needs of each network, whatever computes it."""
    title = f"limits, batch {BATCH}"
    table = Table("network", title=title, title_justify="left")
    for column in ("forward GFLOP", "step GFLOP", "written MB, float32", "written MB, bfloat16"):
        table.add_column(column, justify="right")
    for name in (STUDENT, *TEACHERS):
        flops = BATCH * network_cost(name, CLASSES, IMAGE_SIZE).forward_flops / 1e9
        written = [BATCH * activation_bytes(build(name, CLASSES), size) / 1e6 for size in (4, 2)]
        numbers = (flops, TRAINING_PASSES * flops, *written)
        table.add_row(name, *(f"{number:.1f}" for number in numbers))
    return table


if __name__ == "__main__":
    main()
