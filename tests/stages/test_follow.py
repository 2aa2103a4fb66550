"""`decant follow`: every epoch once, to the terminal and to each service's own files."""

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from child_processes import running
from click.testing import CliRunner
from workspaces import Workspace, digits_params, yaml

from pipeline.core.files import WORK
from pipeline.core.notes import METRICS, WorkNote, log_epochs
from stages.cli import main
from stages.follow.epochs import STATE, Follower
from stages.follow.loggers import outside

ROWS = [
    {"learning_rate": 0.1, "train_loss": 2.0 / (n + 1), "test_top1_accuracy": float("nan")}
    for n in range(3)
]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    train("a" * 16, "train_student@kd", 0, 2)
    train("b" * 16, "train_teacher@r", 1, 3)
    return tmp_path


def train(key, stage, replicate, epochs):
    place = WORK / key / f"replicate-{replicate}"
    place.mkdir(parents=True, exist_ok=True)
    WorkNote((stage,), replicates=2, epochs=3).write(WORK / key)
    log_epochs(place / METRICS, 3, ROWS[:epochs])


def run(*arguments, code=0):
    result = CliRunner().invoke(main, ["follow", "--once", *arguments], catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result.output


def given(follower):
    found = [(epoch.run.stage, epoch.epoch) for epoch in follower.new()]
    follower.save()
    return found


def test_the_terminal_shows_every_epoch(folder):
    lines = run().splitlines()
    assert lines[0] == "train_student@kd #0: epoch 1 of 3  learning_rate 0.1  train_loss 2"
    assert len(lines) == 5
    assert len(run("train_teacher@r").splitlines()) == 3
    assert not STATE.exists()


def test_a_training_that_is_none_is_told_with_the_nearest(folder):
    assert "no training 'kd'; valid: train_student@kd, train_teacher@r" in run("kd", code=1)
    near = run("train_student@typo", code=1)
    assert "no training 'train_student@typo'; did you mean train_student@kd?" in near


def test_trainings_that_have_not_begun_are_those_of_the_parameter_file(folder):
    with Path("params.yaml").open("w") as file:
        yaml.dump(digits_params(), file)
    assert run("train_student@plain") == ""
    assert "no training 'dump@resnet8'" in run("dump@resnet8", code=1)


def test_each_epoch_once_over_several_lives(folder):
    assert given(Follower("x", ["train_student@kd"])) == [
        ("train_student@kd", 1),
        ("train_student@kd", 2),
    ]
    train("a" * 16, "train_student@kd", 0, 3)
    assert given(Follower("x", ["train_student@kd"])) == [("train_student@kd", 3)]
    assert len(given(Follower("y", ["train_student@kd"]))) == 3
    assert len(given(Follower("x", ["train_student@kd"], again=True))) == 3


def test_a_training_from_the_start_is_told_from_the_start(folder):
    follower = Follower("x", ["train_teacher@r"])
    assert len(given(follower)) == 3
    train("b" * 16, "train_teacher@r", 1, 1)
    assert given(follower) == [("train_teacher@r", 1)]


@pytest.mark.parametrize("content", ["", "[]", '{"x": 3}', '{"x": {"y": []}}'])
def test_a_damaged_note_of_what_was_told(folder, content):
    STATE.write_text(content)
    assert len(given(Follower("x"))) == 5


@pytest.mark.parametrize("place", ["data", "data/students/kd", "reports/live", "./data/../data/x"])
def test_no_logger_writes_among_results(folder, place):
    with pytest.raises(ValueError, match="results lie there"):
        outside(Path(place))
    assert outside(Path("runs")) == folder / "runs"


def test_a_package_that_is_not_installed(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    assert "pip install -e '.[tensorboard]'" in run("--tensorboard", "runs", code=1)


def test_a_training_that_runs_meanwhile(tmp_path, monkeypatch):
    """A real training, followed by a process of its own; its results are those of one nobody follows."""
    monkeypatch.chdir(tmp_path)
    content = digits_params()
    content["training"]["epochs"] = 3
    workspace = Workspace(tmp_path, content)
    workspace.run("prepare")
    command = [sys.executable, "-u", "-m", "stages.cli", "follow"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    lines = []
    with running(command, stdout=subprocess.PIPE, env=environment) as process:
        reader = threading.Thread(target=lambda: lines.extend(process.stdout))
        reader.start()
        workspace.run("train-teacher", "resnet8")
        for _ in range(300):
            if len(lines) >= 3:
                break
            time.sleep(0.1)
        process.terminate()
        reader.join()
    assert [line.partition("  ")[0] for line in lines] == [
        f"train_teacher@resnet8 #0: epoch {epoch} of 3" for epoch in (1, 2, 3)
    ]
    (tmp_path / "data/teachers/resnet8").rename(tmp_path / "followed")
    workspace.run("clean")
    workspace.run("train-teacher", "resnet8")
    for file in ("record.json", "replicate-0/weights.safetensors", "replicate-0/curves.csv"):
        again = tmp_path / "data/teachers/resnet8" / file
        assert again.read_bytes() == (tmp_path / "followed" / file).read_bytes()


def test_tensorboard(folder):
    pytest.importorskip("tensorboardX")
    from tensorboardX.proto.event_pb2 import Event
    from tensorboardX.record_writer import masked_crc32c  # noqa: F401 - the package is whole

    run("--tensorboard", "runs")
    run("--tensorboard", "runs")  # nothing twice
    (file,) = Path("runs/train_teacher@r-1-bbbbbbbb").glob("events.*")
    content, found = file.read_bytes(), []
    while content:
        size = int.from_bytes(content[:8], "little")
        event = Event.FromString(content[12 : 12 + size])
        found += [(value.tag, event.step, value.simple_value) for value in event.summary.value]
        content = content[16 + size :]
    losses = [(step, value) for tag, step, value in found if tag == "train_loss"]
    assert losses == [(1, 2.0), (2, 1.0), (3, pytest.approx(2 / 3))]
    assert {tag for tag, _, _ in found} == {"learning_rate", "train_loss"}


def test_dvclive(folder):
    pytest.importorskip("dvclive")
    run("--dvclive", "live", "train_teacher@r")
    place = Path("live/train_teacher@r-1-bbbbbbbb")
    rows = (place / "plots/metrics/train_loss.tsv").read_text().split()
    assert rows[0] == "step"
    assert rows[2::2] == ["1", "2", "3"]
    assert json.loads((place / "metrics.json").read_text())["train_loss"] == pytest.approx(2 / 3)
    assert not list(folder.rglob("dvc.yaml"))


def test_mlflow(folder, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    # mlflow-skinny has no other store than folders, and asks for a word before it uses them.
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    for _ in range(2):
        run("--mlflow", "file:runs", "--again", "train_teacher@r")
    client = mlflow.MlflowClient("file:runs")
    (found,) = client.search_runs([client.get_experiment_by_name("decant").experiment_id])
    history = client.get_metric_history(found.info.run_id, "train_loss")
    assert sorted({(entry.step, entry.value) for entry in history})[0] == (1, 2.0)
    assert found.data.tags["stage"] == "train_teacher@r"


def test_wandb(folder, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    run("--wandb", "study", "train_teacher@r")
    (file,) = folder.glob("wandb/offline-run-*/run-train_teacher-r-1-bbbbbbbb.wandb")
    assert b"train_loss" in file.read_bytes()
