"""dvc.lock, params.yaml, code, results and work folders in; the state of every stage out, in a moment."""

import sys
from pathlib import Path

import click

from stages.shared.options import json_option, print_json, stage_options


@click.command()
@click.option("--deep", is_flag=True, help="Hash every result, instead of comparing sizes.")
@click.option("--stages", "list_stages", is_flag=True, help="List every stage, in a line each.")
@json_option
@click.option(
    "--exit-code", is_flag=True, help="End with 1 unless every stage is done, here or elsewhere."
)
@stage_options
def status(
    params_path: Path, deep: bool, list_stages: bool, as_json: bool, exit_code: bool
) -> None:
    """Show which stages are done, here in part, stale (and why), running (and how far) and missing.

    No result is written and DVC is not started: parameters and code are compared with dvc.lock, and results
    by number and size of their files.
    """
    from stages.dvc.overview import overview

    stages = overview(Path(), params_path, deep=deep)
    if as_json:
        facts = {"hashed": deep, "stages": [stage.to_json() for stage in stages]}
        print_json(facts)
    else:
        from stages.commands.status_text import show

        show(stages, deep=deep, list_stages=list_stages)
    if exit_code and not all(stage.state in ("done", "elsewhere") for stage in stages):
        sys.exit(1)
