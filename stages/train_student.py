"""Prepared data and a teacher's store in, distilled students out (`data/students/NAME`).

The teacher itself is not needed, nor are the raw data.
"""

from pathlib import Path
from typing import Any

import click

from pipeline.core.files import STORES
from pipeline.core.progress import Display
from stages.shared.options import path_option
from stages.shared.training import training_options


@click.command()
@path_option("--stores", STORES, "Folder of the teachers' stores.")
@training_options("student")
def train_student(
    outputs: dict[str, Path],
    content: dict[str, Any],
    prepared: Path,
    stores: Path,
    display: Display,
    graph: bool,
) -> None:
    """Train the replicates of students of params.yaml from their teachers' stores."""
    from pipeline.distill.students import train_students

    train_students(outputs, content, prepared, stores, display, graph=graph)


if __name__ == "__main__":
    train_student()
