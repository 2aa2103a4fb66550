"""Every trained network's record in, nothing out: exit code 1 where one misses its floor.

A low accuracy is a result, which `evaluate` records; whether it will do is asked here, by CI say.
"""

from pathlib import Path

import click

from pipeline.core.params import section
from stages.shared.networks import Networks, network_options
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
    from pipeline.core.dataset import load_prepared
    from pipeline.report.accuracy import below_floor
    from pipeline.report.params import EvaluationParams

    content = load_params(params_path)
    floors = section(content, EvaluationParams, "evaluation").floors
    networks = Networks.of(content, teachers=teachers, baselines=baselines, students=students)
    runs = networks.load(load_prepared(prepared))
    if low := below_floor(runs, floors):
        raise ValueError("\n".join(low))
    console.print(f"{len(runs)} networks reach their floors", markup=False)


if __name__ == "__main__":
    gate()
