"""`dvc repro`, also in a clone that has only a part of the results.

Afterwards what was asked for is on this disk as dvc.lock has it, or the exit code is not 0; the result
tables are shown.
"""

import os
from pathlib import Path

import click

from pipeline.core.machine import JOBS_VARIABLE
from stages.shared.completion import stages
from stages.shared.options import stage_options


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, shell_complete=stages)
@click.option("--yes", is_flag=True, help="Compute what cannot be fetched, however long it takes.")
@click.option(
    "--dry", is_flag=True, help="Say what would be fetched and what would run; do nothing."
)
@click.option(
    "--jobs",
    type=click.IntRange(min=1),
    help="Networks that are trained at the same time.  [default: machine.workers; on a GPU, what fits]",
)
@stage_options
def repro(
    arguments: tuple[str, ...], yes: bool, dry: bool, jobs: int | None, params_path: Path
) -> None:
    """Rebuild what is out of date (`dvc repro ARGUMENTS`), then show the results.

    First params.yaml is checked. Trainings of a kind, and dumps, run side by side; a training that fails
    leaves the others alone.
    In a clone, what is read is fetched from DVC's cache or remote, and what nobody changed is not
    computed again. What neither has is computed: at once where that takes less than an hour and
    there is no remote, else after a yes.
    """
    from stages.dvc.reproduce import rebuild

    if jobs is not None:
        os.environ[JOBS_VARIABLE] = str(jobs)  # for the stages, too
    rebuild(params_path, arguments, yes=yes, dry=dry)
