"""decant check: every mistake at once, each with the key's path."""

import json
import shutil

import pytest
from click.testing import CliRunner
from PIL import Image
from ruamel.yaml import YAML
from workspaces import ROOT, profiles

from stages.check import check

PROFILES = profiles()


def problems_of(content, tmp_path):
    path = tmp_path / "params.yaml"
    with path.open("w") as file:
        YAML(typ="safe").dump(content, file)
    arguments = ["--params", str(path), "--out", str(tmp_path / "checked.txt")]
    result = CliRunner().invoke(check, arguments, catch_exceptions=False)
    assert (result.exit_code == 0) == (tmp_path / "checked.txt").exists()
    return result.output.splitlines() if result.exit_code else []


@pytest.fixture
def content():
    return YAML(typ="safe").load(ROOT / "profiles" / "digits.yaml")


@pytest.mark.parametrize("path", PROFILES, ids=lambda path: path.stem)
def test_every_profile_is_valid(path, tmp_path):
    assert PROFILES
    assert problems_of(YAML(typ="safe").load(path), tmp_path) == []


def change(content, path, value):
    *parents, last = path.split("/")
    for key in parents:
        content = content[key]
    content[last] = value


MISTAKES = [
    ("training/epochs", "many", "training.epochs: expected a whole number"),
    ("training/epochz", 3, "training.epochz: unknown key; did you mean epochs?"),
    ("training/batch_size", 0, "training.batch_size: expected a whole number at least 2, found 0"),
    ("training/precision", "float8", "training.precision: expected one of float32, bfloat16"),
    ("training/schedule", {"name": "step", "milestones": [30]}, "lie beyond the 16 epochs"),
    ("machine/threads", 0, "machine.threads: expected a whole number at least 1"),
    ("dataset/name", "imagenet", "dataset.name: expected one of digits, cifar10, cifar100"),
    ("dataset/test_fraction", 1.5, "dataset.test_fraction: expected a number above 0 and below 1"),
    ("augmentation/pad", True, "augmentation.pad: expected a whole number"),
    ("methods/kd/temprature", 1.0, "methods.kd: "),
    ("methods/kd/loss", "hinton", "methods.kd: "),
    ("teachers/resnet20/network", "resnet21", "teachers.resnet20.network: no network"),
    ("teachers/Big.One", {"network": "resnet20", "seed": 0}, "teachers.Big.One: names consist of"),
    ("baselines/resnet8/network", "mobilenetv2", "baselines.resnet8.network: "),
    ("baselines/resnet8/replicates", None, "baselines.resnet8.replicates: "),
    ("baselines/resnet8/training", {"epoch": 3}, "baselines.resnet8.training.epoch: unknown key"),
    ("dumps/resnet56", None, "dumps.resnet56: "),
    ("dumps/resnet20/mixed", None, "dumps.resnet20.mixed is null"),
    ("dumps/resnet20/mixed/alpha", -1.0, "dumps.resnet20.mixed.alpha: expected a number above 0"),
    ("students/kd/share", 1.5, "students.kd.share: expected a number between 0 and 1, found 1.5"),
    ("students/kd/share", 0.5, "students.kd: store: a student of share 0.5 reads plain and mixed"),
    ("students/kd/views", 0, "students.kd.views: expected a whole number at least 1"),
    ("students/kd/views", 99, "students.kd.views: 99 are asked for, and dumps.resnet20.plain has "),
    ("students/kd/method", "kdd", "students.kd.method: no kdd; valid names: kd, kd-soft-only"),
    (
        "students/kd/store",
        "resnet2.zarr/plain",
        "no dump of a teacher resnet2; valid names: resnet20",
    ),
    (
        "evaluation/vscore/groups",
        {"all": [str(i) for i in range(11)]},
        "evaluation.vscore.groups.all: the data set has no class 10; did you mean 1? Its 10 classes: 0, 1",
    ),
    (
        "evaluation/vscore/groups",
        {"similar": ["three", "5"]},
        "the data set has no class three; Its",
    ),
    ("methods/kd", None, "methods.kd: expected a mapping, found null"),
    ("methods/kd", "kd", "methods.kd: expected a mapping, found 'kd'"),
    (
        "machine/device",
        "gpu",
        "machine.device: expected a text (auto, cpu, cuda or cuda:N), found 'gpu'",
    ),
    (
        "dumps/resnet20/codec",
        {"name": "topk", "top_k": 10},
        "dumps.resnet20.codec.top_k: keep fewer classes than there are, not 10 of 10",
    ),
    ("extra", {}, "extra: unknown section"),
]


@pytest.mark.parametrize(("path", "value", "message"), MISTAKES)
def test_one_mistake_is_named(path, value, message, content, tmp_path):
    change(content, path, value)
    problems = problems_of(content, tmp_path)
    assert problems
    assert any(message in problem for problem in problems), problems
    assert all(problem.startswith("error: ") for problem in problems)


def test_all_mistakes_are_listed_at_once(content, tmp_path):
    chosen = [MISTAKES[index] for index in (0, 5, 8, 11, 19)]
    for path, value, _ in chosen:
        change(content, path, value)
    problems = problems_of(content, tmp_path)
    for _, _, message in chosen:
        assert any(message in problem for problem in problems), (message, problems)


@pytest.mark.parametrize("section", ["machine", "dataset", "training", "students", "evaluation"])
def test_a_missing_section_is_named(section, content, tmp_path):
    del content[section]
    problems = problems_of(content, tmp_path)
    assert any(f"{section}: missing section" in problem for problem in problems)


def test_class_names_of_known_data_sets(tmp_path):
    """CIFAR's are known before it is there, so a wrong one is found before anything is fetched."""
    content = YAML(typ="safe").load(ROOT / "profiles" / "cifar100-short.yaml")
    groups = {"different": ["beaver", "aquarium fish", "rockets", "turtle"]}
    change(content, "evaluation/vscore/groups", groups)
    (problem,) = problems_of(content, tmp_path)
    assert "no class aquarium fish, rockets; did you mean aquarium_fish, rocket?" in problem


def test_the_output_never_changes(content, tmp_path):
    assert problems_of(content, tmp_path) == []
    first = (tmp_path / "checked.txt").read_bytes()
    content["training"]["epochs"] = 20
    assert problems_of(content, tmp_path) == []
    assert (tmp_path / "checked.txt").read_bytes() == first


def test_the_output_replaces_a_link_of_dvc_s_and_leaves_its_cache_alone(content, tmp_path):
    cached = tmp_path / "cached"
    cached.write_bytes(b"older")
    cached.chmod(0o444)
    (tmp_path / "checked.txt").hardlink_to(cached)
    assert problems_of(content, tmp_path) == []
    assert cached.read_bytes() == b"older"
    assert (tmp_path / "checked.txt").read_bytes() != b"older"


def test_a_mistake_of_the_shared_recipe_is_told_once(content, tmp_path):
    change(content, "training/momentum", "much")
    change(content, "teachers/resnet20-mixup/training", {"epochs": 20, "batch_size": 1})
    lines = problems_of(content, tmp_path)
    assert len([line for line in lines if "momentum" in line]) == 1
    assert any("teachers.resnet20-mixup.training.batch_size" in line for line in lines)


@pytest.fixture
def own_images(content, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DECANT_DATA", raising=False)
    change(content, "dataset/name", "imagefolder")
    change(content, "machine/data_root", str(tmp_path / "raw"))
    change(content, "evaluation/vscore/groups", {"some": ["cat", "nai\u0308ve"]})
    for name in ("dog", "na\u00efve"):
        (tmp_path / "raw" / name).mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(tmp_path / "raw" / name / "x.png")
    return content


def test_groups_are_compared_with_the_folders_of_images(own_images, tmp_path):
    (problem,) = problems_of(own_images, tmp_path)
    assert problem.endswith("the data set has no class cat; Its 2 classes: dog, na\u00efve")
    change(own_images, "evaluation/vscore/groups", {"some": ["dog", "nai\u0308ve"]})
    assert problems_of(own_images, tmp_path) == []


def test_groups_are_compared_with_what_was_prepared_where_the_images_are_not(own_images, tmp_path):
    shutil.rmtree(tmp_path / "raw")
    assert problems_of(own_images, tmp_path) == []  # nothing is known, and nothing is asked for
    (tmp_path / "checked.txt").unlink()
    folder = tmp_path / "data" / "prepared"
    folder.mkdir(parents=True)
    facts = {"schema": 1, "name": "imagefolder", "class_names": ["dog", "na\u00efve"]}
    (folder / "dataset.json").write_text(json.dumps(facts))
    (problem,) = problems_of(own_images, tmp_path)
    assert "no class cat" in problem


def test_names_of_folders_that_no_store_takes_are_found_by_check(own_images, tmp_path):
    change(own_images, "evaluation/vscore/groups", {})
    (tmp_path / "raw" / "dog").rename(tmp_path / "raw" / "d\u200dog")
    (problem,) = problems_of(own_images, tmp_path)
    assert "U+200D (zero width joiner): rename it" in problem
    (tmp_path / "dvc.lock").write_text("{}")  # the results are another's: no raw data is asked for
    assert problems_of(own_images, tmp_path) == []
