"""Prepared data in, networks trained alone on hard labels out (`data/baselines/NAME`)."""

from pathlib import Path

import click

from stages.common import PREPARED, no_graph_option, path_option, stage_options


@click.command()
@click.argument("name")
@path_option("--prepared", PREPARED, "Prepared data set.")
@path_option("--out", None, "Folder to write.  [default: data/baselines/NAME]")
@no_graph_option
@stage_options
def train_baseline(
    name: str, params_path: Path, prepared: Path, out: Path | None, no_graph: bool
) -> None:
    """Train the replicates of the baseline NAME of params.yaml."""
    from stages.hard_labels import train_on_hard_labels

    target = out or Path("data/baselines") / name
    train_on_hard_labels("baseline", name, params_path, prepared, target, graph=not no_graph)


if __name__ == "__main__":
    train_baseline()
