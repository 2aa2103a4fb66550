"""A student's epochs from a store, against a loop over images; entries of `students`."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from store_samples import (
    DATASET,
    FEATURES,
    IMAGES,
    TEACHER,
    outputs,
    plan,
    recipe,
    write_group,
)
from workspaces import ROOT

from pipeline.core.errors import DecantError
from pipeline.core.params import ParamsError, load_yaml, section
from pipeline.distill.epochs import StoredEpochs, store_augmentation, teacher_facts
from pipeline.distill.examples import EXAMPLES, first_seen
from pipeline.distill.method import DistillationLoss
from pipeline.distill.params import Method, StudentParams, groups_of
from pipeline.distill.students import student_job
from pipeline.losses.hinton import kd
from pipeline.losses.relations import rkd
from pipeline.losses.standardised import rescaled
from pipeline.results.record import ViewFacts
from pipeline.store.read import open_store
from pipeline.views.batches import Batch
from pipeline.views.plans import image_views

VIEWS = {"plain": 5, "mixed": 3}
RKD = {"gamma": 1.0, "distance": 25.0, "angle": 50.0}


def finished(folder: Path, *writers) -> Path:
    """A store `a.zarr` of what the writers finished."""
    for writer in writers:
        for name, path in writer.files().items():
            target = folder / "a.zarr" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
    return folder / "a.zarr"


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stores")
    writers = [write_group(folder / "work", group, views) for group, views in VIEWS.items()]
    return open_store(finished(folder, *writers), groups=["plain", "mixed"])


PLANS = {group: plan(group, views) for group, views in VIEWS.items()}


def slow_row(group: str, v: int, i: int) -> dict:
    """What row i has to hold where it comes from view v of a group."""
    view = PLANS[group][v]
    partner = int(view.partner[i]) if group == "mixed" else i
    return {
        "crop": view.crop_yx[i].tolist(),
        "flip": bool(view.flip[i]),
        "partner": partner,
        "partner_crop": view.crop_yx[partner].tolist(),
        "partner_flip": bool(view.flip[partner]),
        "lam": float(view.lam[i]) if group == "mixed" else 1.0,
        "mixed": group == "mixed",
        "logits": outputs(group, v, IMAGES, 10)[i].tolist(),
        "features": outputs(group, v, IMAGES, FEATURES)[i].tolist(),
    }


def row_of(data, i: int) -> dict:
    made = data.plan
    return {
        "crop": made.crop_yx[i].tolist(),
        "flip": bool(made.flip[i]),
        "partner": int(made.partner[i]),
        "partner_crop": made.partner_crop_yx[i].tolist(),
        "partner_flip": bool(made.partner_flip[i]),
        "lam": float(made.lam[i]),
        "mixed": bool(made.mixed[i]),
        "logits": data.teacher_logits[i].tolist(),
        "features": data.teacher_features[i].tolist(),
    }


def view_of(views: int, epoch: int, replicate: int) -> int:
    return (epoch + int(views * (0.618 * replicate - int(0.618 * replicate)))) % views


@pytest.mark.parametrize("replicate", [0, 1, 2])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 1.0])
def test_one_view_an_epoch(store, share, replicate):
    epochs = StoredEpochs(store, share, replicate=replicate, seed=0, features=True)
    for epoch in (0, 1, 4, 17):
        data = epochs(epoch)
        v = {group: view_of(views, epoch, replicate) for group, views in VIEWS.items()}
        ranks = PLANS["mixed"][v["mixed"]].mix_rank
        assert data.teacher_logits.dtype == data.teacher_features.dtype == np.float16
        for i in range(IMAGES):
            group = "mixed" if ranks[i] < round(share * IMAGES) else "plain"
            assert row_of(data, i) == slow_row(group, v[group], i)
        assert int(data.plan.mixed.sum()) == round(share * IMAGES)


@pytest.mark.parametrize("replicate", [0, 1])
@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_the_first_views_of_a_store(store, share, replicate):
    """A student of two views sees what it would see in a store that holds no others."""
    options = {"replicate": replicate, "seed": 0, "views": 2, "features": True}
    epochs = StoredEpochs(store, share, **options)
    for epoch in (0, 1, 2, 17):
        data, v = epochs(epoch), view_of(2, epoch, replicate)
        ranks = PLANS["mixed"][v].mix_rank
        for i in range(IMAGES):
            group = "mixed" if ranks[i] < round(share * IMAGES) else "plain"
            assert row_of(data, i) == slow_row(group, v, i)
    assert np.array_equal(epochs(0).teacher_logits, epochs(2).teacher_logits)
    assert not np.array_equal(epochs(0).teacher_logits, epochs(1).teacher_logits)


def test_the_first_views_for_every_image(store):
    options = {"replicate": 0, "seed": 9, "views": 2, "sampling": "image", "features": True}
    data = StoredEpochs(store, 0.0, **options)(3)
    drawn = image_views(2, 3, 9, "plain", IMAGES)
    assert set(drawn.tolist()) == {0, 1}
    for i in range(IMAGES):
        assert row_of(data, i) == slow_row("plain", int(drawn[i]), i)


def test_more_views_than_the_store_has(store):
    options = {"replicate": 0, "seed": 0}
    StoredEpochs(store, 0.0, views=5, **options)
    StoredEpochs(store, 0.5, views=3, **options)
    for share, views, group, count in ((0.0, 6, "plain", 5), (0.5, 4, "mixed", 3)):
        message = rf"views: {views} are asked for, but .*a\.zarr/{group} has {count}; .*dumps\.a\."
        with pytest.raises(ValueError, match=message):
            StoredEpochs(store, share, views=views, **options)
        with pytest.raises(ValueError, match=message):
            teacher_facts(store if share else plain_only(store), views)


def plain_only(store):
    return open_store(store.folder, groups=["plain"])


def test_what_a_store_lacks_is_told_before_any_work(store):
    entry = {"store": "a.zarr/plain", "network": "resnet8", "method": "m", "share": 0, "seed": 1}
    recipe = {
        "epochs": 1,
        "batch_size": 8,
        "learning_rate": 0.1,
        "momentum": 0.9,
        "weight_decay": 0,
    }
    content = {
        "training": {**recipe, "schedule": {"name": "cosine"}},
        "methods": {"m": {"loss": "kd_soft_only", "temperature": 4.0}},
        "students": {
            name: {**entry, "replicates": 1, "views": views} for name, views in (("a", 5), ("b", 6))
        },
    }
    groups = plain_only(store)
    assert student_job("a", content, groups, lambda: first_seen(store, [])).epochs.views == 5
    with pytest.raises(DecantError, match="views: 6 are asked for"):
        student_job("b", content, groups, lambda: first_seen(store, []))


def test_rescaled_logits_of_two_classes_teach_nothing(tmp_path):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(16, 2, generator=generator, dtype=torch.float64, requires_grad=True)
    targets = torch.eye(2, dtype=torch.float64)[torch.arange(16) % 2]
    rescaled(logits, 3 * targets, targets, gamma=0.1, alpha=0.9).backward()
    assert logits.grad.abs().max() < 1e-6
    dataset = replace(DATASET, classes=2, class_names=("no", "yes"))
    folder = finished(tmp_path, write_group(tmp_path / "work", "plain", dataset=dataset))
    content = {
        **load_yaml(ROOT / "profiles" / "digits.yaml"),
        "methods": {
            "rescaled": {"loss": "rescaled", "gamma": 0.1, "alpha": 0.9},
            "kd": {"loss": "kd_soft_only", "temperature": 4.0},
        },
    }
    entry = {"store": "a.zarr/plain", "network": "resnet8", "share": 0, "seed": 1, "replicates": 1}
    content["students"] = {name: {**entry, "method": name} for name in ("rescaled", "kd")}
    store = open_store(folder, groups=["plain"])
    assert student_job("kd", content, store, lambda: first_seen(store, [])).name == "kd"
    with pytest.raises(DecantError, match="`rescaled` learns nothing from two classes"):
        student_job("rescaled", content, store, lambda: first_seen(store, []))


@pytest.mark.parametrize("alpha", ["1.0", True, [1.0]])
def test_a_mixup_whose_alpha_is_no_number_is_told_before_any_work(tmp_path, alpha):
    odd = replace(TEACHER, training={"mixup": {"alpha": alpha}})
    writer = write_group(tmp_path / "work", "plain", 1, teacher=odd)
    store = open_store(finished(tmp_path, writer), groups=["plain"])
    content = load_yaml(ROOT / "profiles" / "digits.yaml")
    entry = {"store": "a.zarr/plain", "network": "resnet8", "method": "kd", "share": 0, "seed": 1}
    content["students"] = {"a": {**entry, "replicates": 1}}
    with pytest.raises(DecantError, match=r"a.zarr: states a mixup .* whose alpha is no number"):
        student_job("a", content, store, lambda: first_seen(store, []))


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 1.0])
def test_a_view_for_every_image(store, share):
    epochs = StoredEpochs(store, share, replicate=1, seed=9, sampling="image", features=True)
    for epoch in (0, 3):
        data = epochs(epoch)
        drawn = {g: image_views(views, epoch, 9, g, IMAGES) for g, views in VIEWS.items()}
        assert len(set(drawn["mixed"].tolist())) == 3
        ranks = PLANS["mixed"][view_of(3, epoch, 1)].mix_rank
        for i in range(IMAGES):
            group = "mixed" if ranks[i] < round(share * IMAGES) else "plain"
            assert row_of(data, i) == slow_row(group, int(drawn[group][i]), i)
        assert int(data.plan.mixed.sum()) == round(share * IMAGES)
    other = StoredEpochs(store, share, replicate=1, seed=10, sampling="image", features=True)
    assert not np.array_equal(other(0).teacher_logits, epochs(0).teacher_logits)


def test_shares_are_nested(store):
    before = np.zeros(IMAGES, bool)
    for share in (0.0, 0.1, 0.5, 0.9, 1.0):
        mixed = StoredEpochs(store, share, replicate=0, seed=0)(2).plan.mixed
        assert (mixed | before).tolist() == mixed.tolist()
        before = mixed


def test_replicates_start_at_views_of_their_own(store):
    first = [StoredEpochs(store, 0.0, replicate=r, seed=0)(0).teacher_logits for r in range(3)]
    assert not np.array_equal(first[0], first[1])
    assert not np.array_equal(first[1], first[2])


@pytest.mark.parametrize("sampling", ["epoch", "image"])
@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_features_come_on_request_only(store, share, sampling):
    options = {"replicate": 0, "seed": 0, "sampling": sampling}
    assert StoredEpochs(store, share, **options)(0).teacher_features is None
    features = StoredEpochs(store, share, **options, features=True)(0).teacher_features
    assert features.shape == (IMAGES, FEATURES)


def two_groups(folder, *, features=(FEATURES, FEATURES), plain_teacher=TEACHER, **mixed_changes):
    plain = write_group(folder / "work", "plain", 2, features[0], teacher=plain_teacher)
    mixed = write_group(folder / "work", "mixed", 2, features[1], **mixed_changes)
    return open_store(finished(folder, plain, mixed), groups=["plain", "mixed"])


def test_features_that_are_not_there(tmp_path):
    store = two_groups(tmp_path, features=(FEATURES, None))
    options = {"replicate": 0, "seed": 0}
    StoredEpochs(store, 0.5, **options)
    StoredEpochs(store, 0.0, **options, features=True)
    for share in (0.5, 1.0):
        with pytest.raises(ValueError, match=r"a\.zarr/mixed holds no features.* features: true"):
            StoredEpochs(store, share, **options, features=True)


def test_groups_of_different_teachers_are_not_mixed(tmp_path):
    other = replace(TEACHER, weights_sha256="ef" * 32)
    store = two_groups(tmp_path, teacher=other)
    with pytest.raises(ValueError, match=r"different weights.*dump@a"):
        StoredEpochs(store, 0.5, replicate=0, seed=0)
    StoredEpochs(store, 1.0, replicate=0, seed=0)


def test_groups_of_teachers_without_a_digest_are_compared_by_what_is_said(tmp_path):
    """Imported logits have none."""
    unknown = replace(TEACHER, weights_sha256=None)
    store = two_groups(tmp_path / "same", plain_teacher=unknown, teacher=unknown)
    StoredEpochs(store, 0.5, replicate=0, seed=0)
    other = replace(unknown, network="resnet56")
    store = two_groups(tmp_path / "other", plain_teacher=unknown, teacher=other)
    with pytest.raises(ValueError, match=r"different weights.*dump@a"):
        StoredEpochs(store, 0.5, replicate=0, seed=0)


def test_features_of_two_widths_are_refused(tmp_path):
    store = two_groups(tmp_path, features=(FEATURES, FEATURES + 1))
    StoredEpochs(store, 0.5, replicate=0, seed=0)
    with pytest.raises(ValueError, match="of different widths"):
        StoredEpochs(store, 0.5, replicate=0, seed=0, features=True)


@pytest.mark.parametrize("change", [{"pad": 3}, {"flip": False}])
def test_groups_of_different_augmentation_are_not_mixed(tmp_path, change):
    store = two_groups(tmp_path, recipe=replace(recipe("mixed"), **change))
    assert store_augmentation(store) == recipe("plain").augmentation
    with pytest.raises(ValueError, match="different padding or flips"):
        StoredEpochs(store, 0.5, replicate=0, seed=0)


@pytest.mark.parametrize(
    ("share", "groups", "store"),
    [
        (0.0, ("plain",), "t.zarr/plain"),
        (0.001, ("plain", "mixed"), "t.zarr"),
        (0.5, ("plain", "mixed"), "t.zarr"),
        (1.0, ("mixed",), "t.zarr/mixed"),
    ],
)
def test_store_and_share_agree(share, groups, store):
    assert groups_of(share) == groups
    entry = {"network": "resnet8", "method": "kd", "share": share, "seed": 1, "replicates": 2}
    student = section({"s": {**entry, "store": store}}, StudentParams, "s")
    assert student.teacher == "t"
    for wrong in {"t.zarr", "t.zarr/plain", "t.zarr/mixed", "t.zarr/clean"} - {store}:
        with pytest.raises(ParamsError) as caught:
            section({"s": {**entry, "store": wrong}}, StudentParams, "s")
        (problem,) = caught.value.problems
        assert problem.startswith(f"s: store: a student of share {share:g} reads ")
        assert problem.endswith(f"write {store}, found {wrong!r}")


@pytest.mark.parametrize("store", ["", "t", "t/plain", "../t.zarr/plain", "/t.zarr/plain"])
def test_what_is_no_store(store):
    entry = {"network": "resnet8", "method": "kd", "share": 0, "seed": 1, "replicates": 2}
    with pytest.raises(ParamsError, match=r"s: store: expected TEACHER\.zarr or a group of one"):
        section({"s": {**entry, "store": store}}, StudentParams, "s")


@pytest.mark.parametrize("share", [-0.1, 1.1, "half", None])
def test_impossible_shares(share):
    entry = {"network": "resnet8", "method": "kd", "share": share, "seed": 1, "replicates": 2}
    with pytest.raises(ParamsError, match=r"s\.share: expected a number between 0 and 1"):
        section({"s": {**entry, "store": "t.zarr"}}, StudentParams, "s")


def test_method_losses_get_everything_that_a_method_may_use():
    generator = torch.Generator().manual_seed(0)
    made = [torch.randn(6, width, generator=generator) for width in (4, 3, 4, 5)]
    logits, features, teacher_logits, teacher_features = made
    targets = torch.softmax(torch.randn(6, 4, generator=generator), dim=1)
    batch = Batch(torch.zeros(6), targets, teacher_logits, teacher_features)
    options = {"temperature": 4.0, "gamma": 0.1, "alpha": 0.9}
    expected = kd(logits, teacher_logits, targets, **options)
    method = Method.parse("kd", {"loss": "kd", **options})
    assert torch.equal(DistillationLoss(method)(logits, features, batch, 1.5), expected)
    on_features = Method.parse("r", {"loss": "rkd", **RKD})
    expected = rkd(logits, features, teacher_features, targets, **RKD)
    assert torch.equal(DistillationLoss(on_features)(logits, features, batch, 1.5), expected)
    made = DistillationLoss(method), DistillationLoss(on_features)
    assert [loss.needs_features for loss in made] == [False, True]


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ({}, "loss: missing"),
        ({"loss": "kdd", "temperature": 4.0}, r"no loss 'kdd'; did you mean kd\? Valid: kd, "),
        ({"loss": 3}, "loss: expected the name of a loss, found 3"),
        ({"loss": ["kd"]}, "loss: expected the name of a loss, found .'kd'."),
        ({"loss": "kd_soft_only", "temperature": 10**310}, "temperature must be a number"),
        ({"loss": "kd_soft_only"}, "loss 'kd_soft_only': missing hyper-parameter 'temperature'"),
        ({"loss": "kd_soft_only", "temperature": "hot"}, "temperature must be a number"),
        ({"loss": "kd_soft_only", "temperature": 4.0, "gamma": 1}, "gamma"),
    ],
)
def test_methods_that_are_wrong(entry, expected):
    with pytest.raises(ValueError, match=expected):
        DistillationLoss(Method.parse("m", entry))


def test_what_a_record_says_of_the_teacher(store, tmp_path):
    facts = teacher_facts(store)
    assert facts.weights_sha256 == TEACHER.weights_sha256
    assert facts.mixup_alpha is None
    assert facts.views == {
        "plain": ViewFacts(views=5, draw="stratified", alpha=None),
        "mixed": ViewFacts(views=3, draw="stratified", alpha=1.0),
    }
    assert facts.store == {g: store.group(g).manifest.digest for g in ("plain", "mixed")}
    mixup = {"alpha": 0.4, "share": 1.0}
    mixed = replace(TEACHER, training={**TEACHER.training, "mixup": mixup})
    writer = write_group(tmp_path / "work", "plain", 1, teacher=mixed)
    other = open_store(finished(tmp_path, writer), groups=["plain"])
    assert teacher_facts(other).mixup_alpha == 0.4
    assert list(teacher_facts(other).views) == ["plain"]
    read = teacher_facts(store, 2).views
    assert {group: drawn.views for group, drawn in read.items()} == {"plain": 2, "mixed": 2}


def test_a_record_tells_of_a_few_images_as_the_first_view_has_them(store):
    labels = (np.arange(IMAGES) % 10).astype(np.int32)
    facts = first_seen(store, labels)
    assert (facts.group, facts.view, len(facts.images)) == ("mixed", 0, EXAMPLES)
    assert len({example.image.index for example in facts.images}) == EXAMPLES
    for example in facts.images:
        row = slow_row("mixed", 0, example.image.index)
        assert (list(example.image.crop_yx), example.image.flip) == (row["crop"], row["flip"])
        assert example.partner.index == row["partner"]
        assert list(example.partner.crop_yx) == row["partner_crop"]
        assert (example.partner.flip, example.lam) == (row["partner_flip"], row["lam"])
        weights = np.exp(row["logits"])
        order = sorted(range(10), key=lambda c: -row["logits"][c])[:5]
        assert [number for number, _ in example.likely] == order
        shown = [probability for _, probability in example.likely]
        assert shown == pytest.approx(list(weights[order] / weights.sum()), abs=1e-6)
    plain = first_seen(plain_only(store), labels)
    assert plain.group == "plain"
    assert all(example.partner is example.lam is None for example in plain.images)
    assert teacher_facts(store, seen=facts).seen == facts


def test_the_augmentation_of_a_store(store):
    assert store_augmentation(store) == recipe("plain").augmentation
