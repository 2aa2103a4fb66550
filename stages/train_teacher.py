"""Prepared data in, a trained (or imported) teacher and its record out (`data/teachers/NAME`)."""

from pathlib import Path

import click

from pipeline.core.files import PREPARED
from stages.shared.options import (
    chosen_outputs,
    load_params,
    names_argument,
    no_graph_option,
    path_option,
    stage_options,
)


@click.command()
@names_argument
@path_option("--prepared", PREPARED, "Prepared data set.")
@path_option("--out", None, "Folder to write.  [default: data/teachers/NAME]")
@no_graph_option
@stage_options
def train_teacher(
    names: tuple[str, ...],
    everything: bool,
    params_path: Path,
    prepared: Path,
    out: Path | None,
    no_graph: bool,
) -> None:
    """Train teachers of params.yaml, or read their weights from a file."""
    from pipeline.hard_labels.jobs import train_on_hard_labels

    content = load_params(params_path)
    outputs = chosen_outputs(content, "teacher", names, everything, out)
    train_on_hard_labels("teacher", outputs, content, prepared, graph=not no_graph)


if __name__ == "__main__":
    train_teacher()
