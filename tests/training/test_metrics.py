"""What trainings and dumps tell of themselves while they run, in their work folders, and nowhere else."""

import csv
from dataclasses import replace

import pytest
from training_samples import PARAMS, Setup
from workspaces import Workspace, digits_params

from pipeline.core.files import WORK
from pipeline.core.notes import METRICS, WorkNote, read_epochs
from pipeline.training.loop import fit, fit_stepwise


@pytest.fixture(scope="module")
def setup(few_digits, tiny_network):
    return Setup(few_digits, tiny_network)


def test_every_epoch_is_there_before_the_next_one_begins(setup, tmp_path):
    trainer = setup.trainer(replace(PARAMS, evaluate_every=2))
    seen = []
    for _ in fit_stepwise(trainer, setup.test, checkpoint=tmp_path / "state"):
        seen.append((trainer.epoch, len(read_epochs(tmp_path / METRICS))))
    assert {epoch for epoch, _ in seen} == {0, 1, 2}
    assert all(epoch == lines for epoch, lines in seen)
    lines = read_epochs(tmp_path / METRICS)
    assert [line["train_loss"] for line in lines] == trainer.curves.train_loss
    assert [line["test_loss"] is None for line in lines] == [True, False, False]
    assert [line["time"] for line in lines] == sorted(line["time"] for line in lines)


def test_a_resumed_training_keeps_the_lines_of_before(setup, tmp_path):
    steps = fit_stepwise(setup.trainer(), setup.test, checkpoint=tmp_path / "state")
    while len(read_epochs(tmp_path / METRICS)) < 2:
        next(steps)
    steps.close()
    before = (tmp_path / METRICS).read_bytes()
    (tmp_path / METRICS).write_bytes(before.splitlines(keepends=True)[0])  # killed before the line
    curves = fit(setup.trainer(), setup.test, checkpoint=tmp_path / "state")
    assert [line["train_loss"] for line in read_epochs(tmp_path / METRICS)] == curves.train_loss


def test_work_folders_say_whose_they_are(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    content = digits_params()
    content["training"]["epochs"] = 2
    workspace = Workspace(tmp_path, content)
    workspace.run("prepare")
    workspace.run("train-teacher", "resnet8")
    workspace.run("dump", "resnet8")
    notes = {folder: note for folder in WORK.iterdir() if (note := WorkNote.of(folder))}
    assert sorted(
        (note.stages, note.group, note.views, note.epochs) for note in notes.values()
    ) == [
        (("dump@resnet8",), "clean", 0, 0),
        (("dump@resnet8",), "mixed", 2, 0),
        (("dump@resnet8",), "plain", 2, 0),
        (("train_teacher@resnet8",), "", 0, 2),
    ]
    (trained,) = (folder for folder, note in notes.items() if note.epochs)
    lines = read_epochs(trained / "replicate-0" / METRICS)
    published = tmp_path / "data/teachers/resnet8"
    with (published / "replicate-0/curves.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [f"{line['train_loss']:.7g}" for line in lines] == [row["train_loss"] for row in rows]
    files = [p for out in (published, tmp_path / "data/stores") for p in out.rglob("*")]
    assert len(files) > 20
    assert not {METRICS, "note.json"} & {file.name for file in files}
