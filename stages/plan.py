"""A profile in; what it will cost out, before anything runs: stages, hours, disk, what the cache saves.

Nothing is written. What is heavy is imported when the command runs, so that help is quick.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipeline.params import ParamsError, load_yaml
from stages.common import STORES, load_machine, stage_options
from stages.use import find_profile

if TYPE_CHECKING:
    from pipeline.rate import Rate
    from stages.estimate import Plan


@click.command()
@click.argument("profile", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
@click.option("--stages", "list_stages", is_flag=True, help="Also list every stage.")
@click.option(
    "--network",
    default="resnet20",
    show_default=True,
    help="The network whose training is measured for a few seconds.",
)
@click.option(
    "--rate",
    "stated_rate",
    type=click.FloatRange(min=0, min_open=True),
    help="FLOP/s to reckon with, instead of measuring: for another machine than this one.",
)
@stage_options
def plan(
    profile: str | None,
    params_path: Path,
    as_json: bool,
    list_stages: bool,
    network: str,
    stated_rate: float | None,
) -> None:
    """Show what PROFILE (default: params.yaml) will cost, before anything runs."""
    from stages.plan_tables import show

    source = params_path if profile is None else find_profile(profile)
    made = make_plan(source, network, stated_rate)
    if as_json:
        click.echo(json.dumps(made.to_json(), indent=1))
    else:
        show(made, list_stages=list_stages)


def make_plan(source: Path, network: str, stated_rate: float | None) -> "Plan":
    """Check a parameter file, count, measure and compare with dvc.lock. Raises ParamsError."""
    from pipeline.cost import Costs
    from pipeline.rate import Rate
    from stages.checker import Checker
    from stages.devices import describe_device, pick_device, set_up
    from stages.estimate import Plan, free_bytes, timed
    from stages.locked import Lock

    content = load_yaml(source)
    if problems := Checker(content).problems:
        raise ParamsError([f"{source}: {problem}" for problem in problems])
    machine = load_machine(content)
    device = pick_device(machine)
    set_up(device, machine.threads)
    costs = Costs(content, machine.raw)
    stages = list(costs.stages())
    lock = Lock(Path(), content)
    if stated_rate is None:
        rate = measured_rate(content, network, costs, device)
    else:
        rate = Rate(stated_rate, stated_rate)
    processes = machine.processes(machine.cores) if device.type == "cpu" else 1
    return Plan(
        profile=str(source),
        counts=costs.counts,
        device=str(describe_device(device)["device"]),
        processes=processes,
        rate=rate,
        stages=tuple(timed(stages, [lock.state(s.name) for s in stages], rate, processes)),
        free_bytes=free_bytes(STORES),
    )


def measured_rate(content: Mapping[str, Any], network: str, costs: Any, device: Any) -> "Rate":
    """Measure the recipe of a parameter file."""
    from pipeline.fit import TrainingParams
    from pipeline.params import section
    from pipeline.rate import measure
    from pipeline.views import Augmentation

    training = section(content, TrainingParams, "training")
    augmentation = section(content, Augmentation, "augmentation")
    counts = costs.counts
    return measure(network, training, augmentation, counts.classes, counts.image_size, device)


if __name__ == "__main__":
    plan()
