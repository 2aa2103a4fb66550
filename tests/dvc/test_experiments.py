"""Plain `dvc repro` and `dvc exp`, as docs/experiments.md tells: no report is ever of older networks."""

import json
import shutil
import subprocess

import pytest
from project_samples import Project, new_project, small_params

from stages.dvc.lock import Lock

TEACHER, STUDENT = "train_teacher@resnet8", "train_student@plain"


@pytest.fixture(scope="module")
def committed(tmp_path_factory):
    """A project with one teacher, one student and no baseline, run and committed."""
    content = small_params()
    content["training"]["epochs"] = 1
    content["dumps"]["resnet8"]["mixed"] = None
    content["students"] = {"plain": content["students"]["plain"]}
    content["baselines"] = {}
    content["evaluation"]["floors"] = {"teachers": 1.0, "students": 1.0}
    project = new_project(tmp_path_factory.mktemp("committed") / "project", content)
    done = project.run("dvc", "repro")
    assert "is below the floor of 100 %" in done.stdout, "a low accuracy is a result"
    commit(project)
    return project


def commit(project):
    git(project, "add", ".")
    git(project, "commit", "-qm", "results")


def git(project, *arguments):
    who = ("-c", "user.name=A", "-c", "user.email=a@example.org")
    return subprocess.run(
        ["git", *who, *arguments], cwd=project.folder, check=True, capture_output=True, text=True
    ).stdout


@pytest.fixture
def project(committed, tmp_path):
    """A copy of the committed project to change."""
    shutil.copytree(committed.folder, tmp_path / "project", symlinks=True)
    copy = Project(tmp_path / "project")
    for key, value in (("user.name", "A"), ("user.email", "a@example.org")):
        git(copy, "config", key, value)
    return copy


def metrics(project):
    return json.loads((project.folder / "reports/metrics.json").read_text())


def accuracy(project, name):
    """The accuracy in the record of a student."""
    text = (project.folder / f"data/students/{name}/record.json").read_text()
    return round(json.loads(text)["replicates"][0]["top1_accuracy"], 6)


def test_what_git_has_of_the_results(committed):
    tracked = set(git(committed, "ls-files", "data", "reports").split())
    assert "reports/metrics.json" in tracked
    assert {name for name in tracked if name.startswith("reports")} == {"reports/metrics.json"}
    assert "data/students/.gitignore" in tracked
    assert not [name for name in tracked if name.startswith("data/students/plain")]
    assert git(committed, "status", "--short") == ""
    shown = json.loads(committed.run("dvc", "metrics", "show", "--json").stdout)
    (found,) = shown[""]["data"].values()
    assert found["data"].keys() == {"teachers", "students"}
    assert found["data"]["students"]["plain"].keys() == {"top1_accuracy"}


@pytest.mark.slow
def test_a_student_added_and_changed_is_in_the_report_of_plain_dvc(project):
    """dvc.yaml names no network, so nothing has to be brought up to date."""
    content = project.params
    content["methods"]["mine"] = {"loss": "kd_soft_only", "temperature": 4.0}
    content["students"]["other"] = content["students"]["plain"] | {"method": "mine"}
    project.params = content
    assert project.repro() == {"check", "train_student@other", "evaluate"}
    first = metrics(project)["students"]["other"]["top1_accuracy"]
    assert state(project) == "done"
    project.edit("methods/mine/temperature", 0.05)
    project.repro("train_student@other")
    assert state(project) == "changed"
    assert project.status() == {"evaluate"}
    assert project.repro() == {"evaluate"}
    assert state(project) == "done"
    assert metrics(project)["students"]["other"]["top1_accuracy"] == accuracy(project, "other")
    assert accuracy(project, "other") != first
    # Without the entry again, its folder is no part of what two clones compare.
    with_both = (project.folder / "dvc.lock").read_text()
    git(project, "checkout", "params.yaml")
    project.repro()
    assert not (project.folder / "data/students/other").exists()
    assert evaluate_deps(project, git(project, "show", "HEAD:dvc.lock")) == evaluate_deps(
        project, (project.folder / "dvc.lock").read_text()
    )
    assert project.status() == set()
    # And with it again, nothing is trained.
    project.params = content | {
        "methods": content["methods"] | {"mine": {"loss": "kd_soft_only", "temperature": 0.05}}
    }
    project.repro()
    assert evaluate_deps(project, with_both) == evaluate_deps(
        project, (project.folder / "dvc.lock").read_text()
    )


def state(project):
    """What `decant plan` says of the report."""
    return Lock(project.folder, project.params).state("evaluate")


def evaluate_deps(project, lock):
    """What a dvc.lock says of the networks' folders."""
    from project_samples import yaml

    deps = yaml.load(lock)["stages"]["evaluate"]["deps"]
    return {dep["path"]: dep["md5"] for dep in deps if dep["path"].startswith("data/")}


def test_other_classes_train_nothing(project):
    project.edit("evaluation/vscore/groups", {"others": ["0", "1", "2"]})
    assert project.repro() == {"check", "evaluate"}
    details = json.loads((project.folder / "reports/details.json").read_text())
    assert set(details["students"]["plain"]["v_score"]) > {"others_test_raw"}


@pytest.mark.slow
def test_exp_run_with_other_values_has_right_metrics(project):
    before = metrics(project)
    project.run("dvc", "exp", "run", "-S", "methods.kd.temperature=0.05", "--name", "cold")
    assert metrics(project)["students"]["plain"]["top1_accuracy"] == accuracy(project, "plain")
    assert metrics(project) != before
    # A loss of one's own, by a name in own/, changed between two runs.
    own = project.folder / "own/losses/mine.py"
    own.write_text(LOSS)
    for factor in ("1.0", "-1.0"):
        own.write_text(LOSS.replace("FACTOR", factor))
        project.run(
            *("dvc", "exp", "run", "-S", "methods.kd.loss=own.losses.mine:loss"),
            *(
                "-S",
                "~methods.kd.temperature",
                "-S",
                "~methods.kd.gamma",
                "-S",
                "~methods.kd.alpha",
            ),
        ) if factor == "1.0" else project.run("dvc", "exp", "run")
        assert metrics(project)["students"]["plain"]["top1_accuracy"] == accuracy(project, "plain")
    git(project, "checkout", "params.yaml")
    shown = json.loads(project.run("dvc", "exp", "show", "--json").stdout)
    assert len(shown) > 1
    assert len(shown[1]["experiments"]) >= 3


LOSS = """
from torch.nn.functional import cross_entropy

def loss(student_logits, targets):
    return cross_entropy(FACTOR * student_logits, targets)
"""


@pytest.mark.slow
def test_a_queued_sweep_ends_well_and_is_applied(project):
    project.run(
        *("dvc", "exp", "run", "--queue", "--name", "sweep"),
        *("-S", "students.plain.seed=7,8"),
    )
    project.run("dvc", "exp", "run", "--run-all")
    shown = project.run("dvc", "exp", "show", "--csv", "--only-changed").stdout
    assert "Failed" not in shown
    assert "students.plain.top1_accuracy" in shown
    names = [line.split(",") for line in shown.splitlines()]
    assert any("sweep-1" in row for row in names)
    project.run("dvc", "exp", "apply", "sweep-2")
    assert project.params["students"]["plain"]["seed"] in (7, 8)
    assert metrics(project)["students"]["plain"]["top1_accuracy"] == accuracy(project, "plain")
    assert project.status() == set()
