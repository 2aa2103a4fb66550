"""results.csv: every fact and number of every replicate, and what is told of it in the documentation."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from report_samples import EVALUATION, cache_features, sample_project
from ruamel.yaml import YAML

from pipeline.evaluation.clusters import tsne_embedding, v_score
from pipeline.evaluation.remembered import remember_in
from stages.evaluate import evaluate

DOCS = Path(__file__).parents[2] / "docs" / "results.md"
FOLDERS = ("prepared", "teachers", "baselines", "students", "features")


def write_report(root, content, *options):
    cache_features(root, content)
    with (root / "params.yaml").open("w") as file:
        YAML().dump(content, file)
    paths = {name: root / name for name in FOLDERS}
    paths |= {"params": root / "params.yaml", "out": root / "reports"}
    words = [f"--{name}={path}" for name, path in paths.items()]
    result = CliRunner().invoke(evaluate, [*words, *options])
    assert result.exit_code == 0, result.output
    return root / "reports"


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    root = tmp_path_factory.mktemp("results")
    content = sample_project(root)
    content["evaluation"] = {**EVALUATION, "tsne": None}
    return write_report(root, content, f"--parquet={root / 'results.parquet'}"), content


@pytest.fixture(scope="module")
def results(report):
    return pd.read_csv(report[0] / "results.csv")


def test_there_is_a_row_for_each_replicate(report, results):
    records = [
        (section, name, replicate["replicate"], replicate["weights_sha256"])
        for section in ("teachers", "baselines", "students")
        for name in report[1][section]
        for replicate in json.loads(
            (report[0].parent / section / name / "record.json").read_text()
        )["replicates"]
    ]
    columns = ["section", "name", "replicate", "weights_sha256"]
    assert list(results[columns].itertuples(index=False, name=None)) == records


def test_numbers_have_all_their_digits(report, results):
    """Against the very logits, not against anything that was printed."""
    labels = np.load(report[0].parent / "prepared" / "test_labels.npy")
    for row in results.itertuples():
        folder = report[0].parent / row.section / row.name / f"replicate-{row.replicate}"
        logits = np.load(folder / "test_logits.npy")
        accuracy = (logits.argmax(axis=1) == labels).mean()
        assert row.top1_accuracy == pytest.approx(accuracy, abs=1e-15)


def test_facts_are_those_of_the_parameters(results):
    student = results.set_index("name").loc["big-small-rescaled-pmu10"].iloc[1]
    assert student["loss"] == "rescaled"
    assert student["options"] == "alpha=0.9 gamma=0.1"
    assert (student["option_alpha"], student["option_gamma"]) == (0.9, 0.1)
    assert (student["share"], student["mixup_alpha"], student["views_read"]) == (0.1, 1.0, 8)
    assert (student["teacher"], student["teacher_network"]) == ("big", "resnet20")
    assert (student["replicate"], student["seed"]) == (1, 3)
    assert np.isnan(student["views"])
    teacher = results.set_index("name").loc["big"]
    assert np.isnan(teacher["agreement"])
    assert teacher["v_score_similar_train_raw"] == pytest.approx(1)


def test_a_group_by_gives_the_printed_table(report, results):
    table = pd.read_csv(report[0] / "tables" / "accuracy.csv").set_index("name")
    means = results.groupby("name")["top1_accuracy"].agg(["mean", "std"])
    assert table["top1_accuracy"].to_dict() == pytest.approx(means["mean"].to_dict(), abs=1e-6)
    deviations = table["top1_accuracy_deviation"].dropna()
    assert len(deviations) == 6
    assert deviations.to_dict() == pytest.approx(means["std"].dropna().to_dict(), abs=1e-6)


def test_parquet_holds_the_same(report):
    pytest.importorskip("pyarrow")
    parquet = pd.read_parquet(report[0].parent / "results.parquet")
    text = (report[0] / "results.csv").read_text(encoding="utf-8")
    assert parquet.to_csv(index=False, lineterminator="\n") == text


def test_every_column_is_documented(results):
    named = set(re.findall(r"^\| `([^`]+)`", DOCS.read_text(encoding="utf-8"), re.MULTILINE))
    patterns = {name for name in named if name != name.lower()}
    fixed = {
        name
        for name in results
        if not name.startswith(("option_", "homogeneity_", "completeness_", "v_score_"))
    }
    assert fixed == named - patterns
    assert patterns == {"option_NAME", "MEASURE_GROUP_SPLIT_FEATURES"}


def test_what_has_not_changed_is_not_clustered_again(tmp_path):
    content = sample_project(tmp_path)
    first = write_report(tmp_path, content)
    files = {path: path.stat().st_mtime_ns for path in (tmp_path / "clusters").iterdir()}
    assert {path.name.split("-")[0] for path in files} == {"_v_score", "tsne_embedding", "drawn"}
    before = {name: (first / name).read_bytes() for name in ("results.csv", "report.html")}
    shutil.rmtree(first)
    write_report(tmp_path, content)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "clusters").iterdir()} == files
    assert {name: (first / name).read_bytes() for name in before} == before


def test_a_damaged_file_is_made_anew_and_other_arguments_have_files_of_their_own(tmp_path):
    rng = np.random.default_rng(0)
    features, labels = rng.normal(size=(40, 4)).astype(np.float32), np.arange(40) % 3
    settings = {"perplexity": 5.0, "seed": 0}
    expected = tsne_embedding(features, **settings)
    with remember_in(tmp_path):
        assert np.array_equal(tsne_embedding(features, **settings), expected)
        (path,) = tmp_path.iterdir()
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        for damaged in (bytes(content), content[:50], b""):
            path.write_bytes(damaged)
            assert np.array_equal(tsne_embedding(features, **settings), expected)
        tsne_embedding(features, **settings | {"seed": 1})
        tsne_embedding(features, **settings | {"perplexity": 6.0})
        tsne_embedding(features + 1, **settings)
        score = v_score(features, labels, normalise=True, seed=0, n_init=2)
        assert v_score(features, labels, normalise=True, seed=0, n_init=2) == score
    assert len(list(tmp_path.iterdir())) == 5
    assert v_score(features, labels, normalise=True, seed=0, n_init=2) == score
