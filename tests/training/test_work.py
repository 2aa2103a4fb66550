"""Jobs in their work folders: one that cannot be published leaves the others alone."""

from dataclasses import replace
from pathlib import Path

import pytest
from training_samples import AUGMENTATION, PARAMS

from pipeline.core.errors import DecantError
from pipeline.core.machine import Machine
from pipeline.hard_labels.epochs import HardLabels, hard_label_loss
from pipeline.training.jobs import Job
from pipeline.training.ranks import Silent
from pipeline.training.work import publish_finished, train_and_publish

MACHINE = Machine(data_root="", workers=2, device="cpu")


def damaged():
    raise DecantError("view 0 is damaged")


@pytest.fixture
def jobs(few_digits, tiny_network, tmp_path, monkeypatch):
    """Three networks that are there; of the second, what its record tells cannot be read."""
    monkeypatch.chdir(tmp_path)
    job = Job(
        kind="student",
        name="a",
        entry={},
        network="conftest:TinyNetwork",
        seed=20,
        replicates=1,
        training=PARAMS,
        augmentation=AUGMENTATION,
        epochs=HardLabels(AUGMENTATION, None, 20, len(few_digits.train.labels)),
        loss=hard_label_loss,
        weights=tiny_network(10, 1).state_dict(),
    )
    second = replace(job, name="b", weights=tiny_network(10, 2).state_dict(), teacher=damaged)
    third = replace(job, name="c", weights=tiny_network(10, 3).state_dict())
    return {Path("out", each.name): each for each in (job, second, third)}


def published():
    return sorted(path.parent.name for path in Path("out").glob("*/record.json"))


def test_what_cannot_be_published_leaves_the_others_alone(jobs, few_digits):
    """In processes, where all is trained, and where nothing is left to train."""
    for _ in range(2):
        with pytest.raises(DecantError, match=r"^student b: view 0 is damaged$"):
            train_and_publish(jobs, few_digits, MACHINE, Silent())
        assert published() == ["a", "c"]
        for out in published():
            Path("out", out, "record.json").unlink()
    assert publish_finished(jobs, few_digits, MACHINE) == (
        [Path("out/a"), Path("out/c")],
        ["student b: view 0 is damaged"],
    )
    assert published() == ["a", "c"]


@pytest.mark.parametrize("workers", [1, 2])
def test_weights_that_answer_nothing_leave_the_others_alone(jobs, few_digits, workers):
    first, _, third = jobs
    broken = {name: tensor * float("nan") for name, tensor in jobs[first].weights.items()}
    jobs = {first: replace(jobs[first], weights=broken), third: jobs[third]}
    with pytest.raises(DecantError, match=r"^student a #0: "):
        train_and_publish(jobs, few_digits, replace(MACHINE, workers=workers), Silent())
    assert published() == ["c"]
