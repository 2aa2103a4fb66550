"""What a store costs that is read in place, against one on the disk: `python -m benchmarks.remote`.

A web server of another process, on the loopback address: its time is that of HTTP, hashing and the cache
alone, and a network's comes on top.
"""

import contextlib
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import click
import numpy as np
import torch
from rich.console import Console

from benchmarks.figures import Measured, write_results
from benchmarks.input import READS_PER_TURN
from benchmarks.machine import describe_machine, describe_versions, load_average
from benchmarks.setting import Setting, find_images, write_store
from benchmarks.store import IMAGES, QUICK_IMAGES, VIEWS, table
from benchmarks.timing import take_turns
from pipeline.compute import set_up
from pipeline.store.read import ViewGroup, open_store
from pipeline.store.remote.cache import GIGABYTE, Cache

RESULTS = Path(__file__).parent / "results" / "remote.json"
TEXTS = {
    "fetched_view_vs_local": "view fetched over HTTP and kept against the local store's, speed",
    "cached_view_vs_local": "view of a remote store from the cache against the local store's, speed",
}


@contextlib.contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address of a web server that has a folder's files."""
    command = [sys.executable, "-u", "-m", "http.server", "0", "--bind", "127.0.0.1"]
    options = ["--protocol", "HTTP/1.1", "--directory", str(folder)]
    server = subprocess.Popen(
        [*command, *options], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        assert server.stdout is not None
        found = re.search(r"http://[\d.:]+", server.stdout.readline())
        assert found is not None, "the server did not start"
        yield found[0]
    finally:
        server.terminate()
        server.communicate()


def remote_figures(setting: Setting) -> dict[str, Measured]:
    """A view's logits from a web server, and from the cache, against those of the store on the disk."""
    folder = setting.store.folder
    assert isinstance(folder, Path)
    local, turns = setting.store.group("plain"), count()
    into = np.empty((local.num_images, local.num_classes), np.float16)

    def read(group: ViewGroup) -> None:
        for turn in range(READS_PER_TURN):
            group.logits(turn % group.views, into)

    with served(folder.parent) as root:

        def remote(name: str) -> ViewGroup:
            cache = Cache(setting.folder / "cache" / name, GIGABYTE)
            return open_store(f"{root}/{folder.name}", groups=["plain"], cache=cache).group("plain")

        kept, opened = remote("kept"), [remote(str(n)) for n in range(setting.rounds + 2)]
        contenders = {
            "local": lambda: read(local),
            "fetched": lambda: read(opened[next(turns)]),  # each time into an empty cache
            "cached": lambda: read(kept),
        }
        found = take_turns(contenders, setting.rounds)
    reads = min(READS_PER_TURN, local.views)  # those after them come from the cache
    facts = {
        "view_bytes": into.nbytes,
        "views_fetched_of_reads": [reads, READS_PER_TURN],
        **{f"{name}_ms": found.seconds(name) / READS_PER_TURN * 1e3 for name in contenders},
    }
    return {
        f"{name}_view_vs_local": Measured.of(
            found, "local", name, processor_time=False, facts=facts
        )
        for name in ("fetched", "cached")
    }


@click.command()
@click.option("--repeats", default=9, show_default=True, help="Rounds.")
@click.option("--quick", is_flag=True, help="A smoke run on little data; writes --out only.")
@click.option(
    "--out", type=click.Path(path_type=Path), help="[default: benchmarks/results/remote.json]"
)
def main(repeats: int, quick: bool, out: Path | None) -> None:
    """Measure what reading a remote store costs; print and write the ratios."""
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
            dump_images=1,
            precision="float32",
            folder=folder,
            data=data,
            store=write_store(folder, data, VIEWS),
        )
        measured = remote_figures(setting)
    console.print(table(measured, TEXTS, "Remote stores"))
    facts = {
        "machine": describe_machine(device),
        "versions": describe_versions(),
        "load_average": {"before": busy, "after": load_average()},
        "settings": setting.facts(),
    }
    if out is None and not quick:
        out = RESULTS
    if out is not None:
        write_results(out, measured, facts, TEXTS)
        console.print(f"written to {out}")


if __name__ == "__main__":
    main()
