"""Where a step's time goes: `python -m benchmarks.anatomy`.

Before: the parts of a step of the field's online loop. After: those of a cached step of Decant's own, in
the order in which they run, and the operators that take most of it. Beside them what bounds a step:
operations, bytes, launches.
"""

import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
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
from benchmarks.field import FieldLoop
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
from pipeline.compute import set_up
from pipeline.models.registry import build
from pipeline.training.cost import TRAINING_PASSES, network_cost

WARM_UP = 3
WIDTH = 130  # characters of the tables
WHOLE = "whole step"
CONVOLVED = 16  # pixels a side
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
    watch = Stopwatch(setting.wait, _clock(setting.device))
    watch.time(batches, "images", "images: crop, normalise, mix")
    watch.time(batches, "targets", "targets")
    watch.time(trainer.network, "forward_features", "forward")
    watch.time(trainer, "loss", "loss")
    watch.time(trainer.optimiser, "step", "optimiser")
    watch.time(run, "steps", WHOLE)
    return _medians(watch, lambda: run.steps(1), "backward, and all else", rounds)


def field_parts(setting: Setting, teacher: str, rounds: int) -> dict[str, float]:
    """Median milliseconds of the parts of a step of the field's loop that loads its own images."""
    loop = FieldLoop(teacher, STUDENT, setting.data, 0, setting.device)
    loop.run(1)
    watch = Stopwatch(setting.wait, _clock(setting.device))
    watch.time(loop.loader.dataset, "transform", "images: PIL, one by one")
    watch.time(loop.teacher, "forward", "teacher's forward")
    watch.time(loop.student, "forward", "student's forward")
    watch.time(loop.optimiser, "step", "optimiser")
    watch.time(loop, "run", WHOLE)
    return _medians(watch, partial(loop.run, 1), "backward, and all else", rounds)


def _clock(device: torch.device) -> Callable[[], float]:
    """On a CPU processor time, which other programs hardly move."""
    return time.process_time if device.type == "cpu" else time.perf_counter


def _medians(
    watch: Stopwatch, step: Callable[[], object], rest: str, rounds: int
) -> dict[str, float]:
    found: dict[str, list[float]] = defaultdict(list)
    for _ in range(rounds):
        step()
        parts = watch.take()
        whole = parts.pop(WHOLE)
        parts[rest] = whole - sum(parts.values())
        for name, seconds in (parts | {WHOLE: whole}).items():
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
    """Print where a step of the field's loop goes, and one of a cached student in both precisions."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    set_up(device, threads=1)
    console = Console(width=max(Console().width, WIDTH))
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
        console.print(_field_table(setting, rounds))
        console.print(_parts_table(settings, rounds))
        for each in settings:
            console.print(_operators_table(each, rounds))
        console.print(_limits_table(setting))


def _field_table(setting: Setting, rounds: int) -> Table:
    columns = {teacher: field_parts(setting, teacher, rounds) for teacher in TEACHERS}
    return _columns_table(f"before: a step of the field's loop, {STUDENT}, batch {BATCH}", columns)


def _parts_table(settings: list[Setting], rounds: int) -> Table:
    columns = {
        f"{setting.precision}, share {share:g}": step_parts(setting, share, rounds)
        for setting in settings
        for share in (0.0, 0.5, 1.0)
    }
    return _columns_table(f"after: a cached step of {STUDENT}, batch {BATCH}", columns)


def _columns_table(title: str, columns: dict[str, dict[str, float]]) -> Table:
    table = Table("part", title=f"{title}: ms", title_justify="left")
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


def _limits_table(setting: Setting) -> Table:
    """What a step needs of each network whatever computes it, and how long that takes here at best."""
    able = {precision: machine_rates(setting.device, precision) for precision in PRECISIONS}
    rates = "; ".join(
        f"{precision}: {rate.flops / 1e9:,.0f} GFLOP/s, {rate.bytes / 1e9:,.0f} GB/s, "
        f"{rate.call_seconds * 1e6:.2f} us an operator"
        for precision, rate in able.items()
    )
    table = Table("network", title=f"limits, batch {BATCH} ({rates})", title_justify="left")
    for column in ("GFLOP", "ms of them", "MB written", "ms to write and read them"):
        for precision in PRECISIONS:
            table.add_column(f"{column}, {precision}", justify="right")
    for name in (STUDENT, *TEACHERS):
        flops = TRAINING_PASSES * BATCH * network_cost(name, CLASSES, IMAGE_SIZE).forward_flops
        written = [BATCH * activation_bytes(build(name, CLASSES), size) for size in (4, 2)]
        needed = [flops / able[precision].flops for precision in PRECISIONS]
        # Each is written, and read forward and backward.
        moved = [3 * n / able[p].bytes for n, p in zip(written, PRECISIONS, strict=True)]
        numbers = [flops / 1e9] * 2, needed, [n / 1e6 for n in written], moved
        scales = (1, 1e3, 1, 1e3)
        cells = [n * scale for row, scale in zip(numbers, scales, strict=True) for n in row]
        table.add_row(name, *(f"{number:.1f}" for number in cells))
    return table


@dataclass(frozen=True)
class MachineRates:
    """What a device does at best: FLOP/s of a wide convolution, bytes/s read and written by a copy that
    no cache holds, and seconds of an operator that has next to nothing to do."""

    flops: float
    bytes: float
    call_seconds: float


def machine_rates(
    device: torch.device, precision: str, channels: int = 256, copied: int = 1 << 28
) -> MachineRates:
    """Measure them, each the best of some runs; `copied` in bytes."""
    dtype = {"float32": torch.float32, "bfloat16": torch.bfloat16}[precision]
    layer = nn.Conv2d(channels, channels, 3, padding=1, bias=False).to(device, dtype)
    layer = layer.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    images = torch.rand(BATCH, channels, CONVOLVED, CONVOLVED, device=device, dtype=dtype)
    images = images.contiguous(memory_format=torch.channels_last)
    flops = 2 * images.numel() * layer.weight[0].numel()
    clock = _clock(device)
    source = torch.ones(copied, dtype=torch.uint8, device=device)
    target, one = torch.empty_like(source), torch.ones(1, device=device)

    def best(function: Callable[[], object], times: int) -> float:
        seconds = []
        for _ in range(times):
            _wait(device)
            began = clock()
            function()
            _wait(device)
            seconds.append(clock() - began)
        return min(seconds)

    calls = 1000
    with torch.inference_mode():
        return MachineRates(
            flops=flops / best(lambda: layer(images), 9),
            bytes=2 * copied / best(lambda: target.copy_(source), 5),
            call_seconds=best(lambda: [one.add_(1) for _ in range(calls)], 5) / calls,
        )


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


if __name__ == "__main__":
    main()
