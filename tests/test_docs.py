"""docs/parameters.md and docs/extending.md: every key is told, and every example works."""

import inspect
import re
import sys
from dataclasses import fields

import pytest
import torch
from workspaces import ROOT, Workspace, digits_params, profiles, yaml

from pipeline.core.dataset_params import DatasetParams
from pipeline.core.machine import Machine
from pipeline.distill.params import StudentParams
from pipeline.dump.params import DumpParams, MixedViews
from pipeline.evaluation.params import EvaluationParams, Floors, TsneParams, VScoreParams
from pipeline.hard_labels.params import BaselineParams, Mixup, TeacherParams
from pipeline.losses.registry import resolve
from pipeline.losses.signatures import LOSSES, check_options
from pipeline.models.catalogue import MODELS
from pipeline.models.registry import build
from pipeline.planning.checker import SECTIONS, Checker
from pipeline.training.params import Schedule, TrainingParams
from pipeline.views.params import Augmentation

PARAMETERS, EXTENDING, README = (
    (ROOT / name).read_text(encoding="utf-8")
    for name in ("docs/parameters.md", "docs/extending.md", "README.md")
)
TOLD = {
    "machine": [Machine],
    "dataset": [DatasetParams],
    "augmentation": [Augmentation],
    "training": [TrainingParams, Schedule],
    "methods": [],
    "teachers": [TeacherParams, BaselineParams, Mixup],
    "baselines": [TeacherParams, BaselineParams, Mixup],
    "dumps": [DumpParams, MixedViews],
    "students": [StudentParams],
    "remote_stores": [],
    "evaluation": [EvaluationParams, VScoreParams, TsneParams, Floors],
}


def chapters(text):
    """Title -> what stands below it."""
    parts = re.split(r"^## (.*)$", text, flags=re.MULTILINE)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


def chapter_on(section):
    (text,) = (body for title, body in chapters(PARAMETERS).items() if f"`{section}`" in title)
    return text


def blocks(title, language):
    return re.findall(rf"```{language}\n(.*?)```", chapters(EXTENDING)[title], re.DOTALL)


@pytest.mark.parametrize("section", SECTIONS)
def test_every_key_is_told(section):
    words = set(re.findall(r"\w+", " ".join(re.findall(r"`[^`]+`", chapter_on(section)))))
    keys = {field.name for kind in TOLD[section] for field in fields(kind) if field.init}
    assert keys or section in ("methods", "remote_stores")
    assert keys <= words


def test_every_loss_is_told_with_its_hyper_parameters():
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \|", chapter_on("methods"), re.MULTILINE)
    told = {name: re.findall(r"`(\w+)`", options) for name, options in rows}
    assert told == {
        name: [
            parameter.name
            for parameter in inspect.signature(resolve(name)).parameters.values()
            if parameter.kind is inspect.Parameter.KEYWORD_ONLY
        ]
        for name in LOSSES
    }


def test_the_number_of_networks():
    assert len(MODELS) == 22
    assert "22 networks" in README
    assert "22 networks" in PARAMETERS


def test_profiles_are_told():
    told = set(re.findall(r"^decant use (\S+)", README, re.MULTILINE)) - {"#"}
    assert told == {path.stem for path in profiles()}


def test_a_network_of_ones_own(tmp_path, monkeypatch):
    (code,) = blocks("Your own network", "python")
    (tmp_path / "own/networks").mkdir(parents=True)
    (tmp_path / "own/networks/mine.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    content = digits_params()
    content["students"]["plain"]["network"] = "own.networks.mine:Mine"
    try:
        assert Checker(content).problems == []
        network = build("own.networks.mine:Mine", 10)
        logits, features = network.forward_features(torch.randn(3, 3, 16, 16))
        assert (logits.shape, features.shape) == ((3, 10), (3, 64))
    finally:
        sys.modules.pop("own.networks.mine", None)


def test_images_of_ones_own():
    (code,) = blocks("Your own images", "yaml")
    content = yaml.load(ROOT / "profiles" / "digits.yaml")
    for section, values in yaml.load(code).items():
        content[section] = {**content[section], **values}
    assert Checker(content).problems == []


def test_a_loss_of_ones_own(tmp_path, monkeypatch):
    (code,) = blocks("Your own loss", "python")
    (entries,) = blocks("Your own loss", "yaml")
    (tmp_path / "own/losses").mkdir(parents=True)
    (tmp_path / "own/losses/mine.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    content = yaml.load(ROOT / "profiles" / "digits.yaml")
    for section, values in yaml.load(entries).items():
        content[section] |= values
    try:
        assert Checker(content).problems == []
        check_options("own.losses.mine:logit_l1", {"weight": 0.5})
        logits = torch.randn(4, 10)
        targets = torch.eye(10)[:4]
        loss = resolve("own.losses.mine:logit_l1")(logits, logits, targets, weight=0.5)
        torch.testing.assert_close(loss, torch.nn.functional.cross_entropy(logits, targets))
    finally:
        sys.modules.pop("own.losses.mine", None)


def test_a_training_loop_of_ones_own(tmp_path, monkeypatch):
    (code,) = blocks("Your own training loop", "python")
    (reading,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    content = digits_params()
    content["teachers"]["resnet20"] = content["teachers"].pop("resnet8")
    content["dumps"]["resnet20"] = content["dumps"].pop("resnet8")
    content["dumps"]["resnet20"]["mixed"]["views"] = 4
    content["dataset"]["subset_fraction"] = 0.2
    work = Workspace(tmp_path, {**content, "students": {}})
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DECANT_DATA", raising=False)
    work.run("prepare")
    work.run("train-teacher", "resnet20")
    work.run("dump", "resnet20")
    made = {}
    exec(code, made)
    assert made["loss"].isfinite()
    assert len(made["batch"].images) == made["batches"].count % 64
    exec(reading, made)
    assert made["logits"].shape == (made["batches"].count, 10)
