"""The schema of params.yaml: that of the models, found by editors, and right about every profile."""

import json
import subprocess
import sys
from copy import deepcopy

import pytest
from jsonschema import Draft202012Validator
from workspaces import ROOT, profiles

from pipeline.core.params import load_yaml
from pipeline.planning.checker import Checker
from pipeline.planning.parameters import SCHEMA, schema_text

SCHEMA_OF_THE_REPOSITORY = json.loads((ROOT / SCHEMA).read_text())
PROFILES = profiles()
VALIDATOR = Draft202012Validator(SCHEMA_OF_THE_REPOSITORY)


def test_the_schema_is_that_of_the_models():
    command = "python -m pipeline.planning.parameters"
    assert (ROOT / SCHEMA).read_text() == schema_text(), f"run `{command}`"
    Draft202012Validator.check_schema(SCHEMA_OF_THE_REPOSITORY)


@pytest.mark.parametrize("path", PROFILES, ids=lambda path: path.stem)
def test_every_profile_names_the_schema_and_keeps_to_it(path):
    assert len(PROFILES) > 5
    marker = "# yaml-language-server: $schema="
    first = path.read_text().splitlines()[0]
    assert first.startswith(marker)
    assert (path.parent / first.removeprefix(marker)).resolve() == ROOT / SCHEMA
    assert list(VALIDATOR.iter_errors(load_yaml(path))) == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("training/epochs", 0),
        ("training/epochs", "many"),
        ("training/epochz", 3),
        ("training/schedule/name", "linear"),
        ("machine/device", "gpu"),
        ("dataset/mean", [0.5, 0.5]),
        ("dataset/mean", [0.5, 0.5, 125]),
        ("augmentation/pad", 91),
        ("methods/kd/temperature", 0),
        ("methods/kd/warmth", 1.0),
        ("methods/kd/loss", ["kd"]),
        ("methods/kd/loss", {"name": "kd"}),
        ("methods/-kd", {"loss": "mse", "gamma": 0.1, "alpha": 1.0}),
        ("methods/Bad.Name", {"loss": "mse", "gamma": 0.1, "alpha": 1.0}),
        ("teachers/resnet20/network", "resnet21"),
        ("teachers/resnet20-mixup/training/epoch", 3),
        ("dumps/resnet20/mixed/alpha", -1),
        ("students/kd/share", 1.5),
        ("students/kd/seed", 2**63),
        ("evaluation/floors/teachers", 97),
        ("extra", {}),
    ],
)
def test_the_schema_refuses_what_check_refuses(path, value):
    content = load_yaml(ROOT / "profiles" / "digits.yaml")
    place = content = deepcopy(content)
    *parents, last = path.split("/")
    for key in parents:
        place = place[key]
    place[last] = value
    assert Checker(content).problems
    assert list(VALIDATOR.iter_errors(content))


def test_every_field_that_is_no_model_is_described():
    for name, model in SCHEMA_OF_THE_REPOSITORY["$defs"].items():
        assert model.get("description"), name
        for key, field in model["properties"].items():
            plain = not any(word in json.dumps(field) for word in ("$ref", "enum"))
            assert not plain or field.get("description"), f"{name}.{key}"


def test_checking_parameters_imports_no_torch():
    """It takes two seconds, each time that a stage is to be looked at; code of the user's own needs it."""
    code = (
        "import sys; from pathlib import Path; from pipeline.core.params import load_yaml; "
        "from pipeline.planning.checker import check_all; "
        "check_all(load_yaml(Path('params.yaml')), 'params.yaml'); "
        "print(*{'torch', 'zarr', 'pandas', 'sklearn', 'matplotlib'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert (done.returncode, done.stdout, done.stderr) == (0, "\n", "")
