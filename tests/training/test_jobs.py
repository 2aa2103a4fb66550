"""The key of finished work covers the whole job: whatever can change a number changes the key."""

from dataclasses import dataclass, fields, replace
from typing import Any

import pytest
import torch
from training_samples import AUGMENTATION, PARAMS

from pipeline.core.normalisation import Normalisation
from pipeline.distill.epochs import StoreViews
from pipeline.distill.method import DistillationLoss
from pipeline.distill.params import Method
from pipeline.hard_labels.epochs import HardLabels, hard_label_loss
from pipeline.hard_labels.params import Mixup
from pipeline.training.jobs import Job
from pipeline.training.params import Schedule
from pipeline.views.params import Augmentation

KD = {"temperature": 4.0, "gamma": 0.1, "alpha": 0.9}
HARD = HardLabels(AUGMENTATION, None, 20, 320)
TOLD_ONLY = {"kind", "name", "entry", "replicates", "method", "teacher"}  # change no number


@dataclass(frozen=True)
class Manifest:
    digest: str


@dataclass(frozen=True)
class Group:
    manifest: Manifest


@dataclass(frozen=True)
class StoreOf:
    """As much of a store as its digests."""

    digests: tuple[str, ...]
    groups: tuple[str, ...] = ("plain", "mixed")

    def group(self, name: str) -> Group:
        return Group(Manifest(self.digests[self.groups.index(name)]))


STORED = StoreViews(StoreOf(("a", "b")), 0.5, seed=3, views=4, sampling="epoch", features=False)
CHANGES: dict[str, list[Any]] = {
    "network": ["resnet14"],
    "seed": [21],
    "training": [
        replace(PARAMS, epochs=4),
        replace(PARAMS, batch_size=32),
        replace(PARAMS, learning_rate=0.1),
        replace(PARAMS, momentum=0.8),
        replace(PARAMS, weight_decay=1e-4),
        replace(PARAMS, schedule=Schedule(name="cosine")),
        replace(PARAMS, schedule=Schedule(name="one_cycle", warmup=0.1)),
        replace(PARAMS, evaluate_every=2),
        replace(PARAMS, precision="bfloat16"),
    ],
    "augmentation": [Augmentation(pad=1, flip=False), Augmentation(pad=2, flip=True)],
    "epochs": [
        replace(HARD, augmentation=Augmentation(pad=1, flip=False)),
        replace(HARD, mixup=Mixup(alpha=1.0, share=1.0)),
        replace(HARD, mixup=Mixup(alpha=0.2, share=1.0)),
        replace(HARD, mixup=Mixup(alpha=1.0, share=0.5)),
        replace(HARD, seed=21),
        replace(HARD, count=319),
        STORED,
        replace(STORED, store=StoreOf(("a", "c"))),
        replace(STORED, share=0.4),
        replace(STORED, seed=4),
        replace(STORED, views=3),
        replace(STORED, views=None),
        replace(STORED, sampling="image"),
        replace(STORED, features=True),
    ],
    "loss": [
        DistillationLoss(Method("m", "kd", KD)),
        DistillationLoss(Method("m", "kd", {**KD, "temperature": 3.0})),
        DistillationLoss(Method("m", "mse", {"gamma": 0.1, "alpha": 0.9})),
    ],
    "weights": [{"a": torch.zeros(2)}, {"a": torch.ones(2)}],
    "normalisation": [
        Normalisation((0.4, 0.4, 0.4), (0.2, 0.2, 0.2)),
        Normalisation((0.4, 0.4, 0.4), (0.3, 0.3, 0.3)),
    ],
    "ranks": [2, 3],
}


@pytest.fixture
def job():
    return Job(
        kind="student",
        name="s",
        entry={},
        network="resnet8",
        seed=20,
        replicates=3,
        training=PARAMS,
        augmentation=AUGMENTATION,
        epochs=HARD,
        loss=hard_label_loss,
    )


def test_every_field_is_either_told_only_or_altered_here():
    assert {field.name for field in fields(Job)} == TOLD_ONLY | CHANGES.keys()
    training = {field.name for field in fields(type(PARAMS))}
    assert training == {"epochs", "batch_size", "learning_rate", "momentum", "weight_decay"} | {
        *("schedule", "evaluate_every", "precision", "batch_statistics"),
    }


def test_every_change_of_a_field_is_another_key(job, few_digits):
    keys = [job.key_facts(few_digits)]
    for name, values in CHANGES.items():
        keys += [replace(job, **{name: value}).key_facts(few_digits) for value in values]
    assert len(keys) == 1 + sum(map(len, CHANGES.values()))
    for index, key in enumerate(keys):
        assert key not in keys[:index], key


def test_what_is_only_told_changes_no_key(job, few_digits):
    other = replace(job, kind="teacher", name="t", entry={"a": 1}, replicates=1)
    assert other.key_facts(few_digits) == job.key_facts(few_digits)
    facts = [DistillationLoss(Method(name, "kd", KD)).facts() for name in ("one", "another")]
    assert facts[0] == facts[1], "a method's name is only told"


def test_other_images_or_labels_are_another_key(job, few_digits):
    other = replace(few_digits, fingerprint="0" * 64)
    assert other.fingerprint != few_digits.fingerprint
    assert job.key_facts(other) != job.key_facts(few_digits)


def test_batch_statistics_are_another_key_on_several_ranks_only(job, few_digits):
    """Keys and records of one process are those from before there could be several."""
    own = replace(job, training=replace(PARAMS, batch_statistics="own"))
    assert own.key_facts(few_digits) == job.key_facts(few_digits)
    assert not {"ranks", "batch_statistics"} & {*job.key_facts(few_digits), *job.training_facts()}
    assert own.on(2).key_facts(few_digits) != job.on(2).key_facts(few_digits)
    assert own.on(2).training_facts()["batch_statistics"] == "own"


def test_networks_that_are_not_trained_take_one_rank(job, few_digits):
    given = replace(job, weights={"a": torch.ones(2)})
    assert given.on(2).key_facts(few_digits) == given.key_facts(few_digits)
