"""The pipeline as DVC runs it: what reruns when something changes, in a clone of its own."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest
from child_processes import running
from project_samples import EVERYTHING, ROOT, Project, new_project, small_params


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A project in which everything has run once."""
    folder = tmp_path_factory.mktemp("finished") / "project"
    project = new_project(folder, small_params())
    project.first_run = project.repro()
    return project


@pytest.fixture
def project(finished, tmp_path):
    """A copy of the finished project to change."""
    shutil.copytree(finished.folder, tmp_path / "project", symlinks=True)
    copy = Project(tmp_path / "project")
    assert copy.status() == set()
    return copy


def test_a_full_run_runs_everything_and_is_clean(finished):
    assert finished.first_run == EVERYTHING
    assert finished.status() == set()
    for name in ("report.html", "report.md", "metrics.json", "summary.txt"):
        assert (finished.folder / "reports" / name).stat().st_size > 0


def test_a_second_run_changes_nothing_and_says_so(project):
    done = project.decant("repro")
    assert "Running stage" not in done.stdout
    assert "Nothing has changed" in done.stdout
    assert "resnet8" in done.stdout


def edits():
    """The table of docs/architecture.md: file -> stages."""
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| .*: `([^`]+)` \| (.*) \|$", text, re.MULTILINE)
    return {file: set() if stages == "none" else set(stages.split(", ")) for file, stages in rows}


def test_what_an_edit_makes_stale_is_what_the_docs_say(project):
    assert len(edits()) > 10
    for name, stages in edits().items():
        path = project.folder / name
        before = path.read_bytes()
        path.write_bytes(before + b"\n# edited\n")
        stale = {stage.partition("@")[0] for stage in project.status()}
        path.write_bytes(before)
        assert stale == stages, name
    assert project.status() == set()


@pytest.mark.slow
def test_another_student_parameter_reruns_that_student_and_the_evaluation(project):
    project.edit("students/plain/seed", 6)
    assert project.status() == {"check", "train_student@plain", "evaluate"}
    assert project.repro() == {"check", "train_student@plain", "evaluate"}
    assert project.status() == set()


def test_editing_a_loss_reruns_students_only(project):
    with (project.folder / "pipeline" / "losses" / "hinton.py").open("a") as file:
        file.write("# a comment\n")
    changed = project.status()
    assert {"train_student@plain", "train_student@half"} <= changed
    assert changed <= {"check", "train_student@plain", "train_student@half", "evaluate"}


def test_another_view_seed_reruns_dump_and_students_but_no_teacher(project):
    project.edit("dumps/resnet8/seed", 1)
    assert project.status() == {"check", "dump@resnet8"}
    ran = project.repro("train_student@plain")
    assert ran == {"check", "dump@resnet8", "train_student@plain"}


@pytest.mark.slow
def test_another_alpha_leaves_plain_students_alone(project):
    project.edit("dumps/resnet8/mixed/alpha", 0.4)
    assert project.repro() == {"check", "dump@resnet8", "train_student@half", "evaluate"}


def test_the_machine_changes_nothing(project):
    project.edit("machine/threads", 2)
    project.edit("machine/data_root", "/elsewhere")
    assert project.status() == set()


def test_more_views_keep_the_old_files(project):
    store = project.folder / "data" / "stores" / "resnet8.zarr" / "plain" / "logits"
    before = {file: file.read_bytes() for file in store.glob("c.*")}
    assert len(before) == 2
    project.edit("dumps/resnet8/plain/views", 3)
    assert project.repro("dump@resnet8") == {"check", "dump@resnet8"}
    after = {file: file.read_bytes() for file in store.glob("c.*")}
    assert len(after) == 3
    assert before.items() <= after.items()


def test_more_replicates_train_only_the_new_ones(project):
    weights = project.folder / "data/students/plain/replicate-0/weights.safetensors"
    timing = json.loads((project.folder / "data/students/plain.timing.json").read_text())
    before = weights.read_bytes()
    project.edit("students/plain/replicates", 2)
    project.repro("train_student@plain")
    assert weights.read_bytes() == before
    again = json.loads((project.folder / "data/students/plain.timing.json").read_text())
    assert len(again["replicates"]) == 2
    assert again["replicates"][0] == timing["replicates"][0]


def test_stages_run_by_hand_without_dvc(project, tmp_path):
    out = tmp_path / "student"
    done = project.decant("train-student", "half", "--out", str(out))
    published = project.folder / "data/students/half"
    assert "student half" in done.stdout
    assert (out / "record.json").read_bytes() == (published / "record.json").read_bytes()


def test_unknown_names_list_the_valid_ones(project):
    done = project.decant("train-student", "quarter", check=False)
    assert done.returncode == 1
    assert "no student 'quarter'; valid: half, plain" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_missing_store_says_what_to_do(project):
    shutil.rmtree(project.folder / "data" / "stores")
    done = project.decant("train-student", "plain", check=False)
    assert done.returncode == 1
    assert "resnet8.zarr" in done.stderr
    assert "dvc" in done.stderr
    assert "Traceback" not in done.stderr


def test_ctrl_c_ends_with_130_and_the_next_run_goes_on(project):
    # Long enough that neither replicate ends before both have a checkpoint.
    project.edit("students/plain/training", {"epochs": 30})
    project.edit("students/plain/replicates", 2)
    project.edit("machine/workers", 2)  # both at once, also on one core
    work = project.folder / "data" / ".work"
    with running(
        [sys.executable, "-m", "stages.cli", "train-student", "plain"],
        cwd=project.folder,
        env=project.env,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
    ) as child:
        deadline = time.monotonic() + 120
        while len(list(work.glob("*/replicate-*/state.safetensors"))) < 2:
            assert time.monotonic() < deadline
            assert child.poll() is None
            time.sleep(0.1)
        os.killpg(child.pid, signal.SIGINT)  # as a terminal does: the whole group gets it
        _, errors = child.communicate(timeout=60)
    assert child.returncode == 130
    assert "interrupted" in errors
    assert "Traceback" not in errors
    project.edit("students/plain/replicates", 1)
    project.decant("train-student", "plain")
    record = json.loads((project.folder / "data/students/plain/record.json").read_text())
    assert record["training"]["epochs"] == 30
