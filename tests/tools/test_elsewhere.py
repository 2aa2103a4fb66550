"""Networks from elsewhere, and prepared data that params.yaml no longer asks for: the real commands."""

import dataclasses
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from store_samples import make_store
from workspaces import Workspace, digits_params

from pipeline.core.asked_dataset import load_dataset
from pipeline.core.dataset import load_prepared, save_prepared
from pipeline.core.dataset_facts import DatasetError
from pipeline.core.dataset_params import DatasetParams
from pipeline.models.registry import Network, build
from pipeline.models.weights import load_into
from pipeline.raw.load import load_raw
from pipeline.store.read import open_store
from pipeline.tools.foreign import read_foreign

torch.set_num_threads(1)

DIGITS = {"name": "digits", "image_size": 16, "test_fraction": 0.2, "seed": 0}
OWN = {"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]}
OWN_OPTIONS = ("--mean", "0.5", "0.5", "0.5", "--std", "0.25", "0.25", "0.25")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Path:
    """The digits as the default profile has them."""
    folder = tmp_path_factory.mktemp("elsewhere") / "prepared"
    save_prepared(load_raw(DatasetParams(**DIGITS), Path(), download=False), folder)
    return folder


@pytest.fixture
def work(tmp_path, monkeypatch, prepared) -> Workspace:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DECANT_DATA", raising=False)
    shutil.copytree(prepared, tmp_path / "data/prepared")
    return Workspace(tmp_path, digits_params())


# --- prepared data --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (
            {"name": "cifar10", "image_size": 32, "test_fraction": None},
            r"name is digits there and cifar10 in params.yaml; image_size is 16 there and 32 .*; "
            "test_fraction is 0.2 there and None",
        ),
        ({"image_size": 24}, "image_size is 16 there and 24"),
        ({"test_fraction": 0.25}, "test_fraction is 0.2 there and 0.25"),
        ({"validation_fraction": 0.1}, "validation_fraction is 0.0 there and 0.1"),
        ({"subset_fraction": 0.5}, "subset_fraction is 1.0 there and 0.5"),
        ({"seed": 3}, "seed is 0 there and 3"),
        (OWN, r"mean is \[0.305\d+, .* there and \[0.5, 0.5, 0.5\] in params.yaml; std is"),
        ({"mean": [0.31, 0.31, 0.31]}, r"there and \[0.31, 0.31, 0.31\]"),
    ],
)
def test_other_data_than_is_asked_for(prepared, edit, message):
    with pytest.raises(DatasetError, match=f"{message}.*decant prepare"):
        load_dataset(prepared, {"dataset": {**DIGITS, **edit}})


def test_the_data_that_is_asked_for(prepared, tmp_path):
    data = load_dataset(prepared, {"dataset": DIGITS})
    same = {**DIGITS, "mean": list(data.mean), "std": list(data.std), "subset_fraction": 1.0}
    assert load_dataset(prepared, {"dataset": same}).fingerprint == data.fingerprint
    assert load_dataset(prepared, None).fingerprint == data.fingerprint
    parts = {**DIGITS, "validation_fraction": 0.25, "subset_fraction": 0.5, **OWN}
    params = DatasetParams(**{k: tuple(v) if k in OWN else v for k, v in parts.items()})
    save_prepared(load_raw(params, Path(), download=False), tmp_path / "parts")
    assert load_dataset(tmp_path / "parts", {"dataset": parts}).evaluated_on == "validation"
    with pytest.raises(DatasetError, match=r"mean is \[0.5, .* there and null \(measured: \[0.3"):
        load_dataset(tmp_path / "parts", {"dataset": {**parts, "mean": None, "std": None}})


COMMANDS = {
    "train-teacher": ("resnet8",),
    "train-baseline": ("alone",),
    "train-student": ("plain",),
    "dump": ("resnet8",),
    "evaluate": (),
    "keep": ("kept",),
    "import-teacher": ("w.pth", "--arch", "resnet8"),
    "store verify": ("stores/resnet20.zarr", "--teacher", "w.pth"),
    "store import-logits": ("w.pth", "--out", "new.zarr"),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_refuses_other_data(work, command):
    """Of another data set, and of this one under another normalisation: before anything is done."""
    work.content["baselines"] = {"alone": {"network": "resnet8", "seed": 0, "replicates": 1}}
    torch.save(build("resnet8", 10).state_dict(), "w.pth")
    make_store(work.folder)
    arguments = (*command.split(), *COMMANDS[command])
    dataset = dict(work.content["dataset"])
    cifar = {"name": "cifar10", "image_size": 32, "test_fraction": None}
    for edit, message in ((cifar, "digits there and cifar10"), (OWN, "[0.5, 0.5, 0.5] in params")):
        work.content["dataset"] = {**dataset, **edit}
        output = work.run(*arguments, code=1)
        assert "error: data/prepared is not what params.yaml asks for" in output
        assert message in output
        assert "decant prepare" in output
    assert {path.name for path in (work.folder / "data").iterdir()} == {"prepared"}


def test_an_accuracy_names_its_data_set_and_normalisation(work):
    output = work.run("train-teacher", "resnet8")
    data = load_prepared(Path("data/prepared"))
    assert f"the test set of digits, normalised with {data.normalisation} ->" in output


# --- normalisation --------------------------------------------------------------------------------


def trained_network() -> Network:
    """A network whose answers depend on how images are normalised: its averages are of some."""
    torch.manual_seed(1)
    network = build("resnet8", 10)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None  # the averages of all batches
    images = load_prepared(Path("data/prepared")).train.images[:200]
    slow_logits(network.train(), images, *OWN.values())
    return network.eval()


def slow_logits(network: Network, images: np.ndarray, mean: list[float], std: list[float]):
    """By the definition, in float64 until the network sees them."""
    pixels = (images / 255 - np.array(mean)) / np.array(std)
    with torch.no_grad():
        return network(torch.from_numpy(pixels.transpose(0, 3, 1, 2)).float()).numpy()


def test_a_teacher_of_another_normalisation(work):
    data, network = load_prepared(Path("data/prepared")), trained_network()
    torch.save({"net": network.state_dict()}, "w.pth")
    images, labels = data.test.images, data.test.labels
    accuracies = {
        how: (slow_logits(network, images, mean, std).argmax(1) == labels).mean()
        for how, mean, std in (("own", *OWN.values()), ("data", data.mean, data.std))
    }
    assert accuracies["own"] != accuracies["data"]  # else it shows nothing
    output = work.run(
        "import-teacher", "w.pth", "--arch", "resnet8", "--out", "as-data.safetensors"
    )
    assert f"resnet8: {accuracies['data']:.2%} on the test set of digits, normalised" in output
    assert "(the data set's own)" in output
    assert "give that: --mean R G B --std R G B" in output
    output = work.run("import-teacher", "w.pth", "--arch", "resnet8", *OWN_OPTIONS)
    assert f"resnet8: {accuracies['own']:.2%} on the test set of digits, normalised with" in output
    assert "mean 0.5 0.5 0.5, std 0.25 0.25 0.25 (as given)" in output
    assert "      mean: [0.5, 0.5, 0.5]\n      std: [0.25, 0.25, 0.25]\n" in output

    digest = output.split("sha256:")[1].split()[0]
    weights = {"path": "data/imported/resnet8.safetensors", "sha256": digest, **OWN}
    work.content["teachers"]["resnet8"]["weights"] = weights
    output = work.run("train-teacher", "resnet8")
    assert f"{accuracies['own']:.2%} on the test set of digits, normalised with mean 0.5" in output
    record = work.record("data/teachers/resnet8")
    assert record["normalisation"] == OWN
    assert record["replicates"][0]["top1_accuracy"] == pytest.approx(accuracies["own"])
    assert data.seen_by(record).mean == (0.5, 0.5, 0.5)
    logits = np.load("data/teachers/resnet8/replicate-0/test_logits.npy")
    expected = slow_logits(network, images, *OWN.values())
    np.testing.assert_allclose(logits, expected, atol=1e-3)

    work.run("dump", "resnet8")
    store = open_store(Path("data/stores/resnet8.zarr"), groups=["clean", "plain", "mixed"])
    np.testing.assert_allclose(store.clean.logits("test"), expected, atol=0.02)
    for group in ("clean", "plain", "mixed"):
        header = json.loads(Path(f"data/stores/resnet8.zarr/{group}/manifest.json").read_text())[
            "header"
        ]
        assert header["teacher"]["normalisation"] == OWN
        assert header["dataset"]["mean"] == list(data.mean)
    assert "mean 0.5 0.5 0.5" in work.run("store", "info", "resnet8")
    teacher = ("--teacher", "data/teachers/resnet8")
    output = work.run("store", "verify", "resnet8", *teacher)
    assert "from digits, normalised with mean 0.5 0.5 0.5" in output
    assert output.count(" good") == 4
    assert work.run("store", "verify", "resnet8", "--teacher", "w.pth").count(" good") == 4
    work.run("train-student", "plain")
    assert "normalisation" not in work.record("data/students/plain")

    # The same weights without their normalisation are another teacher: its rows are told apart.
    del weights["mean"], weights["std"]
    work.run("train-teacher", "resnet8")
    assert "normalisation" not in work.record("data/teachers/resnet8")
    output = work.run("store", "verify", "resnet8", *teacher, code=1)
    assert "the store's rows are of mean 0.5 0.5 0.5" in output


def test_where_it_is_the_data_sets_nothing_is_stated(work):
    """So manifests of stores that were dumped before there was such a field keep their bytes."""
    data = load_prepared(Path("data/prepared"))
    torch.save(trained_network().state_dict(), "w.pth")
    own = {"mean": list(data.mean), "std": list(data.std)}
    options = [str(x) for key, values in own.items() for x in (f"--{key}", *values)]
    output = work.run("import-teacher", "w.pth", "--arch", "resnet8", *options)
    assert "mean: [" not in output
    weights = {"path": "data/imported/resnet8.safetensors", **own}
    weights["sha256"] = output.split("sha256:")[1].split()[0]
    work.content["teachers"]["resnet8"]["weights"] = weights
    work.content["dumps"]["resnet8"] |= {"mixed": None}
    work.run("train-teacher", "resnet8")
    assert "normalisation" not in work.record("data/teachers/resnet8")
    work.run("dump", "resnet8")
    manifests = list(Path("data/stores/resnet8.zarr").rglob("manifest.json"))
    assert len(manifests) == 2
    assert not any(b"normalisation" in path.read_bytes() for path in manifests)


def test_an_exported_store_keeps_its_teachers_normalisation(work):
    torch.save(trained_network().state_dict(), "w.pth")
    output = work.run("import-teacher", "w.pth", "--arch", "resnet8", *OWN_OPTIONS)
    weights = {"path": "data/imported/resnet8.safetensors", **OWN}
    weights["sha256"] = output.split("sha256:")[1].split()[0]
    work.content["teachers"]["resnet8"]["weights"] = weights
    work.content["dumps"]["resnet8"] |= {"mixed": None}
    work.run("train-teacher", "resnet8")
    work.run("dump", "resnet8")
    work.run("store", "export", "resnet8", "--out", "npz")
    files = sorted(map(str, Path("npz").iterdir()))
    work.run("store", "import-logits", *files, "--out", "again.zarr")
    output = work.run("store", "verify", "again.zarr", "--teacher", "w.pth")
    assert "normalised with mean 0.5 0.5 0.5" in output


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"mean": OWN["mean"]}, "mean and std go together"),
        (
            {"mean": [125, 123, 114], "std": OWN["std"]},
            "weights.mean[0]: expected a number between 0 and 1 (of pixel/255)",
        ),
        (
            {"mean": OWN["mean"], "std": [0, 1, 1]},
            "weights.std[0]: expected a number above 0 and at most 1 (of pixel/255)",
        ),
        ({"mean": 0.5, "std": 0.5}, "weights.mean: expected a list"),
    ],
)
def test_a_normalisation_that_cannot_be(work, weights, message):
    work.content["teachers"]["resnet8"]["weights"] = {"path": "x", "sha256": "0" * 64, **weights}
    assert message in work.run("check", code=1)


def test_options_that_cannot_be(work):
    torch.save(trained_network().state_dict(), "w.pth")
    command = ("import-teacher", "w.pth", "--arch", "resnet8")
    assert "go together" in work.run(*command, "--mean", "0.5", "0.5", "0.5", code=2)
    numbers = ("--mean", "125", "123", "114", "--std", "63", "62", "66")
    assert "--mean[0]: expected a number between 0 and 1" in work.run(*command, *numbers, code=2)


# --- importing ------------------------------------------------------------------------------------


def test_a_second_import_leaves_the_first(work):
    first, second = trained_network(), build("resnet8", 10)
    torch.save(first.state_dict(), "first.pth")
    torch.save(second.state_dict(), "second.pth")
    work.run("import-teacher", "first.pth", "--arch", "resnet8")
    target = Path("data/imported/resnet8.safetensors")
    content = target.read_bytes()
    work.run("import-teacher", "first.pth", "--arch", "resnet8")  # the same weights again
    output = work.run("import-teacher", "second.pth", "--arch", "resnet8", code=1)
    assert "data/imported/resnet8.safetensors already holds other weights; give --out" in output
    assert target.read_bytes() == content
    work.run(
        "import-teacher", "second.pth", "--arch", "resnet8", "--out", "data/imported/b.safetensors"
    )
    assert target.read_bytes() == content


def test_names_choices_and_progress_are_told(work):
    state = build("shufflenetv1", 10).state_dict()
    last = list(state)[-1]
    other = {**state, last: state[last] + 1}
    torch.save({"state_dict": state, "state_dict_ema": other}, "w.pth")
    output = work.run("import-teacher", "w.pth", "--arch", "ShuffleV1")
    assert "ShuffleV1 is named shufflenetv1 here" in output
    assert "w.pth: used the weights under state_dict\n" in output
    assert "others fit too, under state_dict_ema (choose them with --key)" in output
    assert "shufflenetv1 on the test set: " in output
    assert "    network: shufflenetv1\n" in output
    key = ("--key", "state_dict_ema", "--out", "ema.safetensors")
    assert "under state_dict_ema\n" in work.run(
        "import-teacher", "w.pth", "--arch", "ShuffleV1", *key
    )


def test_weights_with_infinite_variances_are_no_teacher(work):
    state = trained_network().state_dict()
    state["bn1.running_var"][3] = float("inf")
    torch.save(state, "w.pth")
    output = work.run("import-teacher", "w.pth", "--arch", "resnet8", code=1)
    assert "w.pth: bn1.running_var holds infinite numbers" in output
    assert not Path("data/imported").exists()


CHECKPOINTS = Path(os.environ.get("DECANT_DATA", "")) / "checkpoints"


@pytest.mark.skipif(
    not (CHECKPOINTS / "cifar100_resnet20.pth").exists(),
    reason="DECANT_DATA names no folder with another project's CIFAR-100 checkpoints",
)
@pytest.mark.parametrize(("name", "accuracy"), [("resnet20", 0.6883), ("resnet56", 0.7261)])
def test_another_projects_checkpoints(name, accuracy):
    """On 1,000 of the 10,000 test images: within three standard deviations of what they reach on all."""
    params = DatasetParams(name="cifar100", image_size=32, subset_fraction=0.01)
    data = load_raw(params, CHECKPOINTS.parent, download=False)
    network = build(name, 100)
    weights = read_foreign(CHECKPOINTS / f"cifar100_{name}.pth", network, name=name)
    load_into(network, weights.state)
    network.eval()
    normalised = dataclasses.replace(
        data, mean=(0.5071, 0.4867, 0.4408), std=(0.2675, 0.2565, 0.2761)
    )
    images, labels = data.test.images[:1000], data.test.labels[:1000]
    logits = slow_logits(network, images, normalised.mean, normalised.std)
    assert (
        abs((logits.argmax(1) == labels).mean() - accuracy)
        < 3 * (accuracy * (1 - accuracy) / 1000) ** 0.5
    )
