"""The paper's study on several processors, on paper: `python -m benchmarks.scale`.

Networks and dumps are handed out as `decant repro` does it, wave by wave, the longest first, each to the next
processor that is free. Speed-ups depend on the shares of the work alone; for hours, give a processor's rate.
"""

import heapq
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from pipeline.core.dataset_params import DatasetParams
from pipeline.core.params import load_yaml, section
from pipeline.dump.params import DumpParams
from pipeline.planning.cost import Costs, StageCost, count_images

PAPER = Path(__file__).parents[1] / "profiles" / "cifar100-paper.yaml"
WAVES = (("train_teacher", "train_baseline"), ("dump",), ("train_student",))


def tasks(stages: Sequence[StageCost], views: Mapping[str, int]) -> Iterator[float]:
    """The operations of each task of a wave: a replicate, a view of a dump, or its clean images."""
    for stage in stages:
        if stage.kind == "dump":
            count = views[stage.name.partition("@")[2]]
            yield from [stage.view_flops / count] * count
            yield stage.forward_flops
        else:
            yield from [stage.flops / stage.replicates] * stage.replicates


def makespan(costs: Sequence[float], processors: int) -> float:
    """When the last task ends, if each goes to the next free processor, the longest first."""
    ends = [0.0] * processors
    for cost in sorted(costs, reverse=True):
        heapq.heapreplace(ends, ends[0] + cost)
    return max(ends)


@click.command()
@click.option("--rate", default=1e13, show_default=True, help="FLOP/s of one processor.")
@click.option("--profile", type=click.Path(path_type=Path, exists=True), default=PAPER)
@click.argument("processors", nargs=-1, type=click.IntRange(min=1))
def main(rate: float, profile: Path, processors: tuple[int, ...]) -> None:
    """Print what each wave takes on 1, 8, 64, 256 PROCESSORS."""
    content = load_yaml(profile)
    counts = count_images(section(content, DatasetParams, "dataset"), Path())
    stages = list(Costs(content, counts).stages())
    table = Table("processors", *(", ".join(kinds) for kinds in WAVES), "hours", "speed-up", "busy")
    dumps = section(content, dict[str, DumpParams], "dumps")
    views = {name: dump.view_count for name, dump in dumps.items()}
    waves = [list(tasks([s for s in stages if s.kind in kinds], views)) for kinds in WAVES]
    whole = sum(map(sum, waves))
    for count in processors or (1, 8, 64, 256):
        spans = [makespan(costs, count) for costs in waves]
        total = sum(spans)
        cells = [f"{span / rate / 3600:.2f} h" for span in spans]
        table.add_row(
            f"{count}",
            *cells,
            f"{total / rate / 3600:.2f}",
            f"{whole / total:.1f}",
            f"{whole / total / count:.0%}",
        )
    Console(width=110).print(table)
    longest = [max(costs) / rate / 3600 for costs in waves]
    print(f"{len(stages)} stages, {[len(costs) for costs in waves]} tasks, {whole:.3g} FLOP")
    print("longest task of each wave:", ", ".join(f"{hours:.2f} h" for hours in longest))


if __name__ == "__main__":
    main()
