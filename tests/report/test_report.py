"""The evaluate stage on made-up results: what it writes, and what it refuses."""

import json
import shutil

import altair
import numpy as np
import pytest
from click.testing import CliRunner
from jsonschema.exceptions import ValidationError
from report_samples import EVALUATION, TEST_IMAGES, cache_features, folder_bytes, sample_project
from ruamel.yaml import YAML

from pipeline.evaluation.params import EvaluationParams, VScoreParams
from pipeline.evaluation.runs import load_runs
from pipeline.report import folder
from pipeline.results.record import ResultsError, read_record
from stages.commands.gate import gate
from stages.evaluate import evaluate


@pytest.fixture(scope="module")
def drawn():
    """The charts of the report that `finished` writes."""
    return []


@pytest.fixture(scope="module")
def finished(tmp_path_factory, drawn):
    root = tmp_path_factory.mktemp("finished")
    content = sample_project(root)
    with pytest.MonkeyPatch.context() as patch:
        write = folder.write_chart
        patch.setattr(
            folder, "write_chart", lambda chart, out: drawn.append(chart) or write(chart, out)
        )
        result = run(root, content)
    assert result.exit_code == 0, result.output
    return root, content, result.output


@pytest.fixture
def project(tmp_path):
    content = sample_project(tmp_path)
    content["evaluation"] = {**EVALUATION, "tsne": None}
    return tmp_path, content


def run(root, content, out="reports", *options):
    cache_features(root, content)
    with (root / "params.yaml").open("w") as file:
        YAML().dump(content, file)
    paths = {
        name: str(root / name)
        for name in ("prepared", "teachers", "baselines", "students", "features")
    } | {"out": str(root / out), "params": str(root / "params.yaml")}
    arguments = [word for name, path in paths.items() for word in (f"--{name}", path)]
    return CliRunner().invoke(evaluate, [*arguments, *options])


def test_charts_are_what_the_schema_of_vega_lite_allows(finished, drawn):
    assert len(drawn) > 9
    for chart in drawn:
        altair.TopLevelSpec.from_dict(chart.specification)
    wrong = {**drawn[0].specification, "width": "wide"}
    with pytest.raises(ValidationError):
        altair.TopLevelSpec.from_dict(wrong)


def test_the_report_is_complete(finished):
    root, content, output = finished
    files = folder_bytes(root / "reports")
    tables = {
        f"tables/{t}.{s}"
        for t in ("setting", "accuracy", "calibration", "comparison", "vscores")
        for s in ("csv", "md", "tex")
    }
    pictures = (
        "accuracy",
        "classes",
        "confusion",
        "curves",
        "differences",
        "losses",
        "reliability",
        "vscores",
        "vscores-l2",
        "tsne-similar",
        "tsne-different",
    )
    kinds = ("figures/{}.png", "vector/{}.svg", "vector/{}.pdf")
    figures = {kind.format(name) for name in pictures for kind in kinds} | {"figures/strip.png"}
    plots = {f"plots/{name}.csv" for name in ("curves", "confusion", "vscores")}
    others = {"results.csv", "metrics.json", "details.json"}
    others |= {"report.md", "report.html", "summary.txt"}
    assert set(files) == tables | figures | plots | others
    names = [name for section in ("teachers", "baselines", "students") for name in content[section]]
    assert len(names) == 8
    for name in names:
        assert name in output
        assert name.encode() in files["tables/accuracy.csv"]
    assert files["summary.txt"].decode() in output


def test_a_second_run_elsewhere_gives_the_same_bytes(finished, tmp_path):
    root, content, _ = finished
    for name in ("prepared", "teachers", "baselines", "students"):
        shutil.copytree(root / name, tmp_path / name)
    assert run(tmp_path, content).exit_code == 0
    assert folder_bytes(tmp_path / "reports") == folder_bytes(root / "reports")


def test_metrics_hold_means_and_deviations(finished):
    root, _, _ = finished
    metrics = json.loads((root / "reports" / "details.json").read_text())
    record = read_record(root / "students" / "big-small-kd")
    accuracies = [replicate.top1_accuracy for replicate in record.replicates]
    found = metrics["students"]["big-small-kd"]
    assert found["top1_accuracy"] == pytest.approx(np.mean(accuracies), abs=1e-6)
    assert found["top1_accuracy_deviation"] == pytest.approx(np.std(accuracies, ddof=1), abs=1e-6)
    student = np.load(root / "students" / "big-small-kd" / "replicate-0" / "test_logits.npy")
    other = np.load(root / "students" / "big-small-kd" / "replicate-1" / "test_logits.npy")
    teacher = np.load(root / "teachers" / "big" / "replicate-0" / "test_logits.npy")
    same = [(one.argmax(1) == teacher.argmax(1)).mean() for one in (student, other)]
    assert found["agreement"] == pytest.approx(np.mean(same), abs=1e-6)
    assert "top1_accuracy_deviation" not in metrics["teachers"]["big"], "one replicate has none"
    assert "agreement" not in metrics["teachers"]["big"]
    assert 0 <= found["v_score"]["similar_train_raw"] <= 1


def test_scattered_features_have_the_lower_v_score(finished):
    root, _, _ = finished
    metrics = json.loads((root / "reports" / "details.json").read_text())["teachers"]
    assert metrics["big"]["v_score"]["similar_train_raw"] == pytest.approx(1)
    assert metrics["big-mixup"]["v_score"]["similar_train_raw"] < 0.9


def test_the_html_report_needs_nothing_else(finished):
    root, _, _ = finished
    text = (root / "reports" / "report.html").read_text(encoding="utf-8")
    assert text.count('<figure class="chart"') == 11
    assert "200 test images" in text
    assert "8 views" in text
    markdown = (root / "reports" / "report.md").read_text(encoding="utf-8")
    for name in ("accuracy", "curves", "vscores", "tsne-similar"):
        assert f"(figures/{name}.png)" in markdown


def test_networks_are_enumerated_never_globbed(project):
    root, content = project
    shutil.copytree(root / "students" / "big-small-kd", root / "students" / "stray")
    del content["students"]["big-small-rescaled"]
    result = run(root, content)
    assert result.exit_code == 0, result.output
    assert "stray" not in result.output
    metrics = json.loads((root / "reports" / "metrics.json").read_text())
    assert set(metrics["students"]) == set(content["students"])


def test_everything_absent_is_named_at_once(project):
    root, content = project
    shutil.rmtree(root / "teachers" / "big")
    (root / "baselines" / "small" / "replicate-1" / "test_logits.npy").unlink()
    (root / "students" / "big-small-kd" / "record.json").write_text("{")
    result = run(root, content)
    assert result.exit_code == 1
    lines = [line for line in result.output.splitlines() if line.startswith("error:")]
    assert len(lines) == 3
    for name, line in zip(
        ("teachers.big", "baselines.small", "students.big-small-kd"), lines, strict=True
    ):
        assert name in line
    assert "replicate-1/test_logits.npy" in lines[1]
    assert not (root / "reports").exists()


def test_a_network_below_its_floor_is_recorded_and_the_gate_fails(project):
    root, content = project
    content["evaluation"]["floors"] = {"teachers": 0.99, "baselines": None, "students": 0.9}
    result = run(root, content)
    assert result.exit_code == 0, result.output
    line = "teachers.big (hard labels): top-1 accuracy 95.00 % is below the floor of 99 %"
    assert f"warning: {line}" in result.output
    assert line in (root / "reports" / "report.md").read_text(encoding="utf-8")
    assert "students." not in result.output
    failed = run_gate(root)
    assert failed.exit_code == 1
    assert f"error: {line}" in failed.output
    content["evaluation"]["floors"]["teachers"] = 0.95
    assert "warning" not in run(root, content).output
    passed = run_gate(root)
    assert passed.exit_code == 0
    assert "8 networks reach their floors" in passed.output
    content["evaluation"]["floors"] = dict.fromkeys(("teachers", "baselines", "students"))
    run(root, content)
    assert run_gate(root).output == "no floors are set (evaluation.floors)\n"


def run_gate(root):
    """`decant gate` with the parameters of the last run."""
    names = ("prepared", "teachers", "baselines", "students")
    paths = {name: root / name for name in names} | {"params": root / "params.yaml"}
    return CliRunner().invoke(gate, [w for n, path in paths.items() for w in (f"--{n}", str(path))])


def test_metrics_are_the_accuracies_alone(finished):
    root, content, _ = finished
    metrics = json.loads((root / "reports" / "metrics.json").read_text())
    details = json.loads((root / "reports" / "details.json").read_text())
    names = {"top1_accuracy", "top1_accuracy_deviation"}
    for section in ("teachers", "baselines", "students"):
        assert metrics[section].keys() == content[section].keys()
        for name, found in metrics[section].items():
            assert found == {k: v for k, v in details[section][name].items() if k in names}


def test_what_no_entry_names_is_moved_away_where_asked(project, monkeypatch):
    root, content = project
    monkeypatch.chdir(root)
    del content["students"]["big-small-rescaled"]
    folder = root / "students" / "big-small-rescaled"
    record = (folder / "record.json").read_bytes()
    (root / "students" / ".gitignore").write_text("*")
    assert run(root, content).exit_code == 0
    assert folder.exists(), "by hand, nothing is moved"
    for _ in range(2):  # the second time one of that name is there already
        result = run(root, content, "reports", "--tidy")
        assert "big-small-rescaled: not in " in result.output
        assert not folder.exists()
        assert (root / "students" / ".gitignore").exists()
        moved = root / "data/.work/removed/students/big-small-rescaled"
        assert (moved / "record.json").read_bytes() == record
        shutil.copytree(moved, folder)


def test_a_folder_that_is_no_report_is_left_alone(project):
    root, content = project
    (root / "mine").mkdir()
    (root / "mine" / "thesis.tex").write_text("years of work")
    result = run(root, content, out="mine")
    assert result.exit_code == 1
    assert "thesis.tex" in result.output
    assert (root / "mine" / "thesis.tex").read_text() == "years of work"


def test_a_parquet_file_inside_the_report_is_refused_before_anything_is_done(project):
    root, content = project
    result = run(root, content, "reports", f"--parquet={root / 'reports' / 'results.parquet'}")
    assert result.exit_code == 1
    assert "results.parquet: " in result.output
    assert "give another path" in result.output
    assert not list(root.glob("reports*"))


def test_a_report_takes_an_older_one_s_place_and_nothing_else_s(project):
    root, content = project
    assert run(root, content).exit_code == 0
    reports = root / "reports"
    (reports / ".gitignore").write_text("/tables\n")
    (reports / "figures" / "old.png").write_text("from an older run")
    assert run(root, content).exit_code == 0
    assert (reports / ".gitignore").exists()
    assert not (reports / "figures" / "old.png").exists()
    assert not (root / "reports.unfinished").exists()


def test_logits_that_are_not_the_records_are_refused(project):
    root, content = project
    path = root / "students" / "big-small-kd" / "replicate-0" / "test_logits.npy"
    np.save(path, np.load(path)[::-1])
    result = run(root, content)
    assert result.exit_code == 1
    assert "students.big-small-kd" in result.output
    assert "record says" in result.output


def test_logits_of_another_shape_are_refused(project):
    root, content = project
    path = root / "teachers" / "big" / "replicate-0" / "test_logits.npy"
    np.save(path, np.load(path)[:, :-1])
    result = run(root, content)
    assert result.exit_code == 1
    assert f"expected ({TEST_IMAGES}, 6)" in result.output


def test_a_network_of_another_data_set_is_refused(project):
    root, content = project
    entries = {"teachers": {"big": content["teachers"]["big"]}}
    with pytest.raises(ResultsError, match=r"teachers\.big.*another data set"):
        load_runs(entries, {"teachers": root / "teachers"}, "f" * 64)


def test_a_record_of_another_network_than_its_entrys_is_refused(project):
    """The code of a network of one's own is run, and a record may be from a remote."""
    root, content = project
    path = root / "teachers" / "big" / "record.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "network": "os:abort"}))
    result = run(root, content)
    assert result.exit_code == 1
    assert "teachers.big" in result.output
    assert "other parameters" in result.output


def test_a_network_of_other_parameters_is_refused(project):
    root, content = project
    content["students"]["big-small-kd"]["seed"] = 7
    result = run(root, content)
    assert result.exit_code == 1
    assert "students.big-small-kd" in result.output
    assert "other parameters" in result.output


def test_imported_weights_are_called_so(project):
    root, content = project
    path = root / "teachers" / "big" / "record.json"
    record = json.loads(path.read_text())
    record["entry"]["weights"] = content["teachers"]["big"]["weights"] = {
        "path": "a",
        "sha256": "b",
    }
    path.write_text(json.dumps(record))
    for curves in (root / "teachers" / "big").glob("*/curves.csv"):
        curves.write_text(curves.read_text().splitlines()[0] + "\n")
    assert run(root, content).exit_code == 0
    table = (root / "reports" / "tables" / "accuracy.md").read_text(encoding="utf-8")
    assert "| imported weights" in next(line for line in table.splitlines() if "| big " in line)


def test_unknown_classes_are_named(project):
    root, content = project
    groups = {"similar": ["one", "two", "seven"], "different": ["zero", "five"]}
    content["evaluation"]["vscore"] = {**EVALUATION["vscore"], "groups": groups}
    with pytest.raises(ValueError, match="has no class seven"):
        cache_features(root, content)
    options = [
        f"--{name}={root / name}" for name in ("prepared", "teachers", "baselines", "students")
    ]
    with (root / "params.yaml").open("w") as file:
        YAML().dump(content, file)
    command = [*options, f"--params={root / 'params.yaml'}", f"--out={root / 'reports'}"]
    result = CliRunner().invoke(evaluate, command)
    assert result.exit_code == 1
    assert "has no class seven" in result.output


def test_a_project_without_students_has_a_report(project):
    root, content = project
    content |= {"students": {}, "baselines": {}}
    assert run(root, content).exit_code == 0


def test_without_groups_of_classes_there_are_no_v_scores(project):
    root, content = project
    content["evaluation"]["vscore"] = {"groups": {}}
    assert run(root, content).exit_code == 0
    assert "V-score" not in (root / "reports/report.md").read_text(encoding="utf-8")
    assert not list((root / "reports/tables").glob("vscores*"))
    assert (root / "reports/plots/vscores.csv").read_text().startswith("network,classes,v_score")


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ({"similar": ("one",)}, "similar needs two classes"),
        ({"similar": ("one", "two", "one")}, "similar names one more than once"),
    ],
)
def test_class_groups_that_cannot_be_clustered(groups, message):
    with pytest.raises(ValueError, match=message):
        VScoreParams(groups=groups)


def test_defaults_of_the_evaluation():
    params = EvaluationParams(vscore=VScoreParams(groups={"similar": ("a", "b")}))
    assert params.tsne is None
    assert params.floors.teachers is None
    assert not params.paper_tables


def test_a_student_of_an_older_teacher_is_refused(project):
    root, content = project
    record = root / "students" / "big-small-kd" / "record.json"
    facts = json.loads(record.read_text())
    facts["teacher"]["weights_sha256"] = "f" * 64
    record.write_text(json.dumps(facts))
    result = run(root, content)
    assert result.exit_code == 1
    assert "students.big-small-kd: " in result.output
    assert "a store of an older version of the teacher big; run `decant repro " in result.output
    assert not (root / "reports").exists()
