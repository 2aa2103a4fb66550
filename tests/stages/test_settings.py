"""--set, --device, --workers of single commands; --json of those that print results; nearest names."""

import json
import os

import click
import pytest
from workspaces import Workspace, digits_params

from pipeline.core.machine import asked_jobs
from stages.shared.nearest import unknown
from stages.shared.settings import applied, changed, parsed, with_settings


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return Workspace(tmp_path, digits_params())


def test_a_value_of_the_command_line_goes_before_that_of_the_file(workspace):
    output = workspace.run("prepare", "--set", "dataset.subset_fraction=0.1")
    assert "145 training" in output
    assert "`dvc repro` makes these" in output
    few = ("--set", "dataset.subset_fraction=0.1")
    workspace.run("train-teacher", "resnet8", *few, "--set", "training.epochs=2")
    record = workspace.record("data/teachers/resnet8")
    assert record["training"]["epochs"] == 2
    assert workspace.content["training"]["epochs"] == 1
    wrong = workspace.run("train-teacher", "resnet8", *few, "--set", "training.epoch=2", code=1)
    assert "training.epoch: unknown key; did you mean epochs?" in wrong


def test_a_device_is_a_setting_of_the_machine(workspace):
    workspace.run("prepare")
    message = workspace.run("train-teacher", "resnet8", "--device", "cuda:99", code=1)
    assert "machine.device: cuda:99 is not there" in message
    assert "--set" not in message
    assert "machine.device" in workspace.run("prepare", "--device", "tpu", code=1)


def test_workers_for_one_command(monkeypatch):
    monkeypatch.setenv("DECANT_JOBS", "7")
    with applied((), 3):
        assert asked_jobs() == 3
    assert asked_jobs() == 7
    monkeypatch.delenv("DECANT_JOBS")
    with applied((), 2):
        assert asked_jobs() == 2
    assert "DECANT_JOBS" not in os.environ


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a.b=2", 2),
        ("a.b=5e-4", 5e-4),
        ("a.b=", None),
        ("a.b={x: [1, 2]}", {"x": [1, 2]}),
        ("a.b=x=y", "x=y"),
    ],
)
def test_values_are_yaml(text, value):
    assert parsed(text) == ("a.b", value)


@pytest.mark.parametrize("text", ["", "a", "=3", "a=[", "a={"])
def test_what_is_no_assignment(text):
    with pytest.raises(click.UsageError, match="--set"):
        parsed(text)


def test_nested_values_change_in_a_copy():
    content = {"a": {"b": 1, "c": 2}, "d": 3}
    assert changed(content, ["a", "b"], 9, "a.b") == {"a": {"b": 9, "c": 2}, "d": 3}
    assert content["a"]["b"] == 1
    with applied([("a.b", 4), ("e", 5)], None):
        assert with_settings(content) == {"a": {"b": 4, "c": 2}, "d": 3, "e": 5}
    assert with_settings(content) is content
    with pytest.raises(click.UsageError, match="no mapping aa; did you mean a"):
        changed(content, ["aa", "b"], 1, "aa.b")


def test_nearest_names():
    assert (
        unknown("student", "kdd", ["kd", "x"]) == "no student 'kdd'; did you mean kd? Valid: kd, x"
    )
    assert unknown("student", "q", []) == "no student 'q'; valid: there is none"
    many = [f"name-{number}" for number in range(20)]
    assert unknown("x", "zzz", many).endswith("name-11 and 8 more")


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (("train-student", "plan"), "no student 'plan'; did you mean plain?"),
        (("dump", "resnet9"), "no dump 'resnet9'; did you mean resnet8?"),
        (("repro", "train_student@plane"), "did you mean train_student@plain?"),
        (("repro", "evalute", "--dry"), "did you mean evaluate?"),
        (("use", "digit"), "no profile 'digit'"),
    ],
)
def test_mistyped_names(workspace, command, message):
    assert message in workspace.run(*command, code=1)


def test_a_mistyped_store(workspace, tmp_path):
    (tmp_path / "data/stores/resnet8.zarr").mkdir(parents=True)
    assert "no store 'resnt8'; did you mean resnet8?" in workspace.run(
        "store", "info", "resnt8", code=2
    )
    assert "no such store" in workspace.run("store", "info", "xyz", code=1)


def test_check_as_json(workspace):
    assert json.loads(workspace.run("check", "--json")) == {"file": "params.yaml", "problems": []}
    workspace.content["training"]["epochs"] = 0
    workspace.content["students"]["plain"]["store"] = "x.zarr"
    facts = json.loads(workspace.run("check", "--json", code=1))
    assert len(facts["problems"]) >= 2


def test_gate_and_compare_as_json(workspace, tmp_path):
    workspace.content["students"] = {}
    workspace.content["baselines"] = {}
    workspace.content["evaluation"]["floors"] = {"teachers": 1.0}
    workspace.run("prepare")
    workspace.run("train-teacher", "resnet8")
    facts = json.loads(workspace.run("gate", "--json", code=1))
    assert facts["networks"] == 1
    assert "below the floor" in facts["below_floor"][0]
    same = json.loads(workspace.run("compare", ".", ".", "--json"))
    assert same["differences"] == []
    assert same["compared"] > 3
