"""Prepared data in, networks trained alone on hard labels out (`data/baselines/NAME`)."""

from pathlib import Path
from typing import Any

import click

from pipeline.core.progress import Display
from stages.shared.training import training_options


@click.command()
@training_options("baseline")
def train_baseline(
    outputs: dict[str, Path],
    content: dict[str, Any],
    prepared: Path,
    display: Display,
    graph: bool,
) -> None:
    """Train the replicates of baselines of params.yaml."""
    from pipeline.hard_labels.jobs import train_on_hard_labels

    train_on_hard_labels("baseline", outputs, content, prepared, display, graph=graph)


if __name__ == "__main__":
    train_baseline()
