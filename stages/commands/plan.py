"""A profile in; what it will cost out, before anything runs: stages, hours, disk, what the cache saves.

With `--commands` the shell commands that bring params.yaml up to date, and nothing is measured. Nothing is
written. What is heavy is imported when the command runs, so that help is quick.
"""

import json
from pathlib import Path

import click

from stages.commands.plan_tables import show
from stages.commands.use import find_profile
from stages.shared.completion import networks as complete_networks
from stages.shared.completion import profiles
from stages.shared.options import json_option, stage_options


@click.command()
@click.argument("profile", required=False, shell_complete=profiles)
@json_option
@click.option("--stages", "list_stages", is_flag=True, help="Also list every stage.")
@click.option(
    "--measure",
    "networks",
    multiple=True,
    default=("resnet20",),
    shell_complete=complete_networks,
    show_default=True,
    help="Network that is measured for a few seconds; repeat for more. The first one stands for all "
    "that are not measured.",
)
@click.option(
    "--rate",
    "stated_rate",
    type=click.FloatRange(min=0, min_open=True),
    help="FLOP/s of all trainings together, instead of measuring: for another machine, a GPU say.",
)
@click.option(
    "--commands",
    "as_commands",
    is_flag=True,
    help="Measure nothing; print what is stale as shell commands in waves. Those of a wave can run side "
    "by side, also on several machines that share the disk.",
)
@click.option(
    "--wave", type=click.IntRange(1, 5), help="With --commands: print one wave alone, no headings."
)
@stage_options
def plan(
    profile: str | None,
    params_path: Path,
    as_json: bool,
    list_stages: bool,
    networks: tuple[str, ...],
    stated_rate: float | None,
    as_commands: bool,
    wave: int | None,
) -> None:
    """Show what PROFILE (default: params.yaml) will cost, before anything runs."""
    source = params_path if profile is None else find_profile(profile)
    if wave is not None and not as_commands:
        raise click.UsageError("--wave is of --commands")
    if as_commands:
        from stages.commands.plan_commands import print_commands

        print_commands(source, wave)
        return
    from stages.commands.estimate import make_plan

    made = make_plan(source, networks, stated_rate)
    if as_json:
        click.echo(json.dumps(made.to_json(), indent=1))
    else:
        show(made, list_stages=list_stages)
