"""A network of the user's own, in own/networks: it teaches, learns, and is trained again where it changes."""

import os
import subprocess
import sys

import pytest
from workspaces import ROOT, Workspace, digits_params, yaml

PATH = "own.networks.mine:Mine"
NETWORK = """
from torch import nn

from pipeline.models.network import Network


class Mine(Network):
    min_image_size = 4

    def __init__(self, num_classes):
        super().__init__()
        self.conv = nn.Conv2d(3, WIDTH, 3, stride=2, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(WIDTH)
        self.fc = nn.Linear(WIDTH, num_classes)

    @property
    def head(self):
        return self.fc

    def feature_map(self, images):
        return self.norm(self.conv(images)).relu()
"""


def write(folder, width):
    (folder / "own/networks/mine.py").write_text(NETWORK.replace("WIDTH", str(width)))


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A teacher and a student that are the user's own."""
    folder = tmp_path_factory.mktemp("own-network")
    content = digits_params()
    content["teachers"]["resnet8"]["network"] = PATH
    content["students"]["plain"]["network"] = PATH
    content["dumps"]["resnet8"]["mixed"] = None
    made = Workspace(folder, content)
    (folder / "own/networks").mkdir(parents=True)
    write(folder, 8)
    with (folder / "params.yaml").open("w") as file:
        yaml.dump(content, file)
    return made


def decant(work, *arguments):
    command = [sys.executable, "-P", "-m", "stages.cli", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    environment.pop("DECANT_DATA", None)
    return subprocess.run(command, cwd=work.folder, env=environment, capture_output=True, text=True)


def run(work, *arguments):
    done = decant(work, *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_it_teaches_and_learns_and_is_trained_again_where_it_changes(work):
    for command in (["check"], ["prepare"], ["train-teacher", "resnet8"], ["dump", "resnet8"]):
        run(work, *command)
    run(work, "train-student", "plain")
    teacher, student = (
        work.record(f"data/{name}") for name in ("teachers/resnet8", "students/plain")
    )
    assert teacher["network"] == student["network"] == PATH
    assert teacher["feature_dim"] == 8
    assert "were trained before" in run(work, "train-teacher", "resnet8")
    write(work.folder, 12)
    assert "were trained before" not in run(work, "train-teacher", "resnet8")
    assert work.record("data/teachers/resnet8")["feature_dim"] == 12
    write(work.folder, 8)
    assert "were trained before" in run(work, "train-teacher", "resnet8")
    assert work.record("data/teachers/resnet8") == teacher


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("own.networks.mine:Absent", "own.networks.mine holds no Absent"),
        ("own.networks.absent:Mine", "cannot import own.networks.absent"),
        ("own.networks.mine:nn.Linear", "network 'own.networks.mine:nn.Linear'"),
        ("own.networks.mine:Network", "Network"),
        ("own.mine:Mine", "move it into own/networks/ and write own.networks.mine"),
        ("resnet9", "did you mean resnet"),
    ],
)
def test_networks_that_are_none(work, name, message):
    before = (work.folder / "params.yaml").read_text()
    (work.folder / "params.yaml").write_text(before.replace(PATH, name))
    try:
        done = decant(work, "check")
    finally:
        (work.folder / "params.yaml").write_text(before)
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr
