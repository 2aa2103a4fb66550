"""Stored logits are what the teacher says of the very images that a student sees.

Real digits, a trained resnet20 as the teacher, a resnet8 as the student; plain and mixed views.
Images are flipped too, so that every array of a plan plays its part.
"""

import contextlib
import copy
import shutil
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from store_samples import TEACHER

from pipeline.core.dataset import ImageData, Split, fingerprint
from pipeline.distill.epochs import StoredEpochs
from pipeline.distill.method import DistillationLoss
from pipeline.distill.params import Method, groups_of
from pipeline.dump.dump import dump_group, view_recipe
from pipeline.dump.params import DumpParams, MixedViews, PlainViews
from pipeline.hard_labels.epochs import DrawnEpochs, hard_label_loss
from pipeline.hard_labels.params import Mixup
from pipeline.models.network import Network
from pipeline.models.registry import build
from pipeline.store.format.manifest import Header, describe_dataset
from pipeline.store.read import Store, open_store
from pipeline.training.loop import fit
from pipeline.training.params import Schedule, TrainingParams
from pipeline.training.trainer import TestSet, Trainer
from pipeline.views.batches import EpochData, ImageBank, ViewBatches
from pipeline.views.params import Augmentation
from pipeline.views.plans import EpochPlan, draw_view
from pipeline.views.predict import clean_bank

CPU = torch.device("cpu")
AUGMENTATION = Augmentation(pad=2, flip=True)
IMAGES, BATCH, VIEWS = 640, 64, 5  # ten steps an epoch, fifty steps in as many epochs as views
DUMP = DumpParams(
    seed=3,
    batch_size=256,
    plain=PlainViews(views=VIEWS, draw="stratified", features=True),
    mixed=MixedViews(views=VIEWS, draw="stratified", alpha=1.0, features=True),
)
TRAINING = TrainingParams(
    epochs=VIEWS,
    batch_size=BATCH,
    learning_rate=0.05,
    momentum=0.9,
    weight_decay=5e-4,
    schedule=Schedule(name="cosine"),
)
KD = {"temperature": 4.0, "gamma": 0.1, "alpha": 0.9}
METHOD = Method.parse("kd", {"loss": "kd", **KD})


@dataclass(frozen=True)
class World:
    data: ImageData
    teacher: Network
    store: Store

    def batches(self) -> ViewBatches:
        data = self.data
        bank = ImageBank(data.train.images, data.mean, data.std, AUGMENTATION, CPU)
        return ViewBatches(bank, data.train.labels, 10)

    def test_set(self) -> TestSet:
        data = self.data
        return TestSet(clean_bank(data.test.images, data.mean, data.std, CPU), data.test.labels)


def some_digits(digits: ImageData) -> ImageData:
    train = Split(digits.train.images[:IMAGES], digits.train.labels[:IMAGES])
    names = digits.class_names
    return replace(digits, train=train, fingerprint=fingerprint(train, digits.test, names))


@pytest.fixture(scope="module")
def world(digits, tmp_path_factory) -> World:
    data, folder = some_digits(digits), tmp_path_factory.mktemp("consistency")
    torch.manual_seed(0)
    made = World(data, build("resnet20", 10), store=None)
    drawn = DrawnEpochs(AUGMENTATION, Mixup(alpha=1.0, share=0.3), 0, IMAGES)
    trainer = Trainer(made.teacher, made.batches(), drawn, hard_label_loss, TRAINING, seed=0)
    assert fit(trainer, made.test_set()).test_top1_accuracy[-1] > 0.5
    made.teacher.eval()
    for group in ("clean", "plain", "mixed"):
        header = Header(
            group=group,
            dataset=describe_dataset(data),
            teacher=TEACHER,
            recipe=view_recipe(DUMP, group, AUGMENTATION),
            batch_size=DUMP.batch_size,
            precision="float32",
            tolerance=0.02,
            versions={"torch": torch.__version__},
        )
        files = dump_group(made.teacher, header, DUMP, data, CPU, folder / "work")
        for name, path in files.items():
            (folder / "t.zarr" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, folder / "t.zarr" / name)
    groups = ["clean", "plain", "mixed"]
    store = open_store(folder / "t.zarr", groups=groups, dataset=describe_dataset(data))
    return World(data, made.teacher, store)


def shown(world: World, plan: dict[str, np.ndarray], v: int, i: int) -> np.ndarray:
    """Image i as view v shows it, unmixed: PIL for the pixels, float64 [3, H, W] for the rest."""
    image = Image.fromarray(world.data.train.images[i])
    y, x = plan["crop_yx"][v, i].tolist()
    padded = ImageOps.expand(image, border=AUGMENTATION.pad, fill=0)
    crop = padded.crop((x, y, x + image.width, y + image.height))
    if plan["flip"][v, i]:
        crop = ImageOps.mirror(crop)
    normalised = np.empty((3, image.height, image.width))
    for channel in range(3):
        pixels = np.asarray(crop)[:, :, channel].astype(np.float64) / 255
        normalised[channel] = (pixels - world.data.mean[channel]) / world.data.std[channel]
    return normalised


def slow_answer(world: World, group: str, v: int, i: int) -> tuple[np.ndarray, np.ndarray]:
    """The teacher's float32 logits and features of one image, made from the stored plan alone."""
    plan = world.store.group(group).plan_arrays()
    image = shown(world, plan, v, i)
    if group == "mixed":
        lam = float(plan["lam"][v, i])
        image = lam * image + (1 - lam) * shown(world, plan, v, int(plan["partner"][v, i]))
    teacher = copy.deepcopy(world.teacher).to(memory_format=torch.contiguous_format)
    with torch.no_grad():
        logits, features = teacher.forward_features(torch.from_numpy(image[np.newaxis]).float())
    return logits[0].numpy(), features[0].numpy()


def rounding(values: np.ndarray) -> np.ndarray:
    """Half a unit in float16's last place, and what another order of float32 sums may add."""
    return np.spacing(np.abs(values.astype(np.float16))).astype(np.float64) / 2 + 1e-4


@pytest.mark.parametrize("group", ["plain", "mixed"])
def test_stored_answers_are_those_to_the_stored_plan(world, group):
    views = world.store.group(group)
    generator = np.random.default_rng(1)
    pairs = {(int(generator.integers(VIEWS)), int(generator.integers(IMAGES))) for _ in range(40)}
    assert len(pairs) > 30
    apart = 0
    for v, i in pairs:
        logits, features = slow_answer(world, group, v, i)
        assert (np.abs(logits - views.logits(v)[i]) <= rounding(logits)).all()
        assert (np.abs(features - views.features(v)[i]) <= rounding(features)).all()
        other = views.logits((v + 1) % VIEWS)[i]
        apart += bool((np.abs(logits - other) > 10 * rounding(logits)).any())
    assert apart > 0.9 * len(pairs)  # what another view would say lies far outside the bounds


def test_views_show_every_kind_of_row(world):
    plan = world.store.group("mixed").plan_arrays()
    assert set(plan["flip"].ravel().tolist()) == {False, True}
    assert len(np.unique(plan["crop_yx"].reshape(-1, 2), axis=0)) == 25
    assert 0.4 < plan["lam"].mean() < 0.6


def test_clean_answers(world):
    for split, images in (("train", world.data.train.images), ("test", world.data.test.images)):
        for i in (0, 17, 259, len(images) - 1):
            pixels = (images[i] / 255 - np.array(world.data.mean)) / np.array(world.data.std)
            batch = torch.from_numpy(pixels.transpose(2, 0, 1)[np.newaxis]).float()
            with torch.no_grad():
                logits, features = (out[0].numpy() for out in world.teacher.forward_features(batch))
            stored = world.store.clean
            assert (np.abs(logits - stored.logits(split)[i]) <= rounding(logits)).all()
            assert (np.abs(features - stored.features(split)[i]) <= rounding(features)).all()


def drawn_plan(epoch: int, share: float) -> tuple[EpochPlan, dict[str, Any]]:
    """The plan of an epoch, drawn and not read, and the views that it is made of."""
    views = {
        group: draw_view(group, view_recipe(DUMP, group, AUGMENTATION), epoch, IMAGES)
        for group in groups_of(share)
    }
    mixed = np.full(IMAGES, share == 1)
    if len(views) == 2:
        mixed = views["mixed"].mix_rank < round(share * IMAGES)
    plan = EpochPlan.blank(mixed)
    for group, view in views.items():
        plan.fill(view, mixed if group == "mixed" else ~mixed)
    return plan, views


def live_epoch(world: World, epoch: int, share: float) -> EpochData:
    """What the store holds of an epoch, asked of the teacher itself, in the dump's batches."""
    plan, views = drawn_plan(epoch, share)
    batches = world.batches()
    logits = np.empty((IMAGES, 10), np.float16)
    for group, view in views.items():
        whole = EpochPlan.blank(np.full(IMAGES, group == "mixed"))
        whole.fill(view, np.arange(IMAGES))
        batches.start(EpochData(whole))
        rows = torch.arange(IMAGES).split(DUMP.batch_size)
        with torch.no_grad():
            answers = torch.cat([world.teacher(batches.images(chosen)) for chosen in rows])
        chosen = plan.mixed if group == "mixed" else ~plan.mixed
        logits[chosen] = answers.half().numpy()[chosen]
    return EpochData(plan, logits)


class EnoughError(Exception):
    """Raised after the wanted number of steps."""


def train_student(world: World, source, loss, steps: int, training=TRAINING):
    """Losses of the first steps of a student, and its weights after them."""
    torch.manual_seed(5)
    trainer = Trainer(build("resnet8", 10), world.batches(), source, loss, training, seed=5)
    losses: list[float] = []

    def on_step(trainer, value):
        losses.append(value.item())
        if len(losses) == steps:
            raise EnoughError

    with contextlib.suppress(EnoughError):
        fit(trainer, world.test_set(), on_step=on_step)
    assert len(losses) == steps
    return np.array(losses), trainer.network.state_dict()


def stored_source(world: World, share: float, replicate: int = 0) -> StoredEpochs:
    return StoredEpochs(world.store, share, replicate=replicate, seed=0)


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_a_student_of_the_store_is_one_of_the_live_teacher(world, share):
    """The same bits after fifty steps, where the live teacher answers as the dump did."""
    epochs = [live_epoch(world, epoch, share) for epoch in range(VIEWS)]
    loss = DistillationLoss(METHOD)
    losses, weights = train_student(world, stored_source(world, share), loss, 50)
    live_losses, live_weights = train_student(world, epochs.__getitem__, loss, 50)
    np.testing.assert_array_equal(losses, live_losses)
    for name, value in weights.items():
        assert torch.equal(value, live_weights[name]), name
    assert losses[-5:].mean() < 0.7 * losses[:5].mean()  # it does learn


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_losses_follow_those_of_online_distillation(world, share):
    """The teacher runs in float32 on each of the student's batches; nothing is stored or rounded.

    Training amplifies any difference, the more the larger its steps: at a learning rate of 0.05
    the rounding of the logits to float16, or noise of 1e-6 on them, moves a loss by up to 1e-2
    within twenty steps. Small steps keep what the runs see apart from what training makes of it.
    """
    training = replace(TRAINING, learning_rate=0.003)

    def online(logits, features, batch, epoch):
        assert batch.teacher_logits is None
        with torch.no_grad():
            teacher_logits, teacher_features = world.teacher.forward_features(batch.images)
        taught = replace(batch, teacher_logits=teacher_logits, teacher_features=teacher_features)
        return DistillationLoss(METHOD)(logits, features, taught, epoch)

    def plans(epoch):
        return EpochData(drawn_plan(epoch, share)[0])

    loss = DistillationLoss(METHOD)
    stored, _ = train_student(world, stored_source(world, share), loss, 20, training)
    live, _ = train_student(world, plans, online, 20, training)
    assert np.abs(stored - live).max() < 1e-3
    other, _ = train_student(world, stored_source(world, share, replicate=1), loss, 5, training)
    assert np.abs(stored[:5] - other).max() > 1e-2  # other views give other losses
