"""Prediction: the network's own answers, in order, leaving the network as it was."""

import copy

import numpy as np
import pytest
import torch

from pipeline.models.registry import build
from pipeline.views.batches import EpochData, ImageBank, ViewBatches
from pipeline.views.params import Augmentation
from pipeline.views.plans import ViewRecipe, draw_view, plan_of
from pipeline.views.predict import clean_bank, place, predict, predict_clean, predict_epoch

CPU = torch.device("cpu")


@pytest.fixture
def network(tiny_network, few_digits):
    """A tiny network whose running statistics differ from a batch's."""
    made = tiny_network(10)
    bank = clean_bank(few_digits.train.images, few_digits.mean, few_digits.std, CPU)
    with torch.no_grad():
        made.forward(bank.normalise(torch.from_numpy(few_digits.train.images[:50])))
    return made


def slow_logits(network, images, data):
    """One image at a time, normalised in float64."""
    reference = copy.deepcopy(network).eval()
    rows = []
    for image in images:
        pixels = (image / 255 - np.array(data.mean)) / np.array(data.std)
        batch = torch.from_numpy(pixels.transpose(2, 0, 1)[None]).float()
        with torch.no_grad():
            logits, features = reference.forward_features(batch)
        rows.append((logits[0].numpy(), features[0].numpy()))
    return (np.stack(column) for column in zip(*rows, strict=True))


@pytest.mark.parametrize("batch_size", [1, 7, 40, 1000])
@pytest.mark.parametrize("pad", [0, 2])
def test_clean_images_against_one_at_a_time(network, few_digits, batch_size, pad):
    images = few_digits.test.images[:40]
    augmentation = Augmentation(pad=pad, flip=pad > 0)
    bank = ImageBank(images, few_digits.mean, few_digits.std, augmentation, CPU)
    logits, features = predict_clean(network, bank, batch_size)
    expected_logits, expected_features = slow_logits(network, images, few_digits)
    assert logits.dtype == features.dtype == np.float32
    np.testing.assert_allclose(logits, expected_logits, rtol=0, atol=1e-5)
    np.testing.assert_allclose(features, expected_features, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("size", "at_once"), [(16, 500), (32, 500), (64, 125), (100, 51)])
def test_of_larger_images_fewer_are_computed_at_once(tiny_network, size, at_once):
    images, batches = np.zeros((600, size, size, 3), np.uint8), []
    bank = clean_bank(images, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), CPU)
    predict_clean(tiny_network(10), bank, on_batch=batches.append)
    assert max(batches) == at_once
    assert sum(batches) == 600


@pytest.mark.parametrize("training", [True, False])
def test_the_network_is_left_as_it_was(network, few_digits, training):
    network.train(training)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    bank = clean_bank(few_digits.test.images, few_digits.mean, few_digits.std, CPU)
    predict_clean(network, bank, 32)
    assert network.training == training
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name])
    assert all(parameter.grad is None for parameter in network.parameters())


def test_batches_are_counted(network):
    seen, rows = [], []

    def images_of(chosen):
        rows.extend(chosen.tolist())
        return torch.zeros(len(chosen), 3, 16, 16)

    logits, features = predict(network, images_of, 10, 4, CPU, seen.append)
    assert seen == [4, 4, 2]
    assert rows == list(range(10))
    assert (logits.shape, features.shape) == ((10, 10), (10, 16))


def test_a_view_is_predicted_as_its_plan_says(network, few_digits):
    recipe = ViewRecipe(pad=2, flip=True, draw="random", alpha=1.0, seed=0)
    view = draw_view("mixed", recipe, 0, 320)
    bank = ImageBank(
        few_digits.train.images, few_digits.mean, few_digits.std, recipe.augmentation, CPU
    )
    batches = ViewBatches(bank, few_digits.train.labels, 10)
    logits, _ = predict_epoch(network, batches, EpochData(plan_of(view)), 100)
    with torch.no_grad():
        whole = network.eval()(batches.images(torch.arange(320)))
    np.testing.assert_allclose(logits, whole.numpy(), rtol=0, atol=1e-5)


def test_place_changes_memory_only():
    network = build("resnet8", 10).eval()
    images = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with torch.no_grad():
        expected = network(images)
        placed = place(network, CPU)
        assert placed is network
        for name, value in network.state_dict().items():
            assert torch.equal(value, before[name])
        assert network.conv1.weight.is_contiguous(memory_format=torch.channels_last)
        torch.testing.assert_close(network(images), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("by_index", [False, True])
def test_no_images_have_no_answers(network, few_digits, by_index):
    none = few_digits.train.images[:0]
    augmentation = Augmentation(pad=0, flip=False)
    bank = ImageBank(none, few_digits.mean, few_digits.std, augmentation, CPU, by_index=by_index)
    logits, features = predict_clean(network, bank, 40)
    assert logits.shape == (0, 10)
    assert features.shape == (0, network.feature_dim)
