"""Which layout and precision suits each family of networks here: `python -m benchmarks.networks`.

A training step of 64 images and an eval forward pass of 256, in NCHW or channels-last memory, in float32
or under bfloat16 autocast.
"""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import product

import click
import torch
from rich.console import Console
from rich.table import Table
from torch import nn
from torch.nn.functional import cross_entropy

from benchmarks.setting import BATCH, CLASSES, IMAGE_SIZE
from benchmarks.timing import Rounds, take_turns
from pipeline.compute import set_up
from pipeline.models.bfloat16 import has_bfloat16
from pipeline.models.registry import build
from pipeline.views.predict import place

NETWORKS = (
    "resnet20",
    "resnet8x4",
    "wrn_16_2",
    "vgg8",
    "mobilenetv2",
    "shufflenetv1",
    "shufflenetv2",
)
FORWARD_BATCH = 256
LAYOUTS = {"NCHW": torch.contiguous_format, "channels last": torch.channels_last}
PRECISIONS = ("float32", "bfloat16")


def faster_precision(network: str, device: torch.device, rounds: int = 5) -> str:
    """The precision in which a training step of channels-last images takes less time here."""
    if not has_bfloat16(device):
        return "float32"  # which takes no half an hour to find out
    contenders = {
        precision: training_step(network, "channels last", precision, device)
        for precision in PRECISIONS
    }
    found = take_turns(contenders, rounds, partial(_wait, device))
    return min(PRECISIONS, key=_clock(found, device))


def measure(name: str, device: torch.device, rounds: int) -> tuple[Rounds, Rounds]:
    """Times of a training step and of a forward pass, by layout and precision."""
    settings = list(product(LAYOUTS, PRECISIONS))
    steps = {f"{a}, {b}": training_step(name, a, b, device) for a, b in settings}
    passes = {f"{a}, {b}": forward_pass(name, a, b, device) for a, b in settings}
    wait = partial(_wait, device)
    return take_turns(steps, rounds, wait), take_turns(passes, rounds, wait)


def training_step(
    name: str, layout: str, precision: str, device: torch.device
) -> Callable[[], object]:
    """A step on the same batch: forward, cross-entropy, backward, SGD."""
    network = _network(name, layout, device).train()
    images = _images(BATCH, layout, device)
    labels = torch.arange(BATCH, device=device) % CLASSES
    optimiser = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)

    def step() -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16"):
            logits = network(images)
        optimiser.zero_grad(set_to_none=True)
        cross_entropy(logits.float(), labels).backward()  # type: ignore[no-untyped-call]
        optimiser.step()

    return step


def forward_pass(
    name: str, layout: str, precision: str, device: torch.device
) -> Callable[[], object]:
    """A forward pass in eval mode."""
    network = _network(name, layout, device).eval()
    images = _images(FORWARD_BATCH, layout, device)

    def forward() -> None:
        enabled = precision == "bfloat16"
        with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled):
            network(images)

    return forward


def _network(name: str, layout: str, device: torch.device) -> nn.Module:
    network = build(name, CLASSES)
    return place(network, device) if layout == "channels last" else network.to(device)


def _images(count: int, layout: str, device: torch.device) -> torch.Tensor:
    images = torch.randn(count, 3, IMAGE_SIZE, IMAGE_SIZE, device=device)
    return images.contiguous(memory_format=LAYOUTS[layout])


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _clock(found: Rounds, device: torch.device) -> Callable[[str], float]:
    """Seconds of a contender: on a CPU, of processor time, which other programs hardly move."""
    return found.processor_seconds if device.type == "cpu" else found.seconds


def _cells(found: Rounds, device: torch.device) -> list[str]:
    """Milliseconds; the least is bold."""
    seconds = _clock(found, device)
    best = min(found.wall, key=seconds)
    shown = {name: f"{seconds(name) * 1e3:.1f}" for name in found.wall}
    return [f"[bold]{text}[/]" if name == best else text for name, text in shown.items()]


@click.command()
@click.argument("names", nargs=-1)
@click.option("--rounds", default=7, show_default=True)
def main(names: Sequence[str], rounds: int) -> None:
    """Time the NAMES (default: one network of each family)."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    set_up(device, threads=1)
    table = Table(title="milliseconds, median", title_justify="left")
    table.add_column("network")
    table.add_column("")
    for layout, precision in product(LAYOUTS, PRECISIONS):
        table.add_column(f"{layout}, {precision}", justify="right")
    for name in names or NETWORKS:
        step, forward = measure(name, device, rounds)
        table.add_row(name, f"step of {BATCH}", *_cells(step, device))
        table.add_row("", f"forward of {FORWARD_BATCH}", *_cells(forward, device))
    Console().print(table)


if __name__ == "__main__":
    main()
