"""What Decant once wrote is read for ever: the golden files, which are never made again."""

import csv
import json
import shutil
import subprocess
import sys
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from store_samples import tree

from pipeline.core.files import canonical_json
from pipeline.core.params import load_yaml
from pipeline.models.weights import load_weights
from pipeline.results.record import RECORD, read_record
from pipeline.results.tensors import read_tensors
from pipeline.store.format.check import read_manifest
from pipeline.store.format.errors import SchemaError
from pipeline.store.read import open_store
from pipeline.store.write.difference import measure
from pipeline.store.write.writers import CleanWriter, GroupWriter
from pipeline.tools.verify import verify_store
from stages.cli import main

GOLDEN = Path(__file__).resolve().parent / "golden"
sys.path.insert(0, str(GOLDEN))

import expected  # noqa: E402

FOLDERS = sorted(path.parent for path in GOLDEN.glob("*/expected.json"))
STORES = sorted(path for folder in FOLDERS for path in (folder / "stores").glob("*.zarr"))
CODECS = {"dense", "zstd", "bitround", "int8", "topk"}
VIEWS = ("plain", "mixed")
assert FOLDERS

per_folder = pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: path.name)
per_store = pytest.mark.parametrize(
    "store", STORES, ids=lambda path: f"{path.parents[1].name}-{path.stem}"
)


def wanted(folder):
    return json.loads((folder / "expected.json").read_text())


def test_schema_1_holds_a_store_of_every_codec():
    stores = {path.stem for path in STORES if path.parents[1].name == "schema-1"}
    assert stores == CODECS
    for path in STORES:
        store = open_store(path, groups=("clean", *VIEWS))
        assert store.group("plain").manifest.header.codec.name == path.stem


@per_folder
def test_the_prepared_data_set(folder):
    assert expected.prepared_facts(folder / "prepared") == wanted(folder)["prepared"]


@per_store
def test_every_number_of_a_store(store):
    facts = expected.store_facts(store)
    assert {"clean/test/logits", "plain/logits/1", "mixed/lam"} <= facts.keys()
    assert facts == wanted(store.parents[1])["stores"][store.stem]


@per_store
def test_every_byte_of_a_store(store):
    assert verify_store(store, deep=True) == []
    assert CliRunner().invoke(main, ["store", "verify", str(store), "--deep"]).exit_code == 0


def test_literal_numbers():
    """A few that a reader can see, so that a slip in `expected.py` cannot hide one in the store."""
    store = open_store(GOLDEN / "schema-1/stores/dense.zarr", groups=("clean", *VIEWS))
    assert store.group("plain").views == 17
    assert store.group("plain").logits(16)[58, :4].tolist() == [
        -1.2177734375,
        0.75341796875,
        2.369140625,
        0.266357421875,
    ]
    assert store.group("mixed").plan(1).lam[:3].tolist() == [
        0.8774786591529846,
        0.024497434496879578,
        0.7062353491783142,
    ]
    assert store.clean.labels("train")[:8].tolist() == [7, 3, 9, 8, 5, 8, 0, 1]


@per_folder
def test_records_and_what_lies_beside_them(folder):
    for name, facts in wanted(folder)["records"].items():
        assert expected.record_facts(folder / name) == facts
        content = (folder / name / RECORD).read_bytes()
        assert read_record(folder / name).to_json() == content, "read and written it is the same"
        replicates = sorted((folder / name).glob("replicate-*"))
        assert len(replicates) == len(facts["replicates"])
        for replicate in replicates:
            assert np.load(replicate / "test_logits.npy").shape == (40, 10)
            assert set(read_tensors(replicate / "train_sample.safetensors")[0]) == {
                "logits",
                "labels",
            }
            features, _ = read_tensors(replicate / "features.safetensors")
            assert features["train_features"].shape[1] == 64


@per_folder
def test_kept_results(folder):
    facts = expected.kept_facts(folder)
    assert len(facts) == 3
    assert facts == wanted(folder)["kept"]


@per_folder
def test_tables_of_kept_results(folder, tmp_path):
    """The command itself, with no network at hand: every accuracy is the one that was kept."""
    options = [
        *("--params", folder / "params.yaml", "--prepared", folder / "prepared"),
        *("--teachers", tmp_path, "--baselines", tmp_path, "--students", tmp_path),
        *("--kept", folder / "kept", "--out", tmp_path / "reports"),
    ]
    result = CliRunner().invoke(main, ["evaluate", *map(str, options)])
    assert result.exit_code == 0, result.output
    with (tmp_path / "reports/tables/accuracy.csv").open(newline="") as file:
        rows = {row["name"]: row for row in csv.DictReader(file)}
    for name, facts in wanted(folder)["kept"].items():
        row = rows[name.split("/")[1]]
        assert float(row["top1_accuracy"]) == np.mean(facts["accuracies"])


@per_folder
def test_the_imported_checkpoint(folder, tmp_path):
    facts, imported = wanted(folder)["checkpoint"], folder / "imported"
    assert facts["pth"] == facts["safetensors"]
    read = expected.checkpoint_facts(folder)
    for kind, values in facts.items():
        assert read[kind]["weights_sha256"] == values["weights_sha256"]
        np.testing.assert_allclose(read[kind]["logits"], values["logits"], rtol=1e-4, atol=1e-4)
    teacher = load_weights(folder / "teachers/golden/replicate-0/weights.safetensors")
    for name, tensor in expected.foreign_weights(imported / "resnet8.pth", folder).items():
        assert torch.equal(tensor, teacher[name]), name
    out = tmp_path / "again.safetensors"
    options = ["--params", folder / "params.yaml", "--prepared", folder / "prepared", "--out", out]
    command = ["import-teacher", imported / "resnet8.pth", "--arch", "resnet8", *options]
    result = CliRunner().invoke(main, list(map(str, command)))
    assert result.exit_code == 0, result.output
    assert out.read_bytes() == (imported / "resnet8.safetensors").read_bytes()


def test_the_folder_is_never_made_again():
    command = [sys.executable, str(GOLDEN / "make.py"), "schema-1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "FileExistsError" in done.stderr


# What is written anew


def in_schema_1(name):
    return GOLDEN / "schema-1" / name


def write_again(store, folder):
    """The store's groups, written from the plan and the float16 logits that were encoded then."""
    golden = open_store(store, groups=("clean", *VIEWS))
    # The dense store's logits are what every codec was given: seed, views and teacher are the same.
    source = open_store(in_schema_1("stores/dense.zarr"), groups=("clean", *VIEWS))
    clean = golden.clean
    writer = CleanWriter(folder, clean.manifest.header, feature_dim=clean.feature_dim)
    for split in ("train", "test"):
        numbers = clean.logits(split), clean.features(split), clean.labels(split)
        writer.write_split(split, *numbers)
    writer.finish()
    for name in VIEWS:
        group, dense = golden.group(name), source.group(name)
        plan = [group.plan(v) for v in range(group.views)]
        views = GroupWriter(folder, group.manifest.header, plan, feature_dim=group.feature_dim)
        for v in range(group.views):
            features = None if group.feature_dim is None else group.features(v)
            views.write_view(v, dense.logits(v), features)
        views.finish()
    for path in folder.glob(".*"):  # what an interrupted dump goes on from, no part of a store
        shutil.rmtree(path) if path.is_dir() else path.unlink()


@pytest.mark.parametrize("codec", sorted(CODECS))
def test_encoding_the_same_logits_gives_the_same_bytes(codec, tmp_path):
    store = in_schema_1(f"stores/{codec}.zarr")
    write_again(store, tmp_path)
    stated = read_manifest(store, "plain").header.versions
    if stated.get("numcodecs") in (None, version("numcodecs")):
        assert tree(tmp_path) == tree(store)
    else:  # another zstd may compress to other bytes, never to other numbers
        facts = wanted(GOLDEN / "schema-1")["stores"][codec]
        for group in VIEWS:
            opened, again = (
                open_store(path, groups=[group]).group(group) for path in (store, tmp_path)
            )
            for v in range(opened.views):
                logits = expected.array_facts(again.logits(v))
                assert logits == facts[f"{group}/logits/{v}"]


def masked(manifest):
    """What a manifest says, without versions and digests of what another processor rounds otherwise."""
    facts = json.loads(canonical_json(asdict(manifest)))
    del facts["digest"], facts["measured_error"], facts["header"]["versions"]
    for path, file in facts["files"].items():
        if is_answer(path):
            file.clear()
    return facts


def is_answer(path):
    """Whether a file of a group holds what a network said."""
    array, _, chunk = path.rpartition("/")
    return chunk.startswith("c.") and array.rpartition("/")[2].startswith(("logits", "features"))


@pytest.mark.parametrize("codec", sorted(CODECS))
def test_a_dump_of_the_golden_teacher_is_the_golden_store(codec, tmp_path, monkeypatch):
    """The real command: plan, layout and manifest are equal, logits up to another processor's rounding."""
    monkeypatch.chdir(tmp_path)
    golden, made = in_schema_1(f"stores/{codec}.zarr"), tmp_path / "made.zarr"
    options = [
        *("--params", in_schema_1(f"{codec}.yaml"), "--prepared", in_schema_1("prepared")),
        *("--teachers", in_schema_1("teachers"), "--out", made),
    ]
    result = CliRunner().invoke(main, ["dump", "golden", *map(str, options)])
    assert result.exit_code == 0, result.output
    files, again = tree(golden), tree(made)
    assert files.keys() == again.keys()
    for name, data in files.items():
        if not name.endswith("manifest.json") and not is_answer(name):
            assert again[name] == data, name
    for group in ("clean", *VIEWS):
        ours, theirs = read_manifest(made, group), read_manifest(golden, group)
        assert masked(ours) == masked(theirs)
        if ours.files == theirs.files:
            assert ours.measured_error == theirs.measured_error
    lossless = open_store(golden, groups=["plain"]).group("plain").manifest.header.lossy is False
    for name, array in all_numbers(golden).items():
        apart = measure(array, all_numbers(made)[name])
        # A rounding to the other side costs a step of the codec (topk: a class) in a few places.
        assert apart.mean_abs_difference < 5e-3, name
        assert apart.max_abs_difference < (0.02 if lossless else np.inf), name


def all_numbers(path):
    store = open_store(path, groups=("clean", *VIEWS))
    arrays = {split: store.clean.logits(split) for split in ("train", "test")}
    for name in VIEWS:
        group = store.group(name)
        arrays |= {f"{name}/{v}": group.logits(v) for v in range(group.views)}
    return {name: array.astype(np.float32) for name, array in arrays.items()}


@per_folder
def test_the_stores_are_of_the_teacher(folder):
    record = read_record(folder / "teachers/golden")
    header = read_manifest(folder / "stores/dense.zarr", "plain").header
    assert header.teacher.weights_sha256 == record.replicates[0].weights_sha256
    assert load_yaml(folder / "params.yaml")["dumps"]["golden"]["seed"] == header.recipe.seed


def test_an_unknown_schema_is_refused_by_name(tmp_path):
    store = tmp_path / "future.zarr"
    shutil.copytree(in_schema_1("stores/dense.zarr"), store)
    path = store / "plain/manifest.json"
    content = json.loads(path.read_text())
    path.write_bytes(canonical_json({**content, "schema": 99}))
    with pytest.raises(SchemaError, match="schema 99"):
        open_store(store, groups=["plain"])
