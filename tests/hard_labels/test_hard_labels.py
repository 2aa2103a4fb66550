"""Hard-label runs: the epochs that teachers and baselines see, and their loss."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.core.params import ParamsError, section
from pipeline.distill.params import StudentParams
from pipeline.hard_labels import jobs
from pipeline.hard_labels.epochs import TRAINING_VIEWS, DrawnEpochs, hard_label_loss
from pipeline.hard_labels.params import BaselineParams, Mixup, TeacherParams, WeightsFile
from pipeline.views.batches import Batch
from pipeline.views.params import Augmentation
from pipeline.views.plans import ViewRecipe, draw_view
from stages.dvc import together

AUGMENTATION = Augmentation(pad=2, flip=True)
COUNT = 53


def recipe(seed: int, alpha: float | None) -> ViewRecipe:
    return ViewRecipe(pad=2, flip=True, draw="random", alpha=alpha, seed=seed)


@pytest.mark.parametrize("mixup", [None, Mixup(alpha=0.4, share=0.0)])
def test_without_mixup(mixup):
    data = DrawnEpochs(AUGMENTATION, mixup, 4, COUNT)(6)
    view = draw_view("plain", recipe(4, None), TRAINING_VIEWS + 6, COUNT)
    assert data.teacher_logits is None
    np.testing.assert_array_equal(data.plan.crop_yx, view.crop_yx)
    np.testing.assert_array_equal(data.plan.flip, view.flip)
    np.testing.assert_array_equal(data.plan.partner, np.arange(COUNT))
    assert (data.plan.lam == 1).all()
    assert not data.plan.mixed.any()


@pytest.mark.parametrize("share", [0.1, 0.5, 1.0])
def test_with_mixup_of_a_share(share):
    plan = DrawnEpochs(AUGMENTATION, Mixup(alpha=0.4, share=share), 4, COUNT)(6).plan
    view = draw_view("mixed", recipe(4, 0.4), TRAINING_VIEWS + 6, COUNT)
    for i in range(COUNT):
        mixed = bool(view.mix_rank[i] < round(share * COUNT))
        partner = int(view.partner[i]) if mixed else i
        assert plan.mixed[i] == mixed
        assert plan.crop_yx[i].tolist() == view.crop_yx[i].tolist()
        assert plan.flip[i] == view.flip[i]
        assert plan.partner[i] == partner
        assert plan.partner_crop_yx[i].tolist() == view.crop_yx[partner].tolist()
        assert plan.partner_flip[i] == view.flip[partner]
        assert plan.lam[i] == (view.lam[i] if mixed else 1)
    assert int(plan.mixed.sum()) == round(share * COUNT)


def test_a_teacher_and_a_store_of_one_seed_see_different_views():
    plan = DrawnEpochs(AUGMENTATION, Mixup(alpha=0.4), 4, COUNT)(0).plan
    stored = draw_view("mixed", recipe(4, 0.4), 0, COUNT)
    assert (plan.partner != stored.partner).any()
    assert (plan.lam != stored.lam).any()


def test_every_epoch_and_seed_draws_anew():
    epochs = DrawnEpochs(AUGMENTATION, Mixup(alpha=1.0), 4, COUNT)
    again = DrawnEpochs(AUGMENTATION, Mixup(alpha=1.0), 4, COUNT)
    other = DrawnEpochs(AUGMENTATION, Mixup(alpha=1.0), 5, COUNT)
    np.testing.assert_array_equal(epochs(3).plan.lam, again(3).plan.lam)
    for changed in (epochs(4), other(3)):
        assert not np.array_equal(epochs(3).plan.lam, changed.plan.lam)
        assert not np.array_equal(epochs(3).plan.crop_yx, changed.plan.crop_yx)


def test_the_loss_against_a_loop():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(6, 4, generator=generator) * 3
    targets = torch.rand(6, 4, generator=generator)
    targets /= targets.sum(dim=1, keepdim=True)
    total = 0.0
    for row, target in zip(logits.tolist(), targets.tolist(), strict=True):
        normaliser = math.log(sum(math.exp(z) for z in row))
        total -= sum(y * (z - normaliser) for y, z in zip(target, row, strict=True)) / 6
    loss = hard_label_loss(logits, torch.zeros(6, 2), Batch(torch.zeros(6), targets), 0.0)
    assert loss.item() == pytest.approx(total, rel=1e-6)


def test_entries_are_read_strictly():
    content = {
        "teachers": {
            "a": {"network": "resnet20", "seed": 0, "mixup": {"alpha": 1.0}},
            "b": {"network": "vgg8", "seed": 1, "weights": {"path": "x", "sha256": "ab"}},
            "c": {"network": "vgg8", "seed": 1, "replicates": 2},
            "d": {"network": "vgg8", "seed": -1, "mixup": {"alpha": 0, "share": 1.5}},
        },
        "baselines": {"a": {"network": "resnet8", "seed": 3}},
    }
    teacher = section(content, TeacherParams, "teachers", "a")
    assert teacher == TeacherParams(network="resnet20", seed=0, mixup=Mixup(alpha=1.0, share=1.0))
    assert teacher.replicates == 1
    imported = section(content, TeacherParams, "teachers", "b")
    assert imported.weights == WeightsFile(path="x", sha256="ab")
    with pytest.raises(ParamsError, match=r"^teachers\.c\.replicates: unknown key"):
        section(content, TeacherParams, "teachers", "c")
    with pytest.raises(ParamsError) as caught:
        section(content, TeacherParams, "teachers", "d")
    paths = [problem.split(":")[0] for problem in caught.value.problems]
    assert paths == ["teachers.d.seed", "teachers.d.mixup.alpha", "teachers.d.mixup.share"]
    with pytest.raises(ParamsError, match=r"^baselines\.a\.replicates: missing"):
        section(content, BaselineParams, "baselines", "a")


class LookedAtError(Exception):
    """With the number of threads."""


def look_at_weights(file, network, name):
    raise LookedAtError(torch.get_num_threads())


def train_alone(content):
    jobs.train_on_hard_labels("teacher", {"a": Path("a")}, content, Path(), None, graph=True)


def train_in_a_wave(content):
    together.train(["train_teacher@a"], [])


@pytest.mark.parametrize("train", [train_alone, train_in_a_wave])
def test_weights_are_looked_at_by_one_thread(few_digits, monkeypatch, train):
    """Forked processes lack the other threads of this one, and would wait for them for ever."""
    weights = {"path": "w.safetensors", "sha256": "ab"}
    content = {
        "teachers": {"a": {"network": "resnet8", "seed": 0, "weights": weights}},
        "augmentation": {"pad": 2, "flip": False},
    }
    monkeypatch.setattr(jobs, "read_weights", look_at_weights)
    for module in (jobs, together):
        monkeypatch.setattr(module, "load_dataset", lambda folder, content: few_digits)
    monkeypatch.setattr(together, "load_params", lambda path: content)
    torch.set_num_threads(2)
    with pytest.raises(LookedAtError, match=r"^1$"):
        train(content)


STUDENT = {"store": "a.zarr/plain", "method": "kd", "share": 0.0}


@pytest.mark.parametrize(("kind", "more"), [(BaselineParams, {}), (StudentParams, STUDENT)])
def test_the_last_replicate_has_a_seed_too(kind, more):
    entry = {"network": "resnet8", "seed": 2**63 - 2, "replicates": 2, **more}
    assert section({"a": entry}, kind, "a").seed == entry["seed"]
    entry["replicates"] = 3
    told = rf"^a: seed: the last replicate would have {2**63}, and {2**63 - 1} is the largest"
    with pytest.raises(ParamsError, match=told):
        section({"a": entry}, kind, "a")
