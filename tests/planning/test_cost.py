"""Costs: operations against hand counts and published ones, image counts and bytes against real ones."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from store_samples import CLASSES, CODECS, FEATURES, IMAGES, PAD, TEST_IMAGES, make_store

from pipeline.core.params import load_yaml, section
from pipeline.dump.params import DumpParams, MixedViews, PlainViews
from pipeline.models.catalogue import MODELS
from pipeline.models.registry import build
from pipeline.planning.cost import (
    CLASS_SIZES,
    Costs,
    ImageCounts,
    count_images,
    store_bytes,
)
from pipeline.planning.rate import measure
from pipeline.raw.load import DatasetParams, load_raw, stratified_part
from pipeline.store.read import open_store
from pipeline.training.cost import network_cost
from pipeline.views.params import Augmentation

ROOT = Path(__file__).resolve().parents[2]

# MFLOP of a forward pass of one image, 100 classes, 32x32 pixels, two operations for a multiply-add:
# the figures of the field's CIFAR zoo.
ZOO_MFLOP = {
    "resnet20": 81.6,
    "resnet32": 138.3,
    "resnet44": 194.9,
    "resnet56": 251.5,
    "resnet110": 506.3,
    "resnet8x4": 354.1,
    "resnet32x4": 2166,
    "wrn_16_2": 202.2,
    "wrn_40_1": 166.6,
    "wrn_40_2": 655.2,
    "vgg8": 192.4,
    "vgg13": 569.9,
    "resnet50": 2596,
    "mobilenetv2": 13.0,
    "shufflenetv1": 77.4,
    "shufflenetv2": 89.0,
}


def conv(side: int, kernel: int, inputs: int, outputs: int) -> int:
    """Multiply-adds of a convolution with an output of side x side pixels."""
    return side * side * kernel * kernel * inputs * outputs


def test_resnet20_equals_a_count_by_hand():
    multiply_adds = (
        conv(32, 3, 3, 16)
        + 6 * conv(32, 3, 16, 16)
        + conv(16, 3, 16, 32)
        + 5 * conv(16, 3, 32, 32)
        + conv(16, 1, 16, 32)
        + conv(8, 3, 32, 64)
        + 5 * conv(8, 3, 64, 64)
        + conv(8, 1, 32, 64)
        + 64 * 100
    )
    assert network_cost("resnet20", 100, 32).forward_flops == 2 * multiply_adds == 81_637_888


@pytest.mark.parametrize("name", ZOO_MFLOP)
def test_operations_are_the_zoos_to_one_percent(name):
    assert network_cost(name, 100, 32).forward_flops == pytest.approx(ZOO_MFLOP[name] * 1e6, 0.01)


def test_operations_grow_with_pixels_and_classes():
    small, large = network_cost("resnet8", 10, 16), network_cost("resnet8", 10, 32)
    head = 2 * 64 * 10
    assert large.forward_flops - head == 4 * (small.forward_flops - head)
    assert network_cost("resnet8", 11, 16).forward_flops - small.forward_flops == 2 * 64


@pytest.mark.parametrize("name", ["resnet8", "vgg8", "mobilenetv2", "shufflenetv2"])
def test_bytes_of_the_weights_are_those_of_the_real_network(name):
    network = build(name, 10)
    cost = network_cost(name, 10, 32)
    assert cost.state_bytes == sum(t.nbytes for t in network.state_dict().values())
    assert cost.feature_dim == network.feature_dim
    assert name in MODELS


@pytest.mark.parametrize(
    "parts",
    [
        {"test_fraction": 0.2},
        {"test_fraction": 0.31, "validation_fraction": 0.15},
        {"test_fraction": 0.2, "validation_fraction": 0.1, "subset_fraction": 0.07},
        {"test_fraction": 0.001, "subset_fraction": 0.001},
    ],
)
def test_image_counts_are_those_of_the_prepared_digits(parts):
    params = DatasetParams(name="digits", image_size=16, **parts)
    data = load_raw(params, Path(), download=False)
    expected = ImageCounts(len(data.train.labels), len(data.test.labels), 10, 16)
    assert count_images(params, Path()) == expected


def test_image_counts_of_cifar():
    def counts(**parts):
        params = DatasetParams(name="cifar100", image_size=32, **parts)
        found = count_images(params, Path("nowhere"))
        return found.train, found.test

    assert CLASS_SIZES["cifar100"] == ((500,) * 100, (100,) * 100)
    assert CLASS_SIZES["cifar10"] == ((5000,) * 10, (1000,) * 10)
    assert counts() == (50_000, 10_000)
    labels = np.repeat(np.arange(100, dtype=np.int32), 500)
    held = len(stratified_part(labels, 0.01, 0, "validation"))
    rest = np.delete(labels, stratified_part(labels, 0.01, 0, "validation"))
    kept = len(stratified_part(rest, 0.04, 0, "subset"))
    assert counts(validation_fraction=0.01) == (50_000 - held, held)
    assert counts(validation_fraction=0.01, subset_fraction=0.04) == (kept, held) == (2000, 500)


@pytest.mark.parametrize("own_test", [False, True])
def test_image_counts_of_folders(own_test, tmp_path):
    for split, size in (("train", 7), ("test", 3)) if own_test else (("", 7),):
        for name in ("cat", "dog"):
            folder = tmp_path / split / name
            folder.mkdir(parents=True)
            for index in range(size):
                Image.new("RGB", (9, 9), (20 * index, 0, 9 * index)).save(folder / f"{index}.png")
    fraction = None if own_test else 0.3
    std = (0.2, 0.2, 0.2)
    params = DatasetParams(name="imagefolder", image_size=8, test_fraction=fraction, std=std)
    data = load_raw(params, tmp_path, download=False)
    found = count_images(params, tmp_path)
    assert (found.train, found.test) == (len(data.train.labels), len(data.test.labels))
    assert found == ImageCounts(*((14, 6) if own_test else (10, 4)), 2, 8)


def test_folders_without_a_test_set_need_a_fraction(tmp_path):
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (9, 9)).save(tmp_path / name / "0.png")
    params = DatasetParams(name="imagefolder", image_size=8)
    with pytest.raises(ValueError, match=r"set dataset\.test_fraction"):
        count_images(params, tmp_path)


@pytest.mark.parametrize("codec", [CODECS["dense"], CODECS["int8"], CODECS["topk"]], ids=str)
def test_sizes_are_those_of_a_written_store(tmp_path, codec):
    folder = make_store(tmp_path, views=5, codec=codec)
    dump = DumpParams(
        seed=3,
        batch_size=10,
        plain=PlainViews(views=5, draw="stratified", features=True),
        mixed=MixedViews(views=5, draw="stratified", alpha=1.0, features=True),
        codec=codec,
    )
    counts = ImageCounts(IMAGES, TEST_IMAGES, CLASSES, 8)
    sizes = store_bytes(dump, FEATURES, counts)
    assert list(sizes) == ["clean", "plain", "mixed"]
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != "manifest.json"]
    assert len(files) > 20
    if not codec.lossy:  # the sample's clean group is lossy too, a dump's never is
        assert sum(sizes.values()) == sum(path.stat().st_size for path in files)
    store = open_store(folder, groups=["plain", "mixed"])
    for group in ("plain", "mixed"):
        assert sizes[group] == store.group(group).manifest.total_bytes


def test_sizes_are_the_arrays_of_the_layout():
    counts = ImageCounts(50_000, 10_000, 100, 32)
    plain = PlainViews(views=162, draw="stratified")
    mixed = MixedViews(views=240, draw="stratified", alpha=1.0)
    sizes = store_bytes(DumpParams(seed=0, batch_size=1, plain=plain, mixed=mixed), 64, counts)
    # Plans are cut into chunks of 16 views, the last of which is padded.
    logits, plain_plan, mixed_plan = 100 * 2, 2 + 1, 2 + 1 + 4 + 4 + 4
    assert sizes["plain"] == pytest.approx(50_000 * (162 * logits + 176 * plain_plan), 1e-4)
    assert sizes["mixed"] == pytest.approx(50_000 * 240 * (logits + mixed_plan), 1e-4)
    assert sizes["clean"] == pytest.approx(60_000 * (logits + 64 * 2 + 4), 1e-3)
    assert "mixed" not in store_bytes(
        DumpParams(seed=0, batch_size=1, plain=plain, mixed=None), 64, counts
    )


@pytest.fixture
def content():
    return load_yaml(ROOT / "profiles" / "digits.yaml")


def costs_of(content):
    return Costs(content, count_images(section(content, DatasetParams, "dataset"), Path()))


def by_name(content):
    return {stage.name: stage for stage in costs_of(content).stages()}


def test_stages_are_those_of_the_pipeline(content):
    found = by_name(content)
    definition = load_yaml(ROOT / "dvc.yaml")["stages"]
    expected = [
        stage if "foreach" not in body else f"{stage}@{name}"
        for stage, body in definition.items()
        for name in (content[body["foreach"][2:-1]] if "foreach" in body else [stage])
    ]
    assert len(expected) == 15
    assert list(found) == expected
    assert all(name.partition("@")[0] == stage.kind for name, stage in found.items())


def test_a_students_operations_are_counted_image_by_image(content):
    content["training"] |= {"epochs": 3, "evaluate_every": 2}
    student = content["students"]["rescaled-pmu50"]
    student["training"] = {"epochs": 5}
    found = by_name(content)["train_student@rescaled-pmu50"]
    own = network_cost("resnet8", 10, 16).forward_flops
    teacher = network_cost("resnet20", 10, 16).forward_flops
    training = forward = live = 0
    for epoch in range(1, 6):
        for _ in range(1438):
            training += own + 2 * own
            live += teacher
        if epoch % 2 == 0 or epoch == 5:
            forward += 359 * own
    forward += 359 * own  # the finished network's logits
    forward += 1438 * own  # the sample of training images: all, where there are no 2,000
    assert (found.training_flops, found.live_teacher_flops) == (training, live)
    assert found.forward_flops == forward
    assert found.replicates == 2
    assert found.flops == 2 * (training + forward)
    assert (found.network, found.teacher) == ("resnet8", "resnet20")
    logits = 359 * 10 * 4 + 1438 * (10 * 4 + 4)
    state = network_cost("resnet8", 10, 16).state_bytes
    assert found.out_bytes == 2 * (state + logits)


def test_a_dump_sees_every_view_and_the_clean_images_once(content):
    content["dumps"]["resnet20"]["mixed"] = None
    found = by_name(content)["dump@resnet20"]
    own = network_cost("resnet20", 10, 16).forward_flops
    assert found.flops == (8 * 1438 + 1438 + 359) * own
    assert list(found.group_bytes) == ["clean", "plain"]
    assert found.out_bytes == sum(found.group_bytes.values())


def test_imported_weights_cost_no_training(content):
    content["teachers"]["resnet20"]["weights"] = {"path": "file", "sha256": "0" * 64}
    found = by_name(content)
    assert found["train_teacher@resnet20"].training_flops == 0
    assert found["train_teacher@resnet20"].forward_flops > 0
    assert found["train_teacher@resnet20-mixup"].training_flops > 0


def test_a_measured_rate_is_that_of_real_steps(content):
    torch.set_num_threads(1)
    training = costs_of(content).training({})
    rate = measure(
        "resnet8", training, Augmentation(pad=PAD, flip=False), 10, 16, torch.device("cpu"), 0.05
    )
    flops = network_cost("resnet8", 10, 16).forward_flops
    assert rate.images_per_second > 10
    assert rate.training == pytest.approx(3 * flops * rate.images_per_second)
    assert rate.forward == pytest.approx(flops * rate.forward_images_per_second)
    # A forward pass is a part of a training step.
    assert rate.forward_images_per_second > rate.images_per_second


def test_measuring_leaves_torchs_generator_alone(content):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    training = costs_of(content).training({})
    measure("resnet8", training, Augmentation(pad=0, flip=False), 10, 16, torch.device("cpu"), 0.01)
    assert torch.equal(torch.rand(3), expected)
