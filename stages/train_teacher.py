"""Prepared data in, a trained (or imported) teacher and its record out (`data/teachers/NAME`)."""

from pathlib import Path
from typing import Any

import click

from pipeline.core.progress import Display
from stages.shared.training import training_options


@click.command()
@training_options("teacher")
def train_teacher(
    outputs: dict[str, Path],
    content: dict[str, Any],
    prepared: Path,
    display: Display,
    graph: bool,
) -> None:
    """Train teachers of params.yaml, or read their weights from a file."""
    from pipeline.hard_labels.jobs import train_on_hard_labels

    train_on_hard_labels("teacher", outputs, content, prepared, display, graph=graph)


if __name__ == "__main__":
    train_teacher()
