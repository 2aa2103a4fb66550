"""Every trained network's record in, nothing out: exit code 1 where one misses its floor.

A low accuracy is a result, which `evaluate` records; whether it will do is asked here, by CI say.
"""

from pathlib import Path

import click

from stages.shared.networks import network_options
from stages.shared.options import console, load_params, stage_options


@click.command()
@network_options
@stage_options
def gate(
    params_path: Path,
    prepared: Path,
    teachers: Path,
    baselines: Path,
    students: Path,
) -> None:
    """Fail where a replicate of a network of params.yaml misses its floor (`evaluation.floors`)."""
    from pipeline.evaluation.floors import networks_below_floor

    folders = {"teachers": teachers, "baselines": baselines, "students": students}
    count, low = networks_below_floor(load_params(params_path), prepared, folders)
    if low:
        raise ValueError("\n".join(low))
    console.print(f"{count} networks reach their floors", markup=False)


if __name__ == "__main__":
    gate()
