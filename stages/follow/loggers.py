"""Who is told of epochs: the terminal, TensorBoard, Weights & Biases, MLflow, DVCLive.

A logger is two methods. Each service is an extra of its own, imported when it is asked for; none writes
dvc.yaml, or into a result.
"""

import importlib
from pathlib import Path
from typing import Any, Protocol

import click

from pipeline.core.errors import DecantError
from stages.follow.epochs import Epoch
from stages.shared.tables import shown

_OUTS = (Path("data"), Path("reports"))


class Logger(Protocol):
    """Takes epochs one by one; those of a run come in their order."""

    def log(self, epoch: Epoch) -> None:
        """Take an epoch."""

    def close(self) -> None:
        """Finish: whatever was taken is on its way."""


class Terminal:
    """Prints a line for each epoch."""

    def log(self, epoch: Epoch) -> None:
        """Print it."""
        values = "  ".join(f"{name} {value:.5g}" for name, value in epoch.values.items())
        run = epoch.run
        click.echo(
            f"{shown(run.stage)} #{run.replicate}: epoch {epoch.epoch} of {epoch.epochs}  {shown(values)}"
        )

    def close(self) -> None:
        """Nothing is left to do."""


class TensorBoard:
    """A folder of event files for each run; the time is that of the epoch's end."""

    def __init__(self, folder: Path) -> None:
        self.folder = outside(folder)
        self._writer = _imported("tensorboardX", "tensorboard").SummaryWriter
        self._writers: dict[str, Any] = {}

    def log(self, epoch: Epoch) -> None:
        """Write its values, a scalar each."""
        name = epoch.run.name
        if name not in self._writers:
            self._writers[name] = self._writer(str(self.folder / name))
        for key, value in epoch.values.items():
            self._writers[name].add_scalar(key, value, epoch.epoch, walltime=epoch.time)
        self._writers[name].flush()

    def close(self) -> None:
        """Close the files."""
        for writer in self._writers.values():
            writer.close()


class WeightsAndBiases:
    """A run of its own for each replicate, under an id that stays; offline with WANDB_MODE=offline."""

    def __init__(self, project: str) -> None:
        self.project = project
        self._wandb = _imported("wandb", "wandb")
        self._runs: dict[str, Any] = {}

    def log(self, epoch: Epoch) -> None:
        """Log its values at its step."""
        run = epoch.run
        if run.name not in self._runs:
            self._runs[run.name] = self._wandb.init(
                project=self.project,
                id=run.name.replace("@", "-"),
                name=f"{run.stage} #{run.replicate}",
                config={"stage": run.stage, "replicate": run.replicate, "epochs": epoch.epochs},
                resume="allow",
                reinit="create_new",
            )
        self._runs[run.name].log({**epoch.values, "epoch": epoch.epoch}, step=epoch.epoch)

    def close(self) -> None:
        """Finish the runs."""
        for run in self._runs.values():
            run.finish()


class MLflow:
    """A run of the experiment `decant` for each replicate; one that is there, by its tag, goes on.

    Args:
        uri: of the tracking server or database.
    """

    _TAG = "decant.run"

    def __init__(self, uri: str) -> None:
        self._client = _imported("mlflow.tracking", "mlflow").MlflowClient(uri)
        experiment = self._client.get_experiment_by_name("decant")
        found = experiment.experiment_id if experiment else self._client.create_experiment("decant")
        self._experiment = found
        self._ids: dict[str, str] = {}

    def log(self, epoch: Epoch) -> None:
        """Log its values at its step and time."""
        run_id = self._id(epoch)
        for name, value in epoch.values.items():
            time = round(epoch.time * 1000)
            self._client.log_metric(run_id, name, value, timestamp=time, step=epoch.epoch)

    def _id(self, epoch: Epoch) -> str:
        name = epoch.run.name
        if name not in self._ids:
            query = f"tags.`{self._TAG}` = '{name}'"
            found = self._client.search_runs([self._experiment], query, max_results=1)
            tags = {self._TAG: name, "stage": epoch.run.stage}
            run = (
                found[0]
                if found
                else self._client.create_run(self._experiment, tags=tags, run_name=name)
            )
            self._ids[name] = str(run.info.run_id)
        return self._ids[name]

    def close(self) -> None:
        """Mark the runs as finished."""
        for run_id in self._ids.values():
            self._client.set_terminated(run_id)


class DvcLive:
    """A folder of DVCLive's for each run; neither dvc.yaml nor an experiment is made."""

    def __init__(self, folder: Path) -> None:
        self.folder = outside(folder)
        self._live = _imported("dvclive", "dvclive").Live
        self._lives: dict[str, Any] = {}

    def log(self, epoch: Epoch) -> None:
        """Log its values at its step."""
        name = epoch.run.name
        if name not in self._lives:
            self._lives[name] = self._live(
                dir=str(self.folder / name),
                resume=True,
                report=None,
                save_dvc_exp=False,
                dvcyaml=None,
                monitor_system=False,
            )
        live = self._lives[name]
        live.step = epoch.epoch
        for key, value in epoch.values.items():
            live.log_metric(key, value)
        live.make_summary()

    def close(self) -> None:
        """End the runs."""
        for live in self._lives.values():
            live.end()


def outside(folder: Path) -> Path:
    """The folder, which must not lie among results. Raises DecantError."""
    place = folder.resolve()
    if any(place.is_relative_to(out.resolve()) for out in _OUTS):
        raise DecantError(f"{folder}: results lie there, and DVC watches them; name another folder")
    return place


def _imported(module: str, extra: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise DecantError(
            f"{module} cannot be imported ({error}): pip install -e '.[{extra}]'"
        ) from error
