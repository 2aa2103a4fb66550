"""A network of the user's own, in own/networks: it teaches, learns, and is trained again where it changes."""

import os
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from report_samples import sample_record
from training_samples import PARAMS
from workspaces import ROOT, Workspace, digits_params, yaml

from pipeline.core.errors import DecantError
from pipeline.dump.teacher import Dump
from pipeline.models.registry import NetworkError, build, check_image_size
from pipeline.planning.rate import measure
from pipeline.results.record import DatasetFacts
from pipeline.training.cost import network_cost
from pipeline.views.params import Augmentation

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
    verified = run(work, "store", "verify", "resnet8", "--teacher", "data/teachers/resnet8")
    assert "Recomputed with the teacher" in verified


def test_a_record_is_no_reason_to_run_code(digits, tmp_path, monkeypatch):
    """It may be from a remote: own networks are those that params.yaml names."""
    dataset, entry = vars(DatasetFacts.of(digits)), {"network": "resnet8"}
    name = "strange_network:Network"
    record = sample_record([{"top1_accuracy": 0.9}], network=name, entry=entry, dataset=dataset)
    content = {**digits_params(), "teachers": {"mine": entry}}
    content["dumps"]["mine"] = content["dumps"]["resnet8"]
    folder, marker = tmp_path / "mine", tmp_path / "marker"
    (tmp_path / "strange_network.py").write_text(f"open({str(marker)!r}, 'w').close()\n")
    monkeypatch.syspath_prepend(tmp_path)
    folder.mkdir()
    (folder / "record.json").write_bytes(record.to_json())
    with pytest.raises(NetworkError, match=f"record.json: names the network '{name}'"):
        Dump("mine", content, digits, folder)
    assert not marker.exists()


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


@pytest.fixture
def own(tmp_path, monkeypatch):
    """What makes a module of the network, with parts of its text replaced, and gives the network's name."""
    monkeypatch.syspath_prepend(tmp_path)
    made = []

    def module(*changes):
        text = NETWORK.replace("WIDTH", "8")
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        made.append(f"my_network_{len(made)}")
        (tmp_path / f"{made[-1]}.py").write_text(text)
        return f"{made[-1]}:Mine"

    yield module
    network_cost.cache_clear()
    check_image_size.cache_clear()
    for name in made:
        sys.modules.pop(name, None)


OUTPUT = "self.norm(self.conv(images)).relu()"
NUMBERS_NEEDED = {
    "a condition": (f"return {OUTPUT}", f"return {OUTPUT} if images.mean() >= 0 else images"),
    "an item": (OUTPUT, f"{OUTPUT} + images.max().item()"),
    "a rate of each block": (
        "super().__init__()",
        "super().__init__(); self.rates = [x.item() for x in torch.linspace(0, 0.1, 3)]",
    ),
    "none": (OUTPUT, f"{OUTPUT} * SCALE"),  # but a tensor that is made when the module is imported
}


@pytest.mark.parametrize("why", NUMBERS_NEEDED)
def test_networks_that_need_numbers_are_checked_and_counted(own, why):
    first_line = (
        "\nfrom torch import nn\n",
        "import torch\nfrom torch import nn\nSCALE = torch.ones(1)\n",
    )
    name, plain = own(first_line, NUMBERS_NEEDED[why]), own()
    torch.manual_seed(3)
    before = torch.get_rng_state()
    check_image_size(name, 16)
    with pytest.raises(ValueError, match="images of 3x3 pixels are too small"):
        check_image_size(name, 3)
    assert network_cost(name, 10, 16) == network_cost(plain, 10, 16)
    assert torch.equal(torch.get_rng_state(), before)
    assert build(name, 10)(torch.zeros(1, 3, 16, 16)).shape == (1, 10)


def test_the_operations_of_one_that_does_not_run_here_are_not_counted(own):
    name, plain = own((f"return {OUTPUT}", "raise RuntimeError('no CUDA')")), own()
    cost, counted = network_cost(name, 10, 16), network_cost(plain, 10, 16)
    assert cost == replace(counted, forward_flops=0)
    with pytest.raises(DecantError, match="does not run on a CPU"):
        measure(name, PARAMS, Augmentation(pad=0, flip=False), 10, 16, torch.device("cpu"))
    with pytest.raises(NetworkError, match="cannot be built"):
        network_cost(own(("super().__init__()", "super().__init__(1)")), 10, 16)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("    min_image_size = 4\n", ""), "Mine, which has no min_image_size"),
        (
            ("return self.fc", "return nn.Sequential(self.fc)"),
            "Mine, whose head is Sequential, not a",
        ),
        (("return self.fc", "return nn.Linear(8, 5)"), "Mine, whose head has 5 logits"),
        (
            ("class Mine(Network)", "class Mine(nn.Module)"),
            "Mine, not a pipeline.models.network.Net",
        ),
        (
            ("super().__init__()", "super().__init__(1)"),
            r"cannot be built for 2 classes \(TypeError",
        ),
    ],
)
def test_what_a_network_lacks_is_told(own, change, message):
    with pytest.raises(NetworkError, match=message):
        check_image_size(own(change), 16)
