"""Dumping a teacher: what is stored, and that an interrupted or extended dump redoes nothing."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from store_samples import CODECS, TEACHER, tree

from pipeline.core.params import ParamsError, section
from pipeline.dump.dump import dump_group, group_header, view_recipe
from pipeline.dump.error import spread
from pipeline.dump.params import DumpParams, MixedViews, PlainViews
from pipeline.dump.ready import ready
from pipeline.store.format.codecs import Codec
from pipeline.store.format.manifest import Header, describe_dataset
from pipeline.store.read import open_store
from pipeline.store.write.difference import measure, merge
from pipeline.views.batches import EpochData, ImageBank, ViewBatches
from pipeline.views.params import Augmentation
from pipeline.views.plans import ViewRecipe, draw_view, plan_of
from pipeline.views.predict import place

CPU = torch.device("cpu")
AUGMENTATION = Augmentation(pad=2, flip=True)
PARAMS = DumpParams(
    seed=5,
    batch_size=128,
    plain=PlainViews(views=2, draw="stratified", features=True),
    mixed=MixedViews(views=2, draw="random", alpha=0.5),
)


def header(group, data, params=PARAMS) -> Header:
    return Header(
        group=group,
        dataset=describe_dataset(data),
        teacher=TEACHER,
        recipe=view_recipe(params, group, AUGMENTATION),
        batch_size=params.batch_size,
        precision="float32",
        tolerance=0.02,
        versions={"torch": torch.__version__},
    )


@pytest.fixture
def teacher(tiny_network):
    return place(tiny_network(10).eval(), CPU)


def dump(teacher, group, data, folder, params=PARAMS, **options):
    return dump_group(teacher, header(group, data, params), params, data, CPU, folder, **options)


def opened(files, folder, group, data):
    """The store that consists of a dump's files."""
    for name, path in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, folder / name)
    return open_store(folder, groups=[group], dataset=describe_dataset(data))


def test_recipes():
    expected = ViewRecipe(pad=2, flip=True, draw="stratified", alpha=None, seed=5)
    assert view_recipe(PARAMS, "plain", AUGMENTATION) == expected
    assert view_recipe(PARAMS, "mixed", AUGMENTATION) == replace(expected, draw="random", alpha=0.5)
    assert view_recipe(PARAMS, "clean", AUGMENTATION) is None


def test_params_are_read_strictly():
    views = {"views": 8, "draw": "stratified"}
    content = {
        "good": {"seed": 0, "batch_size": 8, "plain": views, "mixed": {**views, "alpha": 1}},
        "one": {"seed": 0, "batch_size": 8, "plain": None, "mixed": {**views, "alpha": 1}},
        "bad": {"seed": 0, "batch_size": 0, "plain": {"views": 0, "draw": "all"}, "mixed": views},
    }
    good = section(content, DumpParams, "good")
    assert good.group("plain") == PlainViews(views=8, draw="stratified")
    assert good.group("mixed") == MixedViews(views=8, draw="stratified", alpha=1.0)
    assert section(content, DumpParams, "one").group("plain") is None
    with pytest.raises(ParamsError) as caught:
        section(content, DumpParams, "bad")
    paths = {problem.split(":")[0] for problem in caught.value.problems}
    assert paths == {"bad.batch_size", "bad.plain.views", "bad.plain.draw", "bad.mixed.alpha"}


@pytest.mark.parametrize("group", ["plain", "mixed"])
def test_stored_views(teacher, few_digits, tmp_path, group):
    files = dump(teacher, group, few_digits, tmp_path / "work")
    store = opened(files, tmp_path / "a.zarr", group, few_digits).group(group)
    assert store.views == 2
    assert store.feature_dim == (16 if group == "plain" else None)
    recipe = view_recipe(PARAMS, group, AUGMENTATION)
    bank = ImageBank(few_digits.train.images, few_digits.mean, few_digits.std, AUGMENTATION, CPU)
    batches = ViewBatches(bank, few_digits.train.labels, 10)
    for v in range(2):
        view = draw_view(group, recipe, v, 320)
        for name, array in view.arrays().items():
            np.testing.assert_array_equal(getattr(store.plan(v), name), array)
        batches.start(EpochData(plan_of(view)))
        with torch.no_grad():
            answers = [
                teacher.forward_features(batches.images(rows))
                for rows in torch.arange(320).split(128)
            ]
        logits = torch.cat([answer[0] for answer in answers]).half().numpy()
        np.testing.assert_array_equal(store.logits(v), logits)
        if group == "plain":
            features = torch.cat([answer[1] for answer in answers]).half().numpy()
            np.testing.assert_array_equal(store.features(v), features)


def test_stored_clean_images(teacher, few_digits, tmp_path):
    files = dump(teacher, "clean", few_digits, tmp_path / "work")
    clean = opened(files, tmp_path / "a.zarr", "clean", few_digits).clean
    for name, split in (("train", few_digits.train), ("test", few_digits.test)):
        pixels = (split.images / 255 - np.array(few_digits.mean)) / np.array(few_digits.std)
        images = torch.from_numpy(pixels.transpose(0, 3, 1, 2)).float()
        with torch.no_grad():
            logits, features = teacher.forward_features(images)
        np.testing.assert_allclose(clean.logits(name), logits.numpy(), rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(clean.features(name), features.numpy(), rtol=1e-3, atol=1e-4)
        np.testing.assert_array_equal(clean.labels(name), split.labels)


def test_progress_counts_the_images_that_are_computed(teacher, few_digits, tmp_path):
    seen = []
    dump(teacher, "plain", few_digits, tmp_path, on_progress=lambda *counts: seen.append(counts))
    assert seen == [(done, 640) for done in (128, 256, 320, 448, 576, 640)]


class StoppedError(Exception):
    """Raised in the middle of a dump."""


@pytest.mark.parametrize("stop", [128, 320, 448])
def test_an_interrupted_dump_goes_on(teacher, few_digits, tmp_path, stop):
    dump(teacher, "mixed", few_digits, tmp_path / "whole")

    def on_progress(done, total):
        if done == stop:
            raise StoppedError

    with pytest.raises(StoppedError):
        dump(teacher, "mixed", few_digits, tmp_path / "parts", on_progress=on_progress)
    seen = []
    dump(
        teacher,
        "mixed",
        few_digits,
        tmp_path / "parts",
        on_progress=lambda *counts: seen.append(counts),
    )
    finished = 1 if stop > 320 else 0
    assert seen[-1] == (640 - 320 * finished, 640 - 320 * finished)
    assert tree(tmp_path / "parts") == tree(tmp_path / "whole")


def test_more_views_leave_the_first_ones(teacher, few_digits, tmp_path):
    more = replace(PARAMS, plain=replace(PARAMS.plain, views=3))
    dump(teacher, "plain", few_digits, tmp_path / "grown")
    seen = []
    dump(
        teacher,
        "plain",
        few_digits,
        tmp_path / "grown",
        more,
        on_progress=lambda *counts: seen.append(counts),
    )
    assert seen[-1] == (320, 320)
    dump(teacher, "plain", few_digits, tmp_path / "at-once", more)
    assert tree(tmp_path / "grown") == tree(tmp_path / "at-once")


def test_a_finished_dump_computes_nothing(teacher, few_digits, tmp_path):
    for group in ("clean", "plain"):
        dump(teacher, group, few_digits, tmp_path)
    before = tree(tmp_path)
    seen = []
    for group in ("clean", "plain"):
        options = {"on_progress": lambda *counts: seen.append(counts)}
        dump(teacher, group, few_digits, tmp_path, **options)
    assert seen == []
    assert tree(tmp_path) == before


def test_codecs_are_read_strictly():
    entry = {"seed": 0, "batch_size": 8, "plain": {"views": 8, "draw": "random"}, "mixed": None}
    codecs = {
        "zstd": {"name": "zstd", "level": 3},
        "bitround": {"name": "bitround", "keep_bits": 6, "level": 9},
        "int8": {"name": "int8"},
        "topk": {"name": "topk", "top_k": 5},
    }
    for codec in codecs.values():
        assert section({"a": {**entry, "codec": codec}}, DumpParams, "a").codec == Codec(**codec)
    assert section({"a": entry}, DumpParams, "a").codec == Codec()
    bad = {
        "a.codec: codec: expected one of dense": {"name": "gzip"},
        "a.codec: codec: zstd needs a level": {"name": "zstd"},
        "a.codec.level: expected a whole number": {"name": "zstd", "level": "3"},
        "a.codec.bits: unknown key": {"name": "int8", "bits": 8},
        "a.codec: expected a mapping": "int8",
    }
    for problem, codec in bad.items():
        with pytest.raises(ParamsError) as caught:
            section({"a": {**entry, "codec": codec}}, DumpParams, "a")
        assert caught.value.problems[0].startswith(problem)


@pytest.mark.parametrize("name", CODECS)
@pytest.mark.parametrize("group", ["clean", "plain", "mixed"])
def test_the_codec_of_a_dump_is_that_of_its_views(teacher, few_digits, tmp_path, group, name):
    params = replace(PARAMS, codec=CODECS[name])
    made = group_header(group, params, AUGMENTATION, few_digits, TEACHER, CPU)
    assert made.codec == (Codec() if group == "clean" else CODECS[name])
    assert made.lossy == made.codec.lossy
    assert ("numcodecs" in made.versions) == (made.codec.level is not None)
    files = dump_group(teacher, made, params, few_digits, CPU, tmp_path / "work")
    opened_store = opened(files, tmp_path / "a.zarr", group, few_digits)
    exact = opened(
        dump(teacher, group, few_digits, tmp_path / "dense"), tmp_path / "b.zarr", group, few_digits
    )
    if group == "clean":
        assert np.array_equal(opened_store.clean.logits("train"), exact.clean.logits("train"))
        return
    views, originals = opened_store.group(group), exact.group(group)
    errors = [measure(originals.logits(v), views.logits(v)) for v in range(2)]
    expected = merge(errors).facts() if made.lossy else {}
    assert views.manifest.measured_error == pytest.approx(expected, rel=1e-3)
    if views.feature_dim is not None:
        assert np.array_equal(views.features(1), originals.features(1))


def test_more_classes_than_there_are_cannot_be_kept(few_digits):
    params = replace(PARAMS, codec=Codec(name="topk", top_k=10))
    with pytest.raises(ValueError, match="keep fewer classes than there are, not 10 of 10"):
        group_header("plain", params, AUGMENTATION, few_digits, TEACHER, CPU)


def test_an_interrupted_dump_measures_the_same_error(teacher, few_digits, tmp_path):
    params = replace(PARAMS, codec=Codec(name="int8"))
    made = group_header("plain", params, AUGMENTATION, few_digits, TEACHER, CPU)
    dump_group(teacher, made, params, few_digits, CPU, tmp_path / "whole")

    def on_progress(done, total):
        if done == 448:
            raise StoppedError

    with pytest.raises(StoppedError):
        dump_group(teacher, made, params, few_digits, CPU, tmp_path / "parts", on_progress)
    dump_group(teacher, made, params, few_digits, CPU, tmp_path / "parts")
    assert tree(tmp_path / "parts") == tree(tmp_path / "whole")


LOWER = replace(PARAMS, precision="bfloat16")


def lower_dump(teacher, group, data, folder, params=LOWER, **options):
    made = group_header(group, params, AUGMENTATION, data, TEACHER, CPU)
    exact, lower = (ready(teacher, (16, 16), p) for p in ("float32", "bfloat16"))
    network = exact if group == "clean" else lower
    return dump_group(network, made, params, data, CPU, folder, exact=exact, **options)


@pytest.mark.parametrize("codec", ["dense", "int8"])
@pytest.mark.parametrize("group", ["plain", "mixed"])
def test_what_bfloat16_costs_is_in_the_manifest(teacher, few_digits, tmp_path, group, codec):
    params = replace(LOWER, codec=CODECS[codec])
    files = lower_dump(teacher, group, few_digits, tmp_path / "work", params)
    views = opened(files, tmp_path / "a.zarr", group, few_digits).group(group)
    assert views.manifest.header.precision == "bfloat16"
    assert views.manifest.header.lossy
    exact = dump(ready(teacher, (16, 16), "float32"), group, few_digits, tmp_path / "exact")
    originals = opened(exact, tmp_path / "b.zarr", group, few_digits).group(group)
    expected = measure(originals.logits(0), views.logits(0)).facts()  # all 320 are the sample
    assert views.manifest.measured_error == pytest.approx(expected, rel=1e-3)
    assert 1e-4 < expected["mean_abs_difference"] < expected["max_abs_difference"] < 0.2
    if codec == "dense":
        codec_alone = np.spacing(np.abs(originals.logits(0)).max()).astype(float)
        assert expected["max_abs_difference"] > codec_alone


def test_clean_images_stay_in_float32(teacher, few_digits, tmp_path):
    made = group_header("clean", LOWER, AUGMENTATION, few_digits, TEACHER, CPU)
    assert made.precision == "float32"
    assert not made.lossy


def test_an_interrupted_dump_in_bfloat16_ends_with_the_same_bytes(teacher, few_digits, tmp_path):
    lower_dump(teacher, "mixed", few_digits, tmp_path / "whole")

    def on_progress(done, total):
        if done == 448:
            raise StoppedError

    with pytest.raises(StoppedError):
        lower_dump(teacher, "mixed", few_digits, tmp_path / "parts", on_progress=on_progress)
    lower_dump(teacher, "mixed", few_digits, tmp_path / "parts")
    assert tree(tmp_path / "parts") == tree(tmp_path / "whole")


def test_large_data_sets_are_sampled_evenly(monkeypatch):
    monkeypatch.setattr("pipeline.dump.error.SAMPLE", 4)
    assert spread(10).tolist() == [0, 2, 5, 7]
    assert spread(3).tolist() == [0, 1, 2]
