"""Every trained network's record in, nothing out: exit code 1 where one misses its floor.

A low accuracy is a result, which `evaluate` records; whether it will do is asked here, by CI say.
"""

import sys
from pathlib import Path

import click

from stages.shared.networks import network_options
from stages.shared.options import console, json_option, load_params, print_json, stage_options


@click.command()
@network_options
@json_option
@stage_options
def gate(
    params_path: Path,
    prepared: Path,
    teachers: Path,
    baselines: Path,
    students: Path,
    as_json: bool,
) -> None:
    """Fail where a replicate of a network of params.yaml misses its floor (`evaluation.floors`)."""
    from pipeline.core.params import section
    from pipeline.evaluation.floors import networks_below_floor
    from pipeline.evaluation.params import EvaluationParams

    folders = {"teachers": teachers, "baselines": baselines, "students": students}
    content = load_params(params_path)
    count, low = networks_below_floor(content, prepared, folders)
    if as_json:
        print_json({"networks": count, "below_floor": low})
        sys.exit(1 if low else 0)
    if low:
        raise ValueError("\n".join(low))
    floors = section(content, EvaluationParams, "evaluation").floors
    if all(floor is None for floor in vars(floors).values()):
        console.print("no floors are set (evaluation.floors)")
    else:
        console.print(f"{count} networks reach their floors")
