"""Measure everything and write it down: `python -m benchmarks`."""

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import click
import torch
from rich.console import Console

from benchmarks.dumping import dump_figures
from benchmarks.engine import STUDENT
from benchmarks.figures import Measured, keys_for, table, write_results
from benchmarks.gpu import dump_figure, gpu_epoch_figure, graph_figure, together_figure
from benchmarks.input import augmentation_figure, read_figure
from benchmarks.machine import describe_machine, describe_versions, load_average
from benchmarks.networks import faster_precision
from benchmarks.setting import Setting, find_images, write_store
from benchmarks.startup import startup_figure
from benchmarks.steps import epoch_figures, step_figures
from pipeline.compute import set_up

RESULTS = Path(__file__).parent / "results"
IMAGES, QUICK_IMAGES = 50_000, 512
DUMP_IMAGES, QUICK_DUMP_IMAGES = 1024, 128
VIEWS = 4
MIN_ROUNDS = 7

QUIET = 0.5  # load average of a machine that has nothing else to do

Part = Callable[[Setting], dict[str, Measured]]
CPU_PARTS: tuple[Part, ...] = (
    step_figures,
    epoch_figures,
    augmentation_figure,
    dump_figures,
    read_figure,
    startup_figure,
)
GPU_PARTS: tuple[Part, ...] = (graph_figure, gpu_epoch_figure, together_figure, dump_figure)


@click.command()
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto")
@click.option("--repeats", default=9, show_default=True, help=f"Rounds; at least {MIN_ROUNDS}.")
@click.option("--quick", is_flag=True, help="A smoke run: two short rounds; writes --out only.")
@click.option("--gpu-only", is_flag=True, help="Leave out what is measured on the CPU.")
@click.option(
    "--out", type=click.Path(path_type=Path), help="[default: benchmarks/results/DEVICE.json]"
)
def main(device: str, repeats: int, quick: bool, gpu_only: bool, out: Path | None) -> None:
    """Measure Decant against itself, the field's loop and the machine; print and write the ratios.

    With a GPU its figures follow those of the CPU. Results are written after every part.
    """
    if repeats < MIN_ROUNDS:
        raise click.BadParameter(f"at least {MIN_ROUNDS}, found {repeats}", param_hint="--repeats")
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if gpu_only and device != "cuda":
        raise click.BadParameter("there is no GPU to measure", param_hint="--gpu-only")
    if out is None and not quick:
        out = RESULTS / f"{'gpu' if device == 'cuda' else 'cpu'}.json"
    with tempfile.TemporaryDirectory(prefix="decant-benchmarks-") as folder:
        run(torch.device(device), repeats, Path(folder), out, quick=quick, gpu_only=gpu_only)


def run(
    device: torch.device,
    repeats: int,
    folder: Path,
    out: Path | None,
    *,
    quick: bool,
    gpu_only: bool = False,
) -> None:
    """Measure, print, write; `folder` is for temporary files."""
    console = Console()
    set_up(device, threads=1)
    busy = load_average()
    data = find_images(QUICK_IMAGES if quick else IMAGES)
    cpu = Setting(
        device=torch.device("cpu"),
        rounds=2 if quick else repeats,
        steps=1 if quick else 6,
        dump_images=QUICK_DUMP_IMAGES if quick else DUMP_IMAGES,
        precision=faster_precision(STUDENT, torch.device("cpu"), 1 if quick else repeats),
        folder=folder,
        data=data,
        store=write_store(folder, data, VIEWS),
    )
    settings, parts = [cpu], [(part, cpu) for part in CPU_PARTS if not gpu_only]
    if device.type == "cuda":
        precision = faster_precision(STUDENT, device, repeats)
        settings.append(replace(cpu, device=device, steps=100, precision=precision))
        parts += [(part, settings[-1]) for part in GPU_PARTS]
    facts = {
        "machine": describe_machine(device),
        "versions": describe_versions(),
        "settings": {setting.device.type: setting.facts() for setting in settings},
    }
    measured: dict[str, Measured] = {}
    for number, (part, setting) in enumerate(parts, 1):
        console.print(f"{number}/{len(parts)} {(part.__doc__ or '').splitlines()[0]}")
        measured |= part(setting)
        if out is not None:
            load = {"load_average": {"before": busy, "after": load_average()}}
            keys = [key for key in keys_for(device.type) if key in measured]
            write_results(out, measured, facts | load, keys)
    console.print(table(measured))
    if busy > QUIET:
        console.print(f"The machine was busy: load average {busy} before the run.")
    if out is not None:
        console.print(f"written to {out}")


if __name__ == "__main__":
    main()
