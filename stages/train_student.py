"""Prepared data and a teacher's store in, distilled students out (`data/students/NAME`).

The teacher itself is not needed, nor are the raw data.
"""

from pathlib import Path

import click

from pipeline.core.files import PREPARED, STORES
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
@path_option("--stores", STORES, "Folder of the teachers' stores.")
@path_option("--out", None, "Folder to write.  [default: data/students/NAME]")
@no_graph_option
@stage_options
def train_student(
    names: tuple[str, ...],
    everything: bool,
    params_path: Path,
    prepared: Path,
    stores: Path,
    out: Path | None,
    no_graph: bool,
) -> None:
    """Train the replicates of students of params.yaml from their teachers' stores."""
    from pipeline.distill.students import train_students

    content = load_params(params_path)
    outputs = chosen_outputs(content, "student", names, everything, out)
    train_students(outputs, content, prepared, stores, graph=not no_graph)


if __name__ == "__main__":
    train_student()
