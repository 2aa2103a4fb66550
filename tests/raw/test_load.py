import dataclasses
import itertools
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.core.asked_dataset import channel_statistics
from pipeline.core.dataset_params import CLASS_NAMES, DatasetParams
from pipeline.raw import load as datasets
from pipeline.raw.load import DatasetError, load_raw

DIGITS = DatasetParams(name="digits", image_size=16, test_fraction=0.2)


def load(params: DatasetParams, root: Path = Path("absent")) -> datasets.ImageData:
    return load_raw(params, root, download=False)


@pytest.fixture(scope="module")
def digits() -> datasets.ImageData:
    return load(DIGITS)


@pytest.fixture
def folders(tmp_path):
    """ROOT/CLASS/* with 10, 7 and 4 images, each of a grey level of its own."""
    level = itertools.count(10, 5)
    for name, count in (("ant", 10), ("bee", 7), ("cat", 4)):
        (tmp_path / name).mkdir()
        for index in range(count):
            picture = np.full((9, 12, 3), next(level), dtype=np.uint8)
            Image.fromarray(picture).save(tmp_path / name / f"{index:02}.png")
    return tmp_path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_size": 4}, r"\.image_size: expected a whole number between 8 and 512, found 4"),
        ({"name": "cifar10", "image_size": 16, "test_fraction": None}, ": image_size: CIFAR"),
        (
            {"name": "cifar100", "image_size": 32},
            ": test_fraction: CIFAR has a test set of its own",
        ),
        ({"test_fraction": None}, ": test_fraction: digits has no test set"),
        ({"test_fraction": 1.0}, r"\.test_fraction: expected a number above 0 and below 1"),
        (
            {"validation_fraction": 1.0},
            r"\.validation_fraction: expected a number at least 0 and below 1",
        ),
        ({"validation_fraction": -0.1}, r"\.validation_fraction"),
        (
            {"subset_fraction": 0.0},
            r"\.subset_fraction: expected a number above 0 and at most 1, found 0.0",
        ),
        ({"subset_fraction": float("nan")}, r"\.subset_fraction"),
        ({"seed": -1}, r"\.seed: expected a whole number between 0 and"),
        (
            {"mean": (0.5, 0.5, 128.0)},
            r"\.mean\[2\]: expected a number between 0 and 1 \(of pixel/255\)",
        ),
        (
            {"std": (0.2, 0.0, 0.2)},
            r"\.std\[1\]: expected a number above 0 and at most 1 \(of pixel/255\)",
        ),
    ],
)
def test_impossible_parameters_are_refused(change, message):
    with pytest.raises(ValueError, match=f"^DatasetParams{message}"):
        dataclasses.replace(DIGITS, **change)


def test_class_names_that_are_known_beforehand(digits):
    assert digits.class_names == CLASS_NAMES["digits"]
    for name, count in (("cifar10", 10), ("cifar100", 100)):
        assert len(set(CLASS_NAMES[name])) == count
        assert sorted(CLASS_NAMES[name]) == list(
            CLASS_NAMES[name]
        )  # their labels are in this order


def test_all_problems_are_listed_at_once():
    with pytest.raises(ValueError, match=r"(?s)image_size.*subset_fraction.*seed"):
        DatasetParams(name="digits", image_size=4, seed=-1, subset_fraction=2.0)
    with pytest.raises(ValueError, match=r"image_size: CIFAR.*; test_fraction: CIFAR"):
        DatasetParams(name="cifar10", image_size=16, test_fraction=0.5)


def test_digits_are_the_resized_originals_in_three_equal_channels(digits):
    from sklearn.datasets import load_digits

    raw = load_digits()
    assert digits.train.images.shape[1:] == (16, 16, 3)
    assert digits.train.images.dtype == np.uint8
    assert digits.train.images.flags.c_contiguous
    assert digits.train.labels.dtype == np.int32
    assert digits.class_names == tuple("0123456789")
    assert len(digits.train.labels) + len(digits.test.labels) == 1797
    assert np.ptp(digits.train.images, axis=-1).max() == 0

    expected = set()
    for image, label in zip(raw.images, raw.target, strict=True):
        scaled = np.array([[round(value * 255 / 16) for value in row] for row in image], np.uint8)
        resized = Image.fromarray(scaled).resize((16, 16), Image.Resampling.BILINEAR)
        expected.add((np.asarray(resized).tobytes(), int(label)))
    for split in (digits.train, digits.test):
        for image, label in zip(split.images, split.labels, strict=True):
            assert (image[..., 0].tobytes(), int(label)) in expected


def test_test_split_is_stratified_and_disjoint(digits):
    train, test = (np.bincount(split.labels, minlength=10) for split in (digits.train, digits.test))
    for label in range(10):
        assert test[label] == int(0.2 * (train[label] + test[label]) + 0.5)
    seen = {image.tobytes() for image in digits.train.images}
    assert not any(image.tobytes() in seen for image in digits.test.images)


def test_same_parameters_give_the_same_data_and_another_seed_another_split(digits):
    assert load(DIGITS).fingerprint == digits.fingerprint
    assert load(dataclasses.replace(DIGITS, seed=1)).fingerprint != digits.fingerprint


def test_fingerprint_of_digits_is_the_same_on_every_machine(digits):
    # A changed value means that prepared data and stores of others no longer fit: only on purpose.
    assert digits.fingerprint.startswith("01352d51d5564672")


def test_statistics_equal_those_of_the_pixels(digits):
    pixels = digits.train.images.astype(np.float64) / 255
    np.testing.assert_allclose(digits.mean, pixels.mean(axis=(0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(digits.std, pixels.std(axis=(0, 1, 2)), rtol=1e-12)


def test_statistics_keep_channels_apart():
    images = np.zeros((2, 1, 1, 3), dtype=np.uint8)
    images[1] = (255, 0, 51)
    mean, std = channel_statistics(images)
    assert mean == pytest.approx((0.5, 0.0, 0.1))
    assert std == pytest.approx((0.5, 0.0, 0.1))


def test_given_normalisation_is_kept():
    given = dataclasses.replace(DIGITS, mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6))
    data = load(given)
    assert (data.mean, data.std) == (given.mean, given.std)


def test_validation_takes_the_place_of_the_test_set(digits):
    data = load(dataclasses.replace(DIGITS, validation_fraction=0.1))
    assert (digits.evaluated_on, data.evaluated_on) == ("test", "validation")
    training = sorted(image.tobytes() for image in digits.train.images)
    now = sorted(image.tobytes() for split in (data.train, data.test) for image in split.images)
    assert now == training, (
        "train and validation are exactly the training set; no test image is left"
    )
    counts = np.bincount(digits.train.labels)
    expected = [int(0.1 * count + 0.5) for count in counts]
    assert np.bincount(data.test.labels).tolist() == expected
    assert data.notes["validation"]["images"] == sum(expected)


def test_subset_is_stratified_nested_and_recorded(digits):
    small, large = (load(dataclasses.replace(DIGITS, subset_fraction=f)) for f in (0.1, 0.5))
    counts = np.bincount(digits.train.labels)
    assert np.bincount(small.train.labels).tolist() == [int(0.1 * c + 0.5) for c in counts]
    assert small.test.images.tobytes() == digits.test.images.tobytes()
    inside = {image.tobytes() for image in large.train.images}
    assert all(image.tobytes() in inside for image in small.train.images)
    assert small.notes["subset"]["images"] == len(small.train.labels)
    assert len(small.notes["subset"]["indices_sha256"]) == 64
    assert small.fingerprint != large.fingerprint


def test_subset_keeps_the_order_of_the_data_set(digits):
    subset = load(dataclasses.replace(DIGITS, subset_fraction=0.3)).train
    position = {image.tobytes(): row for row, image in enumerate(digits.train.images)}
    rows = [position[image.tobytes()] for image in subset.images]
    assert rows == sorted(rows)


def test_smallest_subset_has_an_image_of_every_class():
    data = load(dataclasses.replace(DIGITS, subset_fraction=1e-6))
    assert np.bincount(data.train.labels).tolist() == [1] * 10


def test_folders_without_a_test_set_are_split(folders):
    params = DatasetParams(name="imagefolder", image_size=8, test_fraction=0.25)
    data = load(params, folders)
    assert data.class_names == ("ant", "bee", "cat")
    assert np.bincount(data.train.labels).tolist() == [7, 5, 3]
    assert np.bincount(data.test.labels).tolist() == [3, 2, 1]
    levels = sorted(int(image[0, 0, 0]) for s in (data.train, data.test) for image in s.images)
    assert levels == list(range(10, 10 + 21 * 5, 5))


def test_folders_need_a_test_fraction_exactly_where_there_is_no_test_folder(folders):
    params = DatasetParams(name="imagefolder", image_size=8)
    with pytest.raises(DatasetError, match=r"no folder `test`; set dataset.test_fraction"):
        load(params, folders)
    for part in ("train", "test"):
        for name in ("ant", "bee"):
            (folders / part / name).mkdir(parents=True)
            Image.new("RGB", (8, 8), (len(part), 20, 30)).save(folders / part / name / "x.png")
    with pytest.raises(DatasetError, match=r"has a folder `test`; set dataset.test_fraction: null"):
        load(dataclasses.replace(params, test_fraction=0.5), folders)


def test_class_with_too_few_images_to_split_is_named(folders):
    for extra in sorted((folders / "cat").iterdir())[1:]:
        extra.unlink()
    params = DatasetParams(name="imagefolder", image_size=8, test_fraction=0.25)
    with pytest.raises(DatasetError, match=r"1 of the classes without a training image \(cat\)"):
        load(params, folders)


def test_constant_channel_asks_for_a_deviation(tmp_path):
    for name, level in (("a", 0), ("b", 255)):
        (tmp_path / name).mkdir()
        for index in range(2):
            Image.new("RGB", (8, 8), (level, 7, 7)).save(tmp_path / name / f"{index}.png")
    params = DatasetParams(name="imagefolder", image_size=8, test_fraction=0.5)
    with pytest.raises(DatasetError, match=r"give dataset.std a value"):
        load(params, tmp_path)
    assert load(dataclasses.replace(params, std=(0.5, 0.5, 0.5)), tmp_path).std == (0.5, 0.5, 0.5)


def test_more_images_than_memory_are_refused_before_they_are_read(folders, monkeypatch):
    monkeypatch.setattr(datasets, "MAX_IMAGE_BYTES", 20 * 8 * 8 * 3)
    params = DatasetParams(name="imagefolder", image_size=8, test_fraction=0.25)
    with pytest.raises(DatasetError, match=r"21 images of 8x8 pixels .* lower dataset.image_size"):
        load(params, folders)
    assert len(load(dataclasses.replace(params, subset_fraction=0.9), folders).train.labels) == 14


@pytest.mark.skipif(
    "DECANT_DATA" not in os.environ, reason="DECANT_DATA names no folder with the real CIFAR-100"
)
def test_real_cifar100():
    root = Path(os.environ["DECANT_DATA"])
    data = load(DatasetParams(name="cifar100", image_size=32), root)
    assert data.train.images.shape == (50000, 32, 32, 3)
    assert data.test.images.shape == (10000, 32, 32, 3)
    assert np.bincount(data.train.labels).tolist() == [500] * 100
    assert data.class_names[0] == "apple"
    assert data.mean == pytest.approx((0.50708, 0.48655, 0.44092), abs=1e-5)
    assert data.std == pytest.approx((0.26733, 0.25644, 0.27615), abs=1e-5)
