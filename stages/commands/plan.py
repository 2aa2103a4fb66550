"""A profile in; what it will cost out, before anything runs: stages, hours, disk, what the cache saves.

Nothing is written. What is heavy is imported when the command runs, so that help is quick.
"""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipeline.core.files import STORES
from pipeline.core.machine import load_machine
from pipeline.core.params import load_yaml
from stages.commands.use import find_profile
from stages.shared.options import stage_options

if TYPE_CHECKING:
    import torch

    from pipeline.dump.params import Precision
    from pipeline.planning.cost import ImageCounts, StageCost
    from stages.commands.estimate import Plan, Rates


@click.command()
@click.argument("profile", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
@click.option("--stages", "list_stages", is_flag=True, help="Also list every stage.")
@click.option(
    "--measure",
    "networks",
    multiple=True,
    default=("resnet20",),
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
@stage_options
def plan(
    profile: str | None,
    params_path: Path,
    as_json: bool,
    list_stages: bool,
    networks: tuple[str, ...],
    stated_rate: float | None,
) -> None:
    """Show what PROFILE (default: params.yaml) will cost, before anything runs."""
    from stages.commands.plan_tables import show

    source = params_path if profile is None else find_profile(profile)
    made = make_plan(source, networks, stated_rate)
    if as_json:
        click.echo(json.dumps(made.to_json(), indent=1))
    else:
        show(made, list_stages=list_stages)


def make_plan(source: Path, networks: Sequence[str], stated_rate: float | None) -> "Plan":
    """Check a parameter file, count, measure and compare with dvc.lock. Raises ParamsError."""
    from pipeline.compute import describe_device, pick_device, precision_warning, set_up
    from pipeline.planning.checker import check_all
    from pipeline.planning.cost import Costs
    from pipeline.planning.rate import Rate
    from stages.commands.estimate import Plan, free_bytes, timed
    from stages.dvc.lock import Lock

    content = load_yaml(source)
    check_all(content, source)
    machine = load_machine(content)
    device = pick_device(machine)
    set_up(device, machine.threads)
    costs = Costs(content, machine.raw)
    stages = list(costs.stages())
    lock = Lock(Path(), content)
    if stated_rate is None:
        rates = measured_rates(content, networks, used_precisions(stages), costs.counts, device)
    else:
        stated = Rate(stated_rate, stated_rate)
        rates = {("", precision): stated for precision in used_precisions(stages)}
    # A stated rate is that of a device as a whole.
    on_cores = device.type == "cpu" and stated_rate is None
    processes = machine.processes(machine.cores) if on_cores else 1
    planned = tuple(timed(stages, [lock.state(stage.name) for stage in stages], rates, processes))
    precisions = {
        stage.cost.precision_key: stage.cost.precision
        for stage in planned
        if stage.left and stage.cost.precision_key
    }
    return Plan(
        profile=str(source),
        counts=costs.counts,
        device=str(describe_device(device)["device"]),
        processes=processes,
        rates=rates,
        stages=planned,
        free_bytes=free_bytes(STORES),
        warning=precision_warning(precisions, device) if on_cores else None,
    )


def used_precisions(stages: "Sequence[StageCost]") -> "list[Precision]":
    """What something is computed in: float32, as tests are, and what entries ask for."""
    asked = {stage.precision for stage in stages if stage.precision_key}
    return ["float32", *sorted(asked - {"float32"})]


def measured_rates(
    content: dict[str, Any],
    networks: Sequence[str],
    precisions: "Sequence[Precision]",
    counts: "ImageCounts",
    device: "torch.device",
) -> "Rates":
    """Measure networks in each precision with a file's recipe; the first also stands under ""."""
    from pipeline.core.params import section
    from pipeline.planning.rate import measure
    from pipeline.training.params import TrainingParams
    from pipeline.views.params import Augmentation

    training = section(content, TrainingParams, "training")
    augmentation = section(content, Augmentation, "augmentation")
    size = (counts.classes, counts.image_size)
    recipes = {precision: replace(training, precision=precision) for precision in precisions}
    rates = {
        (name, precision): measure(name, recipe, augmentation, *size, device)
        for name in networks
        for precision, recipe in recipes.items()
    }
    return {("", precision): rates[networks[0], precision] for precision in precisions} | rates


if __name__ == "__main__":
    plan()
