"""`decant clean`: finished work goes at once; what may be the only copy is listed, and goes after a yes."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner
from workspaces import digits_params, yaml

from pipeline.core.files import WORK, WorkFolder
from pipeline.core.notes import METRICS, WorkNote, log_epochs
from pipeline.evaluation.networks import Networks
from stages.cli import main
from stages.commands import clean

NETWORKS = ("teachers", "baselines", "students")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with Path("params.yaml").open("w") as file:
        yaml.dump(digits_params(), file)
    return tmp_path


def run(*arguments, answer=None):
    result = CliRunner().invoke(main, ["clean", *arguments], input=answer, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def train(key, stage, epochs, *, finished=False):
    """A work folder as a training leaves it after some of 240 epochs."""
    work = WorkFolder(WORK, key * 16)
    place = work.path / "replicate-0"
    place.mkdir(parents=True)
    WorkNote((stage,), replicates=1, epochs=240).write(work.path)
    for epoch in range(epochs):
        log_epochs(place / METRICS, 240, [{"train_loss": 1.5}] * (epoch + 1))
    (place / "state.safetensors").write_bytes(b"x" * 1000)
    if finished:
        (place / "record.json").touch()
        (place / "weights.safetensors").write_bytes(b"weights")
    return work


def dump(key, group, views, done):
    """The work folder of a group of a dump."""
    work = WorkFolder(WORK, key * 16)
    (work.path / group / "logits").mkdir(parents=True)
    WorkNote(("dump@resnet8",), group=group, views=views).write(work.path)
    for view in range(done):
        (work.path / group / "logits" / f"c.{view}.0.0").touch()
    if done == views:
        (work.path / group / "manifest.json").write_text(f"{key} {group}")
    return work.path


def publish(work, name, target):
    """Put a file of a work folder into its place, as publishing does."""
    place = Path(target, name)
    place.parent.mkdir(parents=True, exist_ok=True)
    place.hardlink_to(work / name)


def test_a_training_that_was_interrupted_is_listed_and_left(folder):
    begun = train("a", "train_teacher@resnet8", 3).path
    finished = train("b", "train_student@plain", 240, finished=True).path
    publish(finished, "replicate-0/weights.safetensors", "data/students/plain")
    output = run()
    assert "  train_teacher@resnet8 #0: epoch 3 of 240, loss 1.500 (0.0 MB freed)\n" in output
    assert "`decant clean --yes`" in output
    assert begun.exists()
    assert not finished.exists()
    run("--yes")
    assert not begun.exists()


@pytest.mark.parametrize(("answer", "is_left"), [("n\n", True), ("y\n", False)])
def test_in_a_terminal_it_asks(answer, is_left, monkeypatch):
    terminal = SimpleNamespace(stdin=SimpleNamespace(isatty=lambda: True))
    monkeypatch.setattr(clean, "sys", terminal)
    begun = train("a", "train_teacher@resnet8", 3).path
    assert "Remove it?" in run(answer=answer)
    assert begun.exists() == is_left


def test_of_a_dump_that_was_interrupted_the_finished_groups_stay_too():
    mixed, plain = dump("a", "mixed", 5, done=2), dump("b", "plain", 5, done=5)
    output = run()
    assert "  dump@resnet8 mixed: 2 of 5 views (" in output
    assert "  dump@resnet8 plain: 5 of 5 views (" in output
    assert mixed.exists()
    assert plain.exists()
    for view in (2, 3, 4):
        (mixed / f"mixed/logits/c.{view}.0.0").touch()
    assert "  dump@resnet8 mixed: 5 of 5 views (" in run()  # its manifest is not written yet
    (mixed / "mixed/manifest.json").write_text("mixed")
    assert "  dump@resnet8 mixed: 5 of 5 views (" in run()  # both are finished, and in no store
    assert len(list(WORK.iterdir())) == 2
    publish(mixed, "mixed/manifest.json", "data/stores/resnet8.zarr")
    publish(plain, "plain/manifest.json", "data/stores/resnet8.zarr")
    run()
    assert not list(WORK.iterdir())


def test_finished_work_is_not_published_by_an_older_result_in_its_place():
    """Dumped again with other parameters, and trained again; then publishing failed, say."""
    for name in ("mixed/manifest.json", "plain/manifest.json"):
        Path("data/stores/resnet8.zarr", name).parent.mkdir(parents=True)
        Path("data/stores/resnet8.zarr", name).write_text("older")
    place = Path("data/students/plain/replicate-0/weights.safetensors")
    place.parent.mkdir(parents=True)
    place.write_bytes(b"older")
    mixed = dump("a", "mixed", 5, done=5)
    trained = train("b", "train_student@plain", 240, finished=True).path
    output = run()
    assert "  dump@resnet8 mixed: 5 of 5 views (" in output
    assert "  train_student@plain: finished (" in output
    assert mixed.exists()
    assert trained.exists()
    # Copies, where the file system makes no links, are as good.
    place.write_bytes(b"weights")
    Path("data/stores/resnet8.zarr/mixed/manifest.json").write_text("a mixed")
    run()
    assert not list(WORK.iterdir())


def test_a_training_that_could_not_be_published_is_listed_and_left():
    """Its target was not writable, say, or its store was damaged."""
    work = train("b", "train_student@plain", 240, finished=True).path
    assert "  train_student@plain: finished (0.0 MB freed)\n" in run()
    assert work.exists()


def test_links_of_a_publishing_that_was_killed_prove_nothing():
    work = train("b", "train_student@plain", 240, finished=True).path
    publish(work, "replicate-0/weights.safetensors", work / "publish/new/plain")
    assert "  train_student@plain: finished (" in run()
    assert work.exists()
    publish(work, "replicate-0/weights.safetensors", "data/students/plain")
    run()
    assert not list(WORK.iterdir())


def test_what_is_in_use_is_left_alone():
    with train("a", "train_teacher@resnet8", 3) as work:
        output = run("--yes")
        assert "; 1 in use left alone" in output
        assert "Not in its place" not in output
        assert work.path.exists()


def test_results_that_evaluate_moved_away_are_listed_and_left():
    for name in ("mine", "old"):
        place = Path("data/students", name)
        place.mkdir(parents=True)
        (place / "record.json").touch()
        place.with_name(f"{name}.timing.json").touch()
    networks = Networks.of(
        digits_params() | {"baselines": {}}, **{n: Path("data", n) for n in NETWORKS}
    )
    assert len(networks.tidy()) == 4
    digest = "ab" * 16
    out = {"path": "data/students/old", "md5": digest}
    lock = {"schema": "2.0", "stages": {"train_student@old": {"cmd": "x", "outs": [out]}}}
    Path("dvc.lock").write_text(json.dumps(lock))
    cached = Path(".dvc/cache/files/md5", digest[:2], digest[2:])
    cached.parent.mkdir(parents=True)
    cached.touch()
    output = run()
    moved = WORK / "removed/students"
    assert f"{moved}/mine (0.0 MB freed; nowhere else: gone for good)" in output
    assert f"{moved}/old (0.0 MB freed; in DVC's cache too)" in output
    assert (moved / "mine/record.json").exists()
    assert "2 removed" in run("--yes")
    assert not (WORK / "removed").exists()
