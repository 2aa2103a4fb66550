"""The study of docs/views.md on a few digits: students of the live teacher, the table, the figure."""

import csv
import importlib.util
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from ruamel.yaml import YAML

from pipeline.distill.params import Method
from pipeline.losses.registry import bind
from pipeline.losses.signatures import INPUTS
from pipeline.models.registry import build
from pipeline.views.batches import Batch
from stages.cli import main

ROOT = Path(__file__).resolve().parent.parent
PROFILE = YAML(typ="safe").load(ROOT / "profiles" / "cifar100-views.yaml")


def load_study():
    spec = importlib.util.spec_from_file_location("views_study", ROOT / "docs" / "views.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def invoke(command, *arguments):
    result = CliRunner().invoke(command, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A folder in which all stages of a tiny study are done."""
    folder = tmp_path_factory.mktemp("views")
    content = YAML(typ="safe").load(ROOT / "profiles" / "digits.yaml")
    content["machine"].update(threads=1, workers=1)
    content["dataset"]["subset_fraction"] = 0.2
    content["training"]["epochs"] = 2
    content["teachers"] = {"resnet8": {"network": "resnet8", "seed": 0}}
    content["baselines"] = {"resnet8": {"network": "resnet8", "seed": 10, "replicates": 2}}
    plain = {"views": 2, "draw": "stratified", "features": False}
    content["dumps"] = {"resnet8": {"seed": 1, "batch_size": 256, "plain": plain, "mixed": None}}
    shared = {"store": "resnet8.zarr/plain", "network": "resnet8", "method": "kd", "share": 0.0}
    shared |= {"seed": 100, "replicates": 2}
    content["students"] = {"views-1": {**shared, "views": 1}, "views-20": shared}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        with (folder / "params.yaml").open("w") as file:
            YAML().dump(content, file)
        invoke(main, "prepare")
        for command in (
            ("train-teacher", "resnet8"),
            ("dump", "resnet8"),
            ("train-baseline", "resnet8"),
        ):
            invoke(main, *command)
        for name in content["students"]:
            invoke(main, "train-student", name)
    return folder


def test_all_arms_are_told(finished, tmp_path, monkeypatch):
    study = load_study()
    monkeypatch.chdir(finished)
    monkeypatch.setattr(study, "DOCS", tmp_path)
    page = "before\n<!-- table -->\nold\n<!-- end of table -->\nafter\n"
    (tmp_path / "views.md").write_text(page)
    output = invoke(study.main)
    rows = list(csv.DictReader((tmp_path / "views.csv").read_text().splitlines()))
    arms = ["alone", "store 1 view", "store 2 views", "live teacher"]
    assert list(dict.fromkeys(row["arm"] for row in rows)) == arms
    assert {(row["arm"], row["replicate"]) for row in rows} == {(a, r) for a in arms for r in "01"}
    table = (tmp_path / "views.md").read_text()
    assert table.startswith("before\n<!-- table -->\n| student |")
    assert table.endswith("|\n<!-- end of table -->\nafter\n")
    assert "old" not in table
    assert table.count("\n| ") == 5
    assert output.strip() in table
    assert (tmp_path / "views.png").read_bytes().startswith(b"\x89PNG")
    (curves,) = (finished / "data/live").glob("*/replicate-1/curves.csv")
    trained = curves.stat().st_mtime_ns
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    invoke(study.main)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert curves.stat().st_mtime_ns == trained


def test_the_live_teacher_s_loss_is_the_method_s():
    study = load_study()
    torch.manual_seed(0)
    teacher = build("resnet8", 10).eval()
    images, targets = torch.randn(4, 3, 16, 16), torch.eye(10)[:4]
    logits, features = torch.randn(4, 10, requires_grad=True), torch.randn(4, 64)
    entry = PROFILE["methods"]["kd"]
    found = study.online(teacher, entry)(
        logits, features, Batch(images, targets), torch.tensor(0.0)
    )
    answers = teacher.forward_features(images)
    options = Method.parse("kd", entry).options
    expected = bind("kd")(
        dict(zip(INPUTS, (logits, features, *answers, targets, 0.0), strict=True)), **options
    )
    torch.testing.assert_close(found, expected)
    found.backward()
    assert all(parameter.grad is None for parameter in teacher.parameters())


def test_students_of_the_profile_differ_in_views_only():
    students = PROFILE["students"].values()
    views = [entry.get("views") for entry in students]
    assert views == [1, 4, 16, None]
    (epochs,) = {entry["training"]["epochs"] for entry in students}
    assert PROFILE["dumps"]["resnet20"]["plain"]["views"] == epochs
    rest = [{k: v for k, v in entry.items() if k != "views"} for entry in students]
    assert all(entry == rest[0] for entry in rest)
    assert load_study().STUDENT in PROFILE["students"]
