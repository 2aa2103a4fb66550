"""`decant use`: a profile becomes params.yaml, and dvc.yaml follows from params.yaml."""

import shutil

import pytest
from click.testing import CliRunner
from workspaces import ROOT, yaml

from stages.cli import main

LOSS = """
def mine(student_logits, student_features, teacher_logits, teacher_features, targets, epoch):
    return student_logits.sub(teacher_logits).square().mean()
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder with the profiles and dvc.yaml, and the default params.yaml."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(ROOT / "profiles", "profiles", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("dvc.yaml", "params.yaml"):
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path


def use(*arguments, code=0):
    result = CliRunner().invoke(main, ["use", *arguments], catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result.output


def deps(project, stage):
    stages = yaml.load(project / "dvc.yaml")["stages"]
    return stages[stage].get("do", stages[stage])["deps"]


def set_method(project, name, entry):
    content = yaml.load(project / "params.yaml")
    content["methods"][name] = entry
    with (project / "params.yaml").open("w") as file:
        yaml.dump(content, file)


def test_params_and_the_list_of_what_is_evaluated(project):
    use("cifar100-smoke")
    smoke = (ROOT / "profiles/cifar100-smoke.yaml").read_bytes()
    assert (project / "params.yaml").read_bytes() == smoke
    expected = [f"data/students/{name}" for name in yaml.load(smoke)["students"]]
    found = [dep for dep in deps(project, "evaluate") if dep.startswith("data/students/")]
    assert found == expected
    again = (project / "dvc.yaml").read_bytes()
    assert use() == ""
    assert (project / "dvc.yaml").read_bytes() == again


def test_an_unknown_profile(project):
    assert "cifar100-smoke" in use("cifar1000", code=1)
    assert (project / "params.yaml").read_bytes() == (ROOT / "params.yaml").read_bytes()


def test_changes_of_ones_own_are_replaced_only_by_force(project):
    own = (project / "params.yaml").read_text() + "# mine\n"
    (project / "params.yaml").write_text(own)
    output = use("cifar100-smoke", code=1)
    assert "changes of your own" in output
    assert "--force" in output
    assert (project / "params.yaml").read_text() == own
    # Kept as a profile, they can be left and come back to.
    shutil.copy(project / "params.yaml", project / "profiles/mine.yaml")
    use("cifar100-smoke")
    use("mine")
    assert (project / "params.yaml").read_text() == own
    (project / "profiles/mine.yaml").unlink()
    use("digits", "--force")
    assert (project / "params.yaml").read_bytes() == (ROOT / "params.yaml").read_bytes()


def test_students_depend_on_the_files_of_own_losses(project):
    before = deps(project, "train_student")
    (project / "losses_of_mine").mkdir()
    (project / "losses_of_mine/first.py").write_text(LOSS)
    set_method(project, "mine", {"loss": "losses_of_mine.first:mine"})
    assert "students on losses_of_mine/first.py" in use()
    assert deps(project, "train_student") == [*before, "losses_of_mine/first.py"]
    set_method(project, "mine", {"loss": "pipeline.losses:kd"})
    use()
    assert deps(project, "train_student") == before, "those of the project are there already"
    set_method(project, "mine", {"loss": "absent:mine"})
    assert use() == "", "it is for `check` to tell"


def test_parameters_that_make_no_sense_are_left_to_the_check(project):
    (project / "params.yaml").write_text("methods: 3\nstudents: [a]\n")
    use()
    assert not [dep for dep in deps(project, "evaluate") if dep.startswith("data/students/")]
