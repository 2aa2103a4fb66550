"""Features of chosen classes: from real weights, kept, made again where they are damaged or others'."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from report_samples import sample_run

from pipeline.evaluation.features import FeatureCache, class_rows
from pipeline.evaluation.remembered import read_arrays
from pipeline.models.catalogue import MODELS
from pipeline.models.weights import save_weights, weights_digest
from pipeline.results.record import ResultsError
from pipeline.views.predict import clean_bank, place, predict_clean

CPU = torch.device("cpu")


@pytest.fixture
def run(tmp_path, monkeypatch, tiny_network):
    """A run of two replicates of a tiny network, with their weights."""
    monkeypatch.setitem(MODELS, "tiny", "conftest:TinyNetwork")
    made = replace(sample_run("teachers", "tiny", (0.9, 0.8)), folder=tmp_path / "teachers/tiny")
    replicates = []
    for replicate in range(2):
        network = tiny_network(10, replicate)
        path = made.weights_file(replicate)
        path.parent.mkdir(parents=True)
        save_weights(network, path)
        digest = weights_digest(network)
        replicates.append(replace(made.record.replicates[replicate], weights_sha256=digest))
    return replace(made, record=replace(made.record, replicates=tuple(replicates)))


@pytest.fixture
def cache(few_digits, tmp_path):
    return FeatureCache(few_digits, [1, 3, 8], tmp_path / "features", CPU)


def same(one, two):
    return all(np.array_equal(array, getattr(two, name)) for name, array in vars(one).items())


def test_features_are_those_of_the_classes_images_in_order(run, cache, few_digits, tiny_network):
    found = cache(run, 1)
    network = place(tiny_network(10, 1), CPU)
    for split in ("train", "test"):
        data = getattr(few_digits, split)
        rows = class_rows(data.labels, [1, 3, 8])
        assert len(rows) > 20
        bank = clean_bank(data.images[rows], few_digits.mean, few_digits.std, CPU)
        _, expected = predict_clean(network, bank, 500)
        assert np.array_equal(getattr(found, f"{split}_features"), expected.astype(np.float16))
        assert np.array_equal(getattr(found, f"{split}_labels"), data.labels[rows])


def test_what_is_there_is_read_without_the_weights(run, cache):
    assert cache.lacking([run]) == [run]
    cache.fill([run], 2)
    assert cache.lacking([run]) == []
    first = [cache(run, replicate) for replicate in range(2)]
    assert not same(*first)
    shutil.rmtree(run.folder)
    assert all(same(cache(run, replicate), first[replicate]) for replicate in range(2))


@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "another's"])
def test_a_damaged_file_is_made_again(run, cache, damage):
    first, path = cache(run, 0), cache.path(run, 0)
    content = bytearray(path.read_bytes())
    if damage == "cut":
        content = content[: len(content) // 2]
    elif damage == "flip":
        content[-1] ^= 1
    elif damage == "empty":
        content = bytearray()
    else:
        other = replace(cache, classes=[0, 2])
        other(run, 0)
        content = bytearray(other.path(run, 0).read_bytes())
    path.write_bytes(content)
    assert same(cache(run, 0), first)
    assert read_arrays(path) is not None


def test_others_weights_classes_images_or_code_have_files_of_their_own(run, cache, few_digits):
    others = [
        cache,
        replace(cache, classes=[1, 3]),
        replace(cache, data=replace(few_digits, fingerprint="0" * 64)),
        replace(cache, data=replace(few_digits, mean=(0.1, 0.1, 0.1))),
        replace(cache, computed_by={"code": "other"}),
    ]
    paths = {one.path(run, replicate) for one in others for replicate in range(2)}
    assert len(paths) == 10
    assert replace(cache, classes=[8, 3, 1]).path(run, 0) == cache.path(run, 0)


def test_weights_that_are_not_the_record_s_are_refused(run, cache, tiny_network):
    save_weights(tiny_network(10, 7), run.weights_file(0))
    with pytest.raises(ResultsError, match="holds other weights than its record names"):
        cache(run, 0)
    run.weights_file(1).write_bytes(b"damaged")
    with pytest.raises(ResultsError, match="damaged"):
        cache(run, 1)
    run.weights_file(1).unlink()
    with pytest.raises(ResultsError, match="cannot be read"):
        cache(run, 1)
