"""`decant compare`: two real runs, and one thing changed in the second."""

import csv
import json
import shutil

import numpy as np
import pytest
from click.testing import CliRunner
from workspaces import Workspace, digits_params

from pipeline.models.weights import load_weights, save_weights, weights_digest
from pipeline.tools.compare_runs import compare_folders
from stages.cli import main

WEIGHTS = "data/teachers/resnet8/replicate-0/weights.safetensors"
RECORD = "data/students/plain/record.json"
CHUNK = "data/stores/resnet8.zarr/mixed/logits/c.1.0.0"


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """A whole run on a few digits: teacher, store, student, report."""
    folder = tmp_path_factory.mktemp("ran")
    content = digits_params()
    content["dataset"]["subset_fraction"] = 0.1
    content |= {
        "baselines": {},
        "evaluation": {**content["evaluation"], "tsne": None, "floors": {}},
    }
    content["evaluation"]["floors"] = {"teachers": None, "baselines": None, "students": None}
    content["evaluation"]["vscore"]["groups"] = {}
    work = Workspace(folder, content)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.delenv("DECANT_DATA", raising=False)
        work.run("prepare")
        work.run("train-teacher", "resnet8")
        work.run("dump", "resnet8")
        work.run("train-student", "plain")
        work.run("evaluate")
    return folder


@pytest.fixture
def pair(ran, tmp_path):
    """The run, and a copy of it that a test may change."""
    copy = tmp_path / "copy"
    shutil.copytree(ran, copy, ignore=shutil.ignore_patterns(".work"))
    return ran, copy


def compare(pair, *options, code=1):
    result = CliRunner().invoke(
        main, ["compare", *map(str, pair), *options], catch_exceptions=False
    )
    assert result.exit_code == code, result.output
    return result.output


def change_json(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def test_the_same_run_is_equal(pair):
    output = compare(pair, code=0)
    assert "all equal" in output
    files = int(output.split(": ")[-1].split()[0])
    assert files > 50  # prepared, two networks, three groups, tables


def test_every_kind_of_file_is_compared(pair):
    first, second = pair
    for path in sorted(second.rglob("*")):
        if path.is_file():
            path.write_bytes(path.read_bytes()[:-4])
    names = {difference.path for difference in compare_folders(first, second).differences}
    for part in (
        "data/prepared/train_images.npy",
        "data/prepared/dataset.json",
        WEIGHTS,
        RECORD,
        "data/students/plain/replicate-0/curves.csv",
        "data/students/plain/replicate-0/test_logits.npy",
        CHUNK,
        "data/stores/resnet8.zarr/plain/crop_yx/zarr.json",
        "data/versions/resnet8.zarr/mixed",
        "reports/metrics.json",
        "reports/tables/accuracy.csv",
    ):
        assert part in names
    assert not any(name.endswith("timing.json") for name in names)


def test_a_flipped_weight(pair):
    weights = load_weights(pair[1] / WEIGHTS)
    weights["conv1.weight"].view(-1)[5] += 0.25
    save_weights(weights, pair[1] / WEIGHTS)
    output = compare(pair)
    assert f"{WEIGHTS}: conv1.weight: 1 of 432 numbers, largest difference 0.25" in output
    assert "1 differ" in output
    compare(pair, "--tolerance", "0.2")
    compare(pair, "--tolerance", "0.3", code=0)
    compare(pair, "--ignore", f"{WEIGHTS}:conv1.*", code=0)


def test_a_changed_value_of_a_record(pair):
    def change(content):
        content["replicates"][0]["top1_accuracy"] += 0.125
        content["entry"]["share"] = 0.5
        content["surprise"] = 1

    before = json.loads((pair[0] / RECORD).read_text())["replicates"][0]["top1_accuracy"]
    change_json(pair[1] / RECORD, change)
    output = compare(pair)
    accuracies = f"{before} in the first, {before + 0.125} in the second"
    assert f"{RECORD}: replicates.0.top1_accuracy: {accuracies}" in output
    assert f"{RECORD}: entry.share: 0.0 in the first, 0.5 in the second" in output
    assert f"{RECORD}: surprise: only in the second" in output
    keys = ("replicates.0.top1_accuracy", "entry.*", "surprise")
    compare(pair, *(word for key in keys for word in ("--ignore", f"record.json:{key}")), code=0)


def test_versions_and_times_are_aside(pair):
    for group in ("plain", "mixed"):
        path = pair[1] / f"data/stores/resnet8.zarr/{group}/manifest.json"
        change_json(
            path, lambda m: m["header"]["versions"].update(numpy="9.9") or m.update(digest="0")
        )
    (pair[1] / "data/students/plain/timing.json").write_text("{}")
    compare(pair, code=0)
    change_json(path, lambda m: m["header"].update(batch_size=7))
    assert "header.batch_size: 256 in the first, 7 in the second" in compare(pair)


def test_a_missing_network(pair):
    shutil.rmtree(pair[1] / "data/students/plain")
    assert f"data/students/plain: only in {pair[0]}\n" in compare(pair)
    assert f"data/students/plain: only in {pair[0]}\n" in compare(pair[::-1])
    compare(pair, "--ignore", "data/students/plain/*", code=0)


def test_files_that_another_version_does_not_write(pair):
    """Extra files of a trained network are named; what a network must have is a difference."""
    replicate = "data/teachers/resnet8/replicate-0"
    (pair[1] / replicate / "train_sample.safetensors").unlink()
    (pair[1] / "data/teachers/resnet8/notes.txt").write_text("new")
    output = compare(pair, code=0)
    assert f"only in {pair[0]}:\n  {replicate}/train_sample.safetensors" in output
    assert f"only in {pair[1]}:\n  data/teachers/resnet8/notes.txt" in output
    (pair[1] / replicate / "curves.csv").unlink()
    assert f"{replicate}/curves.csv: only in {pair[0]}" in compare(pair)


def test_a_changed_number_of_a_table(pair):
    path = pair[1] / "reports/tables/accuracy.csv"
    with path.open(newline="") as file:
        rows = list(csv.reader(file))
    column = next(i for i, cell in enumerate(rows[1]) if "." in cell)
    old, rows[1][column] = rows[1][column], str(float(rows[1][column]) + 0.01)
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    assert f"accuracy.csv: line 2 {rows[0][column]}: {old} in the first" in compare(pair)
    compare(pair, "--tolerance", "0.011", code=0)
    change_json(pair[1] / "reports/metrics.json", lambda content: content.clear())
    assert "reports/metrics.json: " in compare(pair, "--tolerance", "0.011")


def test_a_damaged_chunk_of_a_store(pair):
    path = pair[1] / CHUNK
    data = bytearray(path.read_bytes())
    data[40] ^= 1
    path.write_bytes(data)
    output = compare(pair)
    assert f"{CHUNK}: other bytes, and not readable" in output
    assert "CRC" in output


def test_the_store_of_another_teacher(pair, tmp_path, monkeypatch):
    """What a real dump writes of changed weights: each chunk with the difference of its logits."""
    weights = load_weights(pair[1] / WEIGHTS)
    weights["fc.bias"][3] += 1
    save_weights(weights, pair[1] / WEIGHTS)
    record = pair[1] / "data/teachers/resnet8/record.json"
    digest = weights_digest(weights)
    change_json(record, lambda content: content["replicates"][0].update(weights_sha256=digest))
    monkeypatch.chdir(pair[1])
    assert CliRunner().invoke(main, ["dump", "resnet8"]).exit_code == 0
    output = compare(pair)
    assert f"{CHUNK}: " in output
    assert "numbers, largest difference 1" in output
    assert "manifest.json: header.teacher.weights_sha256: " in output
    assert "crop_yx" not in output
    compare(pair, "--tolerance", "1.1", code=0)


def test_nan_equals_nan_alone(pair):
    name = "data/students/plain/replicate-0/test_logits.npy"
    logits = np.load(pair[0] / name)
    for folder, offset in zip(pair, (0.0, 0.25), strict=True):
        changed = logits.copy()
        changed[0, 0], changed[1, 1] = np.nan, logits[1, 1] + offset
        np.save(folder / name, changed)
    try:
        assert f"{name}: 1 of {logits.size:,} numbers, largest difference 0.25" in compare(pair)
        compare(pair, "--tolerance", "0.26", code=0)
        changed[0, 0] = 0.0
        np.save(pair[1] / name, changed)
        assert "largest difference nan" in compare(pair, "--tolerance", "0.26")
    finally:
        np.save(pair[0] / name, logits)


def test_prepared_data_are_compared_by_bytes(pair):
    path = pair[1] / "data/prepared/train_labels.npy"
    labels = np.load(path)
    with path.open("wb") as file:
        np.lib.format.write_array(file, labels, version=(2, 0))
    assert f"{path.relative_to(pair[1])}: other bytes, the same numbers" in compare(pair)


def test_a_folder_without_results(pair, tmp_path):
    output = compare((pair[0], tmp_path / "copy" / "data"))
    assert "error: " in output
    assert "holds no results to compare" in output
