"""What the store costs: reading, gathering, dumping and sharing it, as ratios: `python -m benchmarks.store`.

Each line compares two ways of doing the same in turns (A B A B ...), so that a slow spell of the
machine hits both. The remote is a folder on the same disk: its time is DVC's own.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from benchmarks.dumping import dump_figures
from benchmarks.figures import Measured, write_results
from benchmarks.input import read_figure
from benchmarks.machine import describe_machine, describe_versions, load_average
from benchmarks.setting import (
    BATCH,
    Setting,
    find_images,
    recipe,
    view_header,
    write_store,
)
from benchmarks.timing import take_turns
from pipeline.compute import set_up
from pipeline.store.write.writers import GroupWriter
from pipeline.views.plans import draw_view

RESULTS = Path(__file__).parent / "results" / "store.json"
IMAGES, QUICK_IMAGES = 50_000, 512
VIEWS = 4
SHARED_BYTES = 100_000_000  # of the store that is pushed and pulled
GATHERS_PER_TURN = 200

TEXTS = {
    "view_read_vs_memcpy": "view read, CRC checked, against memcpy, speed",
    "row_gather_vs_memcpy": "row gather from a loaded view against memcpy, speed",
    "dump_vs_forward": "dump against the bare teacher forward, speed",
    "push_vs_one_file": "dvc push of 100 MB against one file, time",
    "pull_vs_one_file": "dvc pull of 100 MB against one file, time",
    "pull_of_rows_vs_one_file": "(dvc pull of 10,000 files against one file, time)",
}


def gather_figure(setting: Setting) -> dict[str, Measured]:
    """Random rows of a batch from a view in memory, against a copy of as many bytes."""
    logits = torch.from_numpy(setting.store.group("plain").logits(0))
    order = torch.randperm(len(logits), generator=torch.Generator().manual_seed(0))
    batches = order[: len(order) // BATCH * BATCH].view(-1, BATCH)
    source = logits[:BATCH].clone()
    into = torch.empty_like(source)

    def gather() -> None:
        for turn in range(GATHERS_PER_TURN):
            torch.index_select(logits, 0, batches[turn % len(batches)], out=into)

    def copy() -> None:
        for _ in range(GATHERS_PER_TURN):
            into.copy_(source)

    found = take_turns({"gather": gather, "memcpy": copy}, setting.rounds)
    facts = {
        "rows": BATCH,
        "bytes": into.numel() * into.element_size(),
        "gather_us": found.seconds("gather") / GATHERS_PER_TURN * 1e6,
        "memcpy_us": found.seconds("memcpy") / GATHERS_PER_TURN * 1e6,
    }
    return {"row_gather_vs_memcpy": Measured.of(found, "memcpy", "gather", facts=facts)}


class Shared:
    """A DVC project whose data are pushed to and pulled from a remote in a folder beside it."""

    def __init__(self, folder: Path, make: Callable[[Path], None]) -> None:
        self.project, self.remote = folder / "project", folder / "remote"
        self.project.mkdir(parents=True)
        self._run("init", "--no-scm", "--quiet")
        self._run("config", "core.analytics", "false")
        self._run("config", "cache.type", "hardlink")
        self._run("remote", "add", "--default", "disk", str(self.remote))
        make(self.project / "data")
        self._run("add", "--quiet", "data")

    def push(self) -> None:
        """Push to a remote that has nothing."""
        shutil.rmtree(self.remote, ignore_errors=True)
        os.sync()
        self._run("push", "--quiet")

    def pull(self) -> None:
        """Pull into a project that has neither the data nor a cache of them."""
        shutil.rmtree(self.project / ".dvc" / "cache")
        data = self.project / "data"
        shutil.rmtree(data) if data.is_dir() else data.unlink()
        os.sync()
        self._run("pull", "--quiet")

    def _run(self, *arguments: str) -> None:
        command = [sys.executable, "-m", "dvc", *arguments]
        subprocess.run(command, cwd=self.project, check=True, capture_output=True)


def sharing_figures(setting: Setting, size: int) -> dict[str, Measured]:
    """`dvc push` and `dvc pull` of a store, against one file and against a file for each few rows."""
    numbers = np.random.Generator(np.random.Philox(key=3))
    projects = {
        "store": Shared(
            setting.folder / "shared-store", lambda target: _write_plain(target, setting, size)
        )
    }
    total = sum(p.stat().st_size for p in (projects["store"].project / "data").rglob("c.*"))
    files = sum(1 for p in (projects["store"].project / "data").rglob("*") if p.is_file())
    projects["file"] = Shared(
        setting.folder / "shared-file", lambda target: _write(target, numbers.bytes(total))
    )
    many = 10_000 * total // SHARED_BYTES or 10
    projects["rows"] = Shared(
        setting.folder / "shared-rows",
        lambda target: _write_many(target, numbers.bytes(total), many),
    )
    found = {}
    for what in ("push", "pull"):
        contenders = {name: getattr(project, what) for name, project in projects.items()}
        found[what] = take_turns(contenders, setting.rounds)
    facts: dict[str, Any] = {"bytes": total, "store_files": files, "rows_files": many}
    result = {}
    for what, name, key in (
        ("push", "store", "push_vs_one_file"),
        ("pull", "store", "pull_vs_one_file"),
        ("pull", "rows", "pull_of_rows_vs_one_file"),
    ):
        seconds = {f"{name}_s": found[what].seconds(name) for name in projects}
        result[key] = Measured.of(
            found[what], name, "file", processor_time=False, facts={**facts, **seconds}
        )
    return result


def _write_plain(target: Path, setting: Setting, size: int) -> None:
    """A store of plain views that all differ, of about `size` bytes."""
    data = setting.data
    count, classes = len(data.train.labels), len(data.class_names)
    views = max(2, round(size / (2 * count * classes)))
    rng = np.random.Generator(np.random.Philox(key=4))
    plan = [draw_view("plain", recipe("plain"), v, count) for v in range(views)]
    writer = GroupWriter(target, view_header("plain", data), plan, feature_dim=None)
    for v in range(views):
        writer.write_view(v, rng.standard_normal((count, classes), np.float32))
    writer.finish()
    for beside in target.glob(".*"):
        beside.unlink()


def _write(target: Path, data: bytes) -> None:
    target.write_bytes(data)


def _write_many(target: Path, data: bytes, count: int) -> None:
    target.mkdir()
    size = -(-len(data) // count)
    for number in range(count):
        (target / str(number)).write_bytes(data[number * size : (number + 1) * size])


def table(
    measured: dict[str, Measured], texts: Mapping[str, str] = TEXTS, title: str = "The store"
) -> Table:
    """Figure, measured, quartiles."""
    shown = Table(title=title, title_justify="left")
    shown.add_column("figure")
    for name in ("ratio", "quartiles"):
        shown.add_column(name, justify="right")
    for key, text in texts.items():
        result = measured[key]
        spread = f"{result.low:.3g} - {result.high:.3g}"
        shown.add_row(text, f"{result.value:.3g}", spread)
    return shown


@click.command()
@click.option("--repeats", default=7, show_default=True, help="Rounds.")
@click.option("--sharing-repeats", default=3, show_default=True, help="Rounds of push and pull.")
@click.option("--quick", is_flag=True, help="A smoke run on little data; writes --out only.")
@click.option(
    "--out", type=click.Path(path_type=Path), help="[default: benchmarks/results/store.json]"
)
def main(repeats: int, sharing_repeats: int, quick: bool, out: Path | None) -> None:
    """Measure what the store costs; print and write the ratios."""
    console = Console()
    device = torch.device("cpu")
    set_up(device, threads=1)
    busy = load_average()
    data = find_images(QUICK_IMAGES if quick else IMAGES)
    with tempfile.TemporaryDirectory(prefix="decant-benchmarks-") as name:
        folder = Path(name)
        setting = Setting(
            device=device,
            rounds=2 if quick else repeats,
            steps=1,
            dump_images=QUICK_IMAGES if quick else 2048,
            precision="float32",
            folder=folder,
            data=data,
            store=write_store(folder, data, VIEWS),
        )
        measured = read_figure(setting) | gather_figure(setting)
        measured["dump_vs_forward"] = dump_figures(setting)["dump_vs_forward"]
        sharing = replace(setting, rounds=1 if quick else sharing_repeats)
        measured |= sharing_figures(sharing, 10**6 if quick else SHARED_BYTES)
    console.print(table(measured))
    facts = {
        "machine": describe_machine(device),
        "versions": describe_versions(),
        "load_average": {"before": busy, "after": load_average()},
        "settings": {**setting.facts(), "rounds_of_sharing": sharing.rounds},
    }
    if out is None and not quick:
        out = RESULTS
    if out is not None:
        write_results(out, measured, facts, TEXTS)
        console.print(f"written to {out}")


if __name__ == "__main__":
    main()
