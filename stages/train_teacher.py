"""Prepared data in, a trained (or imported) teacher and its record out (`data/teachers/NAME`)."""

from pathlib import Path

import click

from stages.common import PREPARED, no_graph_option, path_option, stage_options


@click.command()
@click.argument("name")
@path_option("--prepared", PREPARED, "Prepared data set.")
@path_option("--out", None, "Folder to write.  [default: data/teachers/NAME]")
@no_graph_option
@stage_options
def train_teacher(
    name: str, params_path: Path, prepared: Path, out: Path | None, no_graph: bool
) -> None:
    """Train the teacher NAME of params.yaml, or read its weights from a file."""
    from stages.hard_labels import train_on_hard_labels

    target = out or Path("data/teachers") / name
    train_on_hard_labels("teacher", name, params_path, prepared, target, graph=not no_graph)


if __name__ == "__main__":
    train_teacher()
