"""Metrics of trainings that run, or ran, in; lines in the terminal, or epochs in a logger, out."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from stages.shared.completion import stages as complete_stages
from stages.shared.options import stage_options

if TYPE_CHECKING:
    from stages.follow.loggers import Logger

POLL_SECONDS = 2.0

_folder = click.Path(path_type=Path, file_okay=False)


@click.command()
@click.argument("stages", nargs=-1, metavar="[STAGE]...", shell_complete=complete_stages)
@click.option("--tensorboard", type=_folder, help="Write event files below this folder.")
@click.option("--wandb", metavar="PROJECT", help="Log to this project of Weights & Biases.")
@click.option("--mlflow", metavar="URI", help="Log to this MLflow server or database.")
@click.option("--dvclive", type=_folder, help="Write DVCLive's files below this folder.")
@click.option("--once", is_flag=True, help="End with what is there; else go on until Ctrl-C.")
@click.option(
    "--again", is_flag=True, help="Begin with the first epoch, also of what was told before."
)
@stage_options
def follow(
    stages: tuple[str, ...],
    tensorboard: Path | None,
    wandb: str | None,
    mlflow: str | None,
    dvclive: Path | None,
    once: bool,
    again: bool,
    params_path: Path,
) -> None:
    """Show each epoch of the trainings of STAGE... (none: all) when it ends, or pass it to loggers.

    Trainings run elsewhere, in another terminal say: what they compute, and what DVC records, knows nothing
    of loggers. An epoch goes to each logger once, also when this command is started again.
    """
    targets = {"tensorboard": tensorboard, "wandb": wandb, "mlflow": mlflow, "dvclive": dvclive}
    asked = {name: str(value) for name, value in targets.items() if value is not None}
    _follow(asked, stages, params_path, once=once, again=again)


def _follow(
    asked: dict[str, str], stages: Sequence[str], params_path: Path, *, once: bool, again: bool
) -> None:
    from stages.follow.epochs import Follower, check_trainings
    from stages.follow.loggers import DvcLive, MLflow, TensorBoard, Terminal, WeightsAndBiases

    check_trainings(stages, params_path)
    loggers: list[tuple[Follower, Logger]] = []
    for name, value in asked.items():
        follower = Follower(f"{name}:{value}", stages, again=again)
        if name in ("tensorboard", "dvclive"):
            kind = TensorBoard if name == "tensorboard" else DvcLive
            loggers.append((follower, kind(Path(value))))
        else:
            loggers.append(
                (follower, WeightsAndBiases(value) if name == "wandb" else MLflow(value))
            )
    if not loggers:
        loggers.append((Follower("terminal", stages, again=True), Terminal()))
    try:
        while True:
            for follower, logger in loggers:
                for epoch in follower.new():
                    logger.log(epoch)
                if asked:
                    follower.save()
            if once:
                return
            time.sleep(POLL_SECONDS)
    finally:
        for _, logger in loggers:
            logger.close()
