"""Kept results: numbers of trained networks as small files, and the report that reads them."""

import json
import shutil
from copy import deepcopy
from pathlib import Path

import pytest
from click.testing import CliRunner
from report_samples import EVALUATION, TRAINING, cache_features, folder_bytes, sample_project
from ruamel.yaml import YAML

from pipeline.core.params import load_yaml
from pipeline.evaluation.kept import load_kept
from pipeline.evaluation.kept_format import read_kept
from pipeline.results.record import ResultsError, timing_file
from stages.commands.keep import keep
from stages.evaluate import evaluate

ROOT = Path(__file__).resolve().parents[2]
RESULTS = sorted(ROOT.glob("results/*/*/*.json"))
SECTIONS = ("teachers", "baselines", "students")
TIMING = {
    "replicates": [
        {
            "replicate": r,
            "seconds": 90.0 + 60 * r,
            "images_per_second": 1000.0,
            "precision": "float32",
            "steps": "graph",
            "replicates_at_once": 2,
            "device": "a processor",
            "device_memory_bytes": 3_000_000_000,
            "versions": {"torch": "2.13.0"},
        }
        for r in range(2)
    ]
}


@pytest.fixture
def project(tmp_path):
    content = sample_project(tmp_path)
    methods = {
        name: json.loads((tmp_path / "students" / name / "record.json").read_text())["method"]
        for name in content["students"]
    }
    content |= {
        "evaluation": {**EVALUATION, "tsne": None},
        "training": TRAINING,
        "augmentation": record_of(tmp_path, "teachers", "big")["augmentation"],
        "methods": {
            m["name"]: {k: v for k, v in m.items() if k != "name"} for m in methods.values()
        },
    }
    timing = timing_file(tmp_path / "students" / "big-small-kd")
    timing.write_text(json.dumps(TIMING))
    return tmp_path, deepcopy(content)


def record_of(root, section, name):
    return json.loads((root / section / name / "record.json").read_text())


def run(command, root, content, *arguments, **paths):
    cache_features(root, content)
    with (root / "params.yaml").open("w") as file:
        YAML().dump(content, file)
    names = {n: root / n for n in ("prepared", "features", *SECTIONS)} | {
        "params": root / "params.yaml"
    }
    words = [w for name, path in (names | paths).items() for w in (f"--{name}", str(path))]
    return CliRunner().invoke(command, [*map(str, arguments), *words])


def kept_project(root, content):
    result = run(keep, root, content, root / "kept")
    assert result.exit_code == 0, result.output
    assert "8 of 8 networks" in result.output
    return root / "kept"


def report(root, content, **paths):
    return run(evaluate, root, content, out=root / "reports", **paths)


def test_the_report_of_kept_results_has_the_numbers_of_the_report_they_came_from(project):
    root, content = project
    kept = kept_project(root, content)
    assert report(root, content).exit_code == 0
    before = folder_bytes(root / "reports")
    for section in SECTIONS:
        shutil.rmtree(root / section)
    result = report(root, content, kept=kept)
    assert result.exit_code == 0, result.output
    after = folder_bytes(root / "reports")
    same = [
        "details.json",
        "metrics.json",
        "plots/curves.csv",
        "plots/vscores.csv",
        *(f"tables/{name}.csv" for name in ("accuracy", "calibration", "comparison", "vscores")),
        *(f"figures/{name}.png" for name in ("accuracy", "curves", "vscores")),
    ]
    for name in same:
        assert after[name] == before[name], name
    assert "figures/confusion.png" not in after, "its logits are not at hand"
    assert "8 of 8 networks" in after["tables/setting.md"].decode()


def test_what_training_took_is_shown(project):
    root, content = project
    kept = kept_project(root, content)
    shutil.rmtree(root / "students" / "big-small-kd")
    assert report(root, content, kept=kept).exit_code == 0
    rows = (root / "reports" / "tables" / "cost.csv").read_text().splitlines()
    names, values = (row.split(",") for row in rows)
    row = dict(zip(names, values, strict=True))
    assert row["name"] == "big-small-kd"
    assert (row["minutes"], row["device_memory_gb"], row["torch"]) == ("2", "3", "2.13.0")


def test_keeping_again_gives_the_same_bytes_and_leaves_others_alone(project):
    root, content = project
    kept = kept_project(root, content)
    before = folder_bytes(kept)
    assert len(before) == 8
    shutil.rmtree(root / "teachers")
    result = run(keep, root, content, kept)
    assert "6 of 8 networks" in result.output
    after = folder_bytes(kept)
    assert after["teachers/big.json"] == before["teachers/big.json"]
    alone = "baselines/small.json"
    assert after[alone] == before[alone]


def test_a_network_at_hand_goes_before_its_kept_results(project):
    root, content = project
    kept = kept_project(root, content)
    changed = kept / "students" / "big-small-kd.json"
    record = json.loads(changed.read_text())
    record["scores"]["top5_accuracy"] = [0.5, 0.5]
    changed.write_text(json.dumps(record))
    assert report(root, content, kept=kept).exit_code == 0
    details = json.loads((root / "reports" / "details.json").read_text())
    assert details["students"]["big-small-kd"]["top5_accuracy"] != 0.5
    shutil.rmtree(root / "students" / "big-small-kd")
    assert report(root, content, kept=kept).exit_code == 0
    details = json.loads((root / "reports" / "details.json").read_text())
    assert details["students"]["big-small-kd"]["top5_accuracy"] == 0.5


def test_what_was_neither_run_nor_kept_is_named_and_left_out(project):
    root, content = project
    kept = kept_project(root, content)
    (kept / "students" / "big-small-kd.json").unlink()
    shutil.rmtree(root / "students" / "big-small-kd")
    result = report(root, content, kept=kept)
    assert result.exit_code == 0, result.output
    assert "left out: students.big-small-kd" in result.output
    assert "1 of 8 networks" in (root / "reports" / "tables" / "setting.md").read_text()
    assert report(root, content).exit_code == 1, "without kept results all must be there"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["training"].update(epochs=5), "training"),
        (lambda c: c["training"]["schedule"].update(name="step"), "training"),
        (lambda c: c["training"].pop("evaluate_every"), "training"),  # kept: 2, default: 1
        (lambda c: c["methods"]["kd"].pop("alpha"), "method"),
        (lambda c: c["evaluation"]["vscore"].pop("n_init"), "evaluation.vscore"),
        (lambda c: c["methods"]["kd"].update(temperature=3.0), "method"),
        (lambda c: c["augmentation"].update(pad=3), "augmentation"),
        (lambda c: c["evaluation"]["vscore"].update(seed=9), "evaluation.vscore"),
        (lambda c: c["students"]["big-small-kd"].update(seed=9), "other parameters"),
    ],
)
def test_kept_results_of_other_parameters_are_refused(project, change, message):
    root, content = project
    kept = kept_project(root, content)
    shutil.rmtree(root / "students" / "big-small-kd")
    change(content)
    result = report(root, content, kept=kept)
    assert result.exit_code == 1
    assert "students.big-small-kd" in result.output
    assert message in result.output


def test_defaults_may_be_left_out_and_what_changes_no_number_may_change(project):
    root, content = project
    kept = kept_project(root, content)
    fingerprint = record_of(root, "students", "big-small-kd")["dataset"]["fingerprint"]
    del content["training"]["precision"]
    content["training"] |= {"schedule": {"name": "cosine"}, "batch_statistics": "own"}
    del content["evaluation"]["vscore"]["groups"]["different"]
    assert load_kept(kept, "students", "big-small-kd", content, fingerprint) is not None


def test_kept_results_of_nothing_are_refused_in_words(project):
    root, content = project
    kept = kept_project(root, content)
    for section in SECTIONS:
        shutil.rmtree(root / section)
    result = report(root, content, kept=kept.parent)  # instead of the folder of one study
    assert result.exit_code == 1
    assert f"no network of params.yaml is trained here or kept in {kept.parent}; " in result.output
    assert not list(root.glob("reports*"))


def test_imported_weights_can_be_kept_under_any_recipe(project):
    """They have no epochs, and none of the recipe is theirs."""
    root, content = project
    path = root / "teachers" / "big" / "record.json"
    record = json.loads(path.read_text())
    weights = {"path": "big.safetensors", "sha256": "b" * 64}
    record["entry"]["weights"] = content["teachers"]["big"]["weights"] = weights
    path.write_text(json.dumps(record))
    (curves,) = (root / "teachers" / "big").glob("*/curves.csv")
    curves.write_text(curves.read_text().splitlines()[0] + "\n")
    kept = kept_project(root, content)
    content["training"]["epochs"] = 5
    fingerprint = record["dataset"]["fingerprint"]
    imported = load_kept(kept, "teachers", "big", content, fingerprint)
    assert imported.curves(0)["epoch"] == []
    with pytest.raises(ResultsError, match="another training"):
        load_kept(kept, "baselines", "small", content, fingerprint)


def test_kept_results_of_another_version_are_refused_by_name(project):
    root, content = project
    path = kept_project(root, content) / "baselines" / "small.json"
    kept = json.loads(path.read_text())
    kept["record"]["training"]["warp"] = 9
    path.write_text(json.dumps(kept))
    with pytest.raises(ResultsError, match=r"small\.json: not a recipe of this version: .*warp"):
        load_kept(
            path.parents[1], "baselines", "small", content, kept["record"]["dataset"]["fingerprint"]
        )


@pytest.mark.parametrize("text", ["{", "[]", '{"schema": 2}', '{"schema": 1}'])
def test_files_that_hold_no_kept_results_are_refused(project, text):
    root, content = project
    kept = kept_project(root, content)
    (kept / "students" / "big-small-kd.json").write_text(text)
    shutil.rmtree(root / "students" / "big-small-kd")
    result = report(root, content, kept=kept)
    assert result.exit_code == 1
    assert "big-small-kd.json" in result.output
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    "changes",
    [
        {"record": {}},
        {"record": []},
        {"scores": None},
        {"curves": []},
        {"curves": [{}, {}]},
        {"curves": [{"epoch": [0], "test_top1_accuracy": [0.5]}]},
        {"scores": {"nll": [0.5]}},
        {"v_scores": [{}]},
        {"v_scores": {}},
        {"timing": 3},
        {"clustering": None},
    ],
    ids=str,
)
def test_kept_files_that_lack_something_are_refused(project, changes):
    root, content = project
    path = kept_project(root, content) / "students" / "big-small-kd.json"
    before = json.loads(path.read_text())
    read_kept(path)
    path.write_text(json.dumps(before | changes))
    with pytest.raises(ResultsError, match="holds no kept results"):
        read_kept(path)


def test_a_folder_that_is_not_there_is_named(project):
    root, content = project
    result = report(root, content, kept=root / "nowhere")
    assert result.exit_code == 1
    assert "nowhere: no such folder" in result.output


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_the_project_s_kept_results_are_those_of_their_profile(path):
    profile = load_yaml(ROOT / "profiles" / f"{path.parent.parent.name}.yaml")
    record, _ = read_kept(path)
    fingerprint = record.dataset.fingerprint
    run = load_kept(path.parent.parent, path.parent.name, path.stem, profile, fingerprint)
    assert run is not None
    assert json.loads(record.to_json()) == json.loads(path.read_text())["record"]
    recipe = profile["training"] | profile[run.section][run.name].get("training", {})
    assert run.epochs == (0 if run.is_imported else recipe["epochs"])
    assert all(0.1 < accuracy < 1 for accuracy in run.top1_accuracies)


def test_the_project_has_kept_results():
    assert RESULTS
