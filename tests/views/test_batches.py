"""Batches compared with one image at a time: PIL for crops and flips, float64 for the rest."""

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from pipeline.views.batches import (
    EpochData,
    ImageBank,
    ViewBatches,
    clean_epoch,
)
from pipeline.views.params import Augmentation
from pipeline.views.plans import EpochPlan, View, ViewRecipe, draw_view, mixed_rows, plan_of

CPU = torch.device("cpu")
MEAN, STD = (0.48, 0.51, 0.2), (0.25, 0.2, 0.31)


def colours(count: int = 24, height: int = 9, width: int = 9) -> np.ndarray:
    """Random pixels, so that a wrong channel, row or column shows."""
    generator = np.random.default_rng(0)
    return generator.integers(0, 256, (count, height, width, 3), dtype=np.uint8)


def recipe(pad: int, flip: bool) -> ViewRecipe:
    return ViewRecipe(pad=pad, flip=flip, draw="random", alpha=1.0, seed=1)


def pil_crop(image: np.ndarray, pad: int, corner, flip: bool) -> np.ndarray:
    """One crop, the slow way: pad with black, cut, mirror."""
    height, width, _ = image.shape
    y, x = int(corner[0]), int(corner[1])
    padded = ImageOps.expand(Image.fromarray(image), border=pad, fill=0)
    cut = padded.crop((x, y, x + width, y + height))
    return np.asarray(ImageOps.mirror(cut) if flip else cut)


def slow_image(images: np.ndarray, pad: int, view: View, i: int) -> np.ndarray:
    """One normalised image of a view in float64: [3, H, W]."""
    pixels = pil_crop(images[i], pad, view.crop_yx[i], bool(view.flip[i])).astype(np.float64)
    return ((pixels / 255 - np.array(MEAN)) / np.array(STD)).transpose(2, 0, 1)


def slow_mixed(images: np.ndarray, pad: int, view: View, i: int) -> np.ndarray:
    lam = float(view.lam[i])
    own, other = (slow_image(images, pad, view, k) for k in (i, int(view.partner[i])))
    return lam * own + (1 - lam) * other


def tensors(view: View) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.from_numpy(view.crop_yx), torch.from_numpy(view.flip)


BY_INDEX = pytest.mark.parametrize("by_index", [False, True], ids=["rows", "index"])


@BY_INDEX
@pytest.mark.parametrize("size", [(9, 9), (7, 12)], ids=["square", "wide"])
@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("pad", [0, 1, 4])
def test_crops_equal_pil_bit_for_bit(pad, flip, size, by_index):
    images = colours(60, *size)
    augmentation = Augmentation(pad=pad, flip=flip)
    bank = ImageBank(images, MEAN, STD, augmentation, CPU, by_index=by_index)
    for v in range(3):
        view = draw_view("plain", recipe(pad, flip), v, 60)
        rows = torch.from_numpy(np.random.default_rng(v).permutation(60)[:37])
        crop_yx, flips = (array[rows] for array in tensors(view))
        crops = bank.crops(rows, crop_yx, flips)
        expected = np.stack(
            [pil_crop(images[i], pad, view.crop_yx[i], bool(view.flip[i])) for i in rows.tolist()]
        )
        assert crops.dtype == torch.uint8
        np.testing.assert_array_equal(crops.numpy(), expected)


@BY_INDEX
def test_crops_of_every_corner(digits, by_index):
    images = digits.train.images[:1]
    augmentation = Augmentation(pad=2, flip=True)
    bank = ImageBank(images, MEAN, STD, augmentation, CPU, by_index=by_index)
    for y in range(5):
        for x in range(5):
            for flip in (False, True):
                crop = bank.crops(
                    torch.tensor([0]),
                    torch.tensor([[y, x]], dtype=torch.uint8),
                    torch.tensor([flip]),
                )
                np.testing.assert_array_equal(crop[0].numpy(), pil_crop(images[0], 2, (y, x), flip))


@BY_INDEX
def test_crops_outside_the_padding_are_refused(by_index):
    augmentation = Augmentation(pad=1, flip=False)
    bank = ImageBank(colours(), MEAN, STD, augmentation, CPU, by_index=by_index)
    for corner in ((3, 0), (0, 3)):
        with pytest.raises(IndexError, match=r"within 0\.\.2"):
            bank.crops(torch.tensor([0]), torch.tensor([corner]), torch.tensor([False]))
    with pytest.raises(IndexError, match="flips: False"):
        bank.crops(torch.tensor([0]), torch.tensor([[0, 0]]), torch.tensor([True]))


@BY_INDEX
def test_the_bank_keeps_a_copy_of_the_images(by_index):
    images = colours()
    augmentation = Augmentation(pad=0, flip=False)
    bank = ImageBank(images, MEAN, STD, augmentation, CPU, by_index=by_index)
    wanted = images.copy()
    images[:] = 0
    rows = torch.arange(24)
    crops = bank.crops(rows, torch.zeros(24, 2, dtype=torch.uint8), torch.zeros(24, dtype=bool))
    np.testing.assert_array_equal(crops.numpy(), wanted)


def test_normalisation_against_float64():
    bank = ImageBank(colours(24, 4, 4), MEAN, STD, Augmentation(pad=0, flip=False), CPU)
    pixels = np.repeat(np.arange(256, dtype=np.uint8), 3).reshape(16, 4, 4, 3)
    values = bank.normalise(torch.from_numpy(pixels))
    expected = ((pixels / 255 - np.array(MEAN)) / np.array(STD)).transpose(0, 3, 1, 2)
    assert values.dtype == torch.float32
    assert values.shape == (16, 3, 4, 4)
    assert values.is_contiguous(memory_format=torch.channels_last)
    np.testing.assert_allclose(values.numpy(), expected, rtol=0, atol=1e-6)
    assert np.array_equal(pixels.ravel()[:3], [0, 0, 0])  # the input is left alone


def unstarted(images, pad: int, flip: bool, *, by_index=False, classes: int = 5) -> ViewBatches:
    augmentation = Augmentation(pad=pad, flip=flip)
    bank = ImageBank(images, MEAN, STD, augmentation, CPU, by_index=by_index)
    labels = (np.arange(len(images)) % classes).astype(np.int32)
    return ViewBatches(bank, labels, classes)


def started(images, data: EpochData, pad: int, flip: bool, *, by_index=False) -> ViewBatches:
    batches = unstarted(images, pad, flip, by_index=by_index)
    batches.start(data)
    return batches


def half_mixed(share: float, count: int = 24) -> tuple[EpochPlan, View, View]:
    plain = draw_view("plain", recipe(2, True), 0, count)
    mixed = draw_view("mixed", recipe(2, True), 1, count)
    plan = EpochPlan.blank(mixed_rows(mixed.mix_rank, share))
    plan.fill(mixed, plan.mixed)
    plan.fill(plain, ~plan.mixed)
    return plan, plain, mixed


@BY_INDEX
@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_images_against_one_at_a_time(share, by_index):
    images = colours()
    plan, plain, mixed = half_mixed(share)
    batches = started(images, EpochData(plan), 2, True, by_index=by_index)
    rows = torch.tensor([3, 0, 17, 23, 9, 5, 11, 2])
    got = batches.images(rows)
    assert got.is_contiguous(memory_format=torch.channels_last)
    for k, i in enumerate(rows.tolist()):
        slow = slow_mixed if plan.mixed[i] else slow_image
        expected = slow(images, 2, mixed if plan.mixed[i] else plain, i)
        np.testing.assert_allclose(got[k].numpy(), expected, rtol=0, atol=2e-6)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_both_ways_to_gather_give_the_same_bits(share):
    plan, _, _ = half_mixed(share)
    rows = torch.from_numpy(np.random.default_rng(3).permutation(24)[:19])
    by_rows = started(colours(), EpochData(plan), 2, True)
    by_index = started(colours(), EpochData(plan), 2, True, by_index=True)
    assert torch.equal(by_rows.images(rows), by_index.images(rows))
    assert torch.equal(by_rows.targets(rows), by_index.targets(rows))


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_rows_do_not_depend_on_their_neighbours(share):
    """A student's batch, part plain and part mixed, holds the very bits that the teacher saw."""
    images = colours()
    plan, plain, mixed = half_mixed(share)
    rows = torch.from_numpy(np.random.default_rng(2).permutation(24))
    together = started(images, EpochData(plan), 2, True).images(rows)
    teacher = {
        False: started(images, EpochData(plan_of(plain)), 2, True).images(torch.arange(24)),
        True: started(images, EpochData(plan_of(mixed)), 2, True).images(torch.arange(24)),
    }
    assert plan.mixed.any()
    assert not plan.mixed.all()
    for k, i in enumerate(rows.tolist()):
        assert torch.equal(together[k], teacher[bool(plan.mixed[i])][i])


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_targets_against_a_loop(share):
    plan, _, mixed = half_mixed(share)
    batches = started(colours(), EpochData(plan), 2, True)
    rows = torch.tensor([23, 0, 4, 4, 7, 12, 13, 14])
    got = batches.targets(rows).numpy()
    expected = np.zeros((len(rows), 5))
    for k, i in enumerate(rows.tolist()):
        if plan.mixed[i]:
            lam = float(mixed.lam[i])
            expected[k, i % 5] += lam
            expected[k, int(mixed.partner[i]) % 5] += 1 - lam
        else:
            expected[k, i % 5] = 1
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-7)
    np.testing.assert_allclose(got.sum(axis=1), 1, rtol=0, atol=1e-6)
    for k, i in enumerate(rows.tolist()):
        if not plan.mixed[i]:
            assert np.array_equal(got[k], expected[k])


def test_batch_holds_the_teachers_rows():
    plan, _, _ = half_mixed(0.5)
    generator = np.random.default_rng(0)
    logits = generator.normal(size=(24, 5)).astype(np.float16)
    features = generator.normal(size=(24, 3)).astype(np.float16)
    batches = started(colours(), EpochData(plan, logits, features), 2, True)
    rows = torch.tensor([5, 1, 20])
    batch = batches.batch(rows)
    assert batch.teacher_logits.dtype == batch.teacher_features.dtype == torch.float32
    np.testing.assert_array_equal(batch.teacher_logits.numpy(), logits[[5, 1, 20]])
    np.testing.assert_array_equal(batch.teacher_features.numpy(), features[[5, 1, 20]])
    assert torch.equal(batch.images, batches.images(rows))
    assert torch.equal(batch.targets, batches.targets(rows))
    batches.start(EpochData(plan))
    assert batches.batch(rows).teacher_logits is None
    assert batches.batch(rows).teacher_features is None


def test_starting_another_epoch_replaces_all_of_the_last(digits):
    images = digits.train.images[:24]
    mixed, plain = half_mixed(1.0)[0], half_mixed(0.0)[0]
    logits = np.ones((24, 5), np.float16)
    batches = started(images, EpochData(mixed, logits), 2, True)
    rows = torch.arange(24)
    batches.start(EpochData(plain))
    fresh = started(images, EpochData(plain), 2, True)
    assert torch.equal(batches.images(rows), fresh.images(rows))
    assert torch.equal(batches.targets(rows), fresh.targets(rows))
    assert batches.batch(rows).teacher_logits is None


def epoch_data(share: float, seed: int) -> EpochData:
    logits = np.random.default_rng(seed).normal(size=(24, 5)).astype(np.float16)
    return EpochData(half_mixed(share)[0], logits)


def test_the_next_epoch_lies_where_the_last_one_lay():
    """What a recorded step relies on."""
    batches = unstarted(colours(), 2, True)
    batches.start(epoch_data(0.3, 0))
    layout = batches.layout
    batches.start(epoch_data(0.9, 1))
    assert batches.layout == layout
    batches.start(epoch_data(0.0, 2))
    assert batches.layout != layout  # nothing is mixed: another step
    batches.start(epoch_data(0.3, 0))
    assert batches.layout == layout


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_staged_epochs_are_the_epochs(share):
    rows = torch.arange(24)
    data = epoch_data(share, 0)
    staged = unstarted(colours(), 2, True)
    staged.start(staged.stage(data))
    direct = started(colours(), data, 2, True).batch(rows)
    for name, value in vars(staged.batch(rows)).items():
        other = getattr(direct, name)
        assert (value is None and other is None) or torch.equal(value, other), name


def test_a_staged_epoch_outlives_the_current_one():
    """Two epochs are read while one trains; starting one leaves the other alone."""
    rows = torch.arange(24)
    batches = unstarted(colours(), 2, True)
    first, second = (batches.stage(epoch_data(0.5, seed)) for seed in (0, 1))
    batches.start(first)
    before = batches.batch(rows)
    batches.start(second)
    between = batches.batch(rows)
    batches.start(first)
    assert torch.equal(batches.batch(rows).teacher_logits, before.teacher_logits)
    assert not torch.equal(between.teacher_logits, before.teacher_logits)


@BY_INDEX
def test_clean_images(by_index):
    images = colours()
    augmentation = Augmentation(pad=3, flip=True)
    bank = ImageBank(images, MEAN, STD, augmentation, CPU, by_index=by_index)
    np.testing.assert_array_equal(bank.cut(bank.clean_places).numpy(), images)


@pytest.mark.parametrize("pad", [0, 3])
def test_the_clean_epoch_augments_nothing(pad):
    images = colours()
    batches = started(images, clean_epoch(24, pad), pad, False)
    got = batches.images(torch.arange(24)).numpy()
    expected = ((images / 255 - np.array(MEAN)) / np.array(STD)).transpose(0, 3, 1, 2)
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-6)
    assert torch.equal(batches.targets(torch.arange(24)).argmax(dim=1), torch.arange(24) % 5)
