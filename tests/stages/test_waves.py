"""`decant repro` in waves: the results of `dvc repro`, also where things are edited, fail or are killed."""

import contextlib
import fcntl
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
from project_samples import EVERYTHING, Project, new_project, small_params
from ruamel.yaml import YAML

from pipeline.core.progress import Tick
from stages.dvc import waves
from stages.shared.time_left import TimeLeft

BY_DVC = re.compile(r"Running stage '([^']+)':")  # a wave's line has no colon
IN_WAVES = re.compile(r"Running stage '([^']+)'$", re.MULTILINE)
STUDENTS = {"train_student@plain", "train_student@half"}
pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A project in which `decant repro` has made everything."""
    project = new_project(tmp_path_factory.mktemp("finished") / "project", small_params())
    project.output = project.decant("repro").stdout
    return project


@pytest.fixture
def project(finished, tmp_path):
    """A copy of the finished project to change."""
    shutil.copytree(finished.folder, tmp_path / "project", symlinks=True)
    return Project(tmp_path / "project")


class Running:
    """`decant repro` in a process group of its own; its output is read line by line."""

    def __init__(self, child):
        self.child, self.lines = child, []

    @classmethod
    @contextlib.contextmanager
    def start(cls, project, *arguments):
        with running(
            [sys.executable, "-u", "-m", "stages.cli", "repro", *arguments],
            cwd=project.folder,
            env={**project.env, "PYTHONUNBUFFERED": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        ) as child:
            yield cls(child)

    def until(self, text):
        for line in self.child.stdout:
            self.lines.append(line)
            if text in line:
                return
        raise AssertionError("".join(self.lines))

    def end(self):
        """The exit code and all output."""
        self.lines += self.child.stdout
        return self.child.wait(), "".join(self.lines)

    def signal(self, number):
        os.killpg(self.child.pid, number)


def results(project):
    """All that stages wrote, but for times and machines."""
    files = {}
    for folder in ("data", "reports"):
        for path in sorted((project.folder / folder).rglob("*")):
            name = path.relative_to(project.folder)
            if path.is_file() and ".work" not in name.parts and "timing" not in name.name:
                files[name.as_posix()] = path.read_bytes()
    return files


def lock_of(project):
    return (project.folder / "dvc.lock").read_bytes()


def recorded_seeds(project):
    """What dvc.lock has of the two students."""
    stages = YAML(typ="safe").load(project.folder / "dvc.lock")["stages"]
    params = {name: stages[f"train_student@{name}"]["params"] for name in ("plain", "half")}
    return [params[name]["params.yaml"][f"students.{name}"]["seed"] for name in params]


def seed_of(project, student):
    path = project.folder / f"data/students/{student}/record.json"
    return json.loads(path.read_text())["replicates"][0]["seed"]


def test_results_and_lock_are_those_of_dvc_repro(finished, tmp_path):
    serial = new_project(tmp_path / "project", small_params())
    assert serial.repro() == EVERYTHING
    assert lock_of(finished) == lock_of(serial)
    expected, found = results(serial), results(finished)
    assert found.keys() == expected.keys()
    assert [name for name in found if found[name] != expected[name]] == []
    assert finished.status() == set()
    trained = {stage for stage in EVERYTHING if stage.startswith("train_")}
    assert set(IN_WAVES.findall(finished.output)) == trained
    assert set(BY_DVC.findall(finished.output)) == EVERYTHING - trained


def test_what_waits_and_runs_is_told(finished):
    waves = re.findall(r"^(?:Side by side|Now): .*", finished.output, re.MULTILINE)
    assert waves == [
        "Side by side: 1 train_teacher, 1 train_baseline; then 1 dump, 2 train_student, evaluate",
        "Now: 1 dump; then 2 train_student, evaluate",
        "Side by side: 2 train_student; then evaluate",
    ]
    assert re.search(r"all: \d of 2 done, \d running, \d waiting", finished.output)


def test_a_student_that_fails_leaves_the_others_alone(project):
    before = results(project)
    project.edit("students/half/training", {"learning_rate": 1e30})
    project.edit("students/plain/seed", 60)
    done = project.decant("repro", check=False)
    assert done.returncode == 1
    assert "error: student half #0: the loss became" in done.stderr
    assert set(IN_WAVES.findall(done.stdout)) == STUDENTS
    assert set(BY_DVC.findall(done.stdout)) == {"check"}
    assert project.status() == {"train_student@half", "evaluate"}
    after = results(project)
    assert seed_of(project, "plain") == 60
    kept = [name for name in before if name.startswith(("reports/", "data/students/half/"))]
    assert len(kept) > 10
    assert [name for name in kept if after[name] != before[name]] == []


def test_later_waves_make_what_reads_nothing_of_a_failure(project):
    (name,) = project.params["baselines"]
    project.edit(f"baselines/{name}/training", {"learning_rate": 1e30})
    project.edit("students/plain/seed", 60)
    project.edit("students/half/seed", 60)
    done = project.decant("repro", check=False)
    assert done.returncode == 1
    assert f"error: baseline {name} #0: the loss became" in done.stderr
    assert f"Not made: train_baseline@{name}, evaluate\n" in done.stdout
    assert project.status() == {f"train_baseline@{name}", "evaluate"}
    assert seed_of(project, "plain") == seed_of(project, "half") == 60


def test_later_waves_leave_what_reads_a_failure(project):
    before = recorded_seeds(project)
    project.edit("teachers/resnet8/training", {"learning_rate": 1e30})
    project.edit("students/plain/seed", 60)
    done = project.decant("repro", check=False)
    assert done.returncode == 1
    assert "error: teacher resnet8 #0: the loss became" in done.stderr
    assert not re.search(r"Running stage '(dump|train_student|evaluate)", done.stdout)
    assert recorded_seeds(project) == before


@pytest.mark.parametrize("goals", [[], ["train_student@plain"]])
def test_an_edit_while_one_student_is_trained_is_not_recorded_with_the_older_result(project, goals):
    project.edit("students/plain/seed", 60)
    project.edit("students/plain/training", {"epochs": 6})
    with Running.start(project, *goals) as repro:
        repro.until("student plain #0: ")
        project.edit("training/momentum", 0.5)
        code, output = repro.end()
    assert code == 0, output
    record = json.loads((project.folder / "data/students/plain/record.json").read_text())
    assert record["training"]["momentum"] == 0.5
    assert "train_student@plain" not in project.status()


@pytest.mark.slow
def test_parameters_edited_meanwhile_are_not_recorded_with_older_results(project):
    for name, seed in (("plain", 60), ("half", 70)):
        project.edit(f"students/{name}/seed", seed)
        project.edit(f"students/{name}/training", {"epochs": 6})
    with Running.start(project) as repro:
        repro.until("all: ")
        project.edit("students/half/seed", 80)
        code, output = repro.end()
    assert code == 0, output
    assert set(IN_WAVES.findall(output)) == STUDENTS
    assert set(BY_DVC.findall(output)) >= {"train_student@half", "evaluate"}
    assert "train_student@plain" not in BY_DVC.findall(output)
    assert (seed_of(project, "plain"), seed_of(project, "half")) == (60, 80)
    assert project.status() == set()


@pytest.mark.slow
def test_code_edited_meanwhile_is_not_recorded_with_older_results(project):
    for name in ("plain", "half"):
        project.edit(f"students/{name}/training", {"epochs": 6})
    with Running.start(project) as repro:
        repro.until("all: ")
        with (project.folder / "pipeline/losses/hinton.py").open("a") as file:
            file.write("# a comment\n")
        code, output = repro.end()
    assert code == 0, output
    assert set(IN_WAVES.findall(output)) == STUDENTS
    assert set(BY_DVC.findall(output)) >= STUDENTS  # again
    assert project.status() == set()


@pytest.mark.slow
def test_a_kill_between_publishing_and_recording(project):
    for name in ("plain", "half"):
        project.edit(f"students/{name}/seed", 60)
    with Running.start(project) as repro:
        for _ in STUDENTS:  # in whichever order they end
            repro.until("-> data/students/")
        repro.signal(signal.SIGKILL)
        repro.end()
    assert seed_of(project, "plain") == 60
    assert project.status() >= STUDENTS
    assert 60 not in recorded_seeds(project)
    done = project.decant("repro")
    assert "1 of 1 were trained before" in done.stdout
    assert "all: " not in done.stdout
    assert project.status() == set()
    assert recorded_seeds(project) == [60, 60]


@pytest.mark.slow
def test_what_the_run_cache_has_is_not_trained_again(project):
    before = lock_of(project), results(project)
    for name in ("plain", "half"):
        project.edit(f"students/{name}/seed", 60)
    project.decant("repro")
    originals = small_params()["students"]
    for name in ("plain", "half"):
        project.edit(f"students/{name}/seed", originals[name]["seed"])
    shutil.rmtree(project.folder / "data/.work")
    done = project.decant("repro")
    assert IN_WAVES.findall(done.stdout) == []
    assert done.stdout.count("is cached - skipping run, checking out outputs") >= 2
    assert (lock_of(project), results(project)) == before


@pytest.mark.slow
def test_ctrl_c_ends_a_wave_with_130_and_the_next_goes_on(project):
    for name in ("plain", "half"):
        project.edit(f"students/{name}/training", {"epochs": 40})
    project.edit("machine/workers", 2)  # both at once, also on one core
    work = project.folder / "data" / ".work"
    with Running.start(project) as repro:
        repro.until("all: ")
        deadline = time.monotonic() + 120
        while len(list(work.glob("*/replicate-*/state.safetensors"))) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        repro.signal(signal.SIGINT)
        code, output = repro.end()
    assert code == 130, output
    assert "interrupted" in output
    assert "Traceback" not in output
    assert BY_DVC.findall(output) == ["check"]
    with Running.start(project, "--jobs", "1") as repro:
        code, output = repro.end()
    assert code == 0, output
    assert "all: 0 of 2 done, 1 running, 1 waiting" in output
    first = re.search(r"student \w+ #0: (\d+)/", output)
    assert int(first[1]) > 0, "not the first epoch again"
    assert project.status() == set()


def test_a_full_disk_is_told_before_a_wave(project, monkeypatch, capsys):
    """The disk is the machine's; how much of it is free is not the test's to change."""
    from stages.dvc import together

    monkeypatch.chdir(project.folder)
    monkeypatch.setattr(
        together.shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**9, 10**9, 10**4)
    )
    project.edit("students/half/seed", 60)
    with pytest.raises(ValueError, match=r"kB are to be written, and 10.0 kB are free"):
        together.train(["train_student@half", "train_student@plain"], [])


def test_dumps_without_room_for_them_are_not_begun(project, monkeypatch, capfd):
    teachers, dumps = project.params["teachers"], project.params["dumps"]
    dumps["resnet8"]["plain"]["views"] = 10**9
    project.edit("teachers", {**teachers, "other": teachers["resnet8"]})
    project.edit("dumps", {**dumps, "other": dumps["resnet8"]})
    shutil.copytree(
        project.folder / "data/teachers/resnet8", project.folder / "data/teachers/other"
    )
    monkeypatch.chdir(project.folder)
    monkeypatch.setattr(waves, "answer_of", lambda *arguments: [])  # the run cache has neither
    monkeypatch.setattr(waves, "call_dvc", lambda *arguments: pytest.fail("goes on by itself"))
    assert waves.run_wave(["dump@resnet8", "dump@other"], [], []) == 1
    assert "GB are to be written, and " in capfd.readouterr().err


def test_another_dvc_command_at_work_is_told_in_a_line(project):
    with (project.folder / ".dvc/tmp/lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = subprocess.run(
            [sys.executable, "-m", "stages.dvc.repo", "answer.json", "train_student@plain"],
            cwd=project.folder,
            env=project.env,
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr.startswith("error: DVC: ")
    assert "Traceback" not in done.stderr


def test_what_would_run_is_what_runs_where_the_cache_is_empty(project):
    shutil.rmtree(project.folder / ".dvc/cache")
    assert "Everything is up to date\n" in project.decant("repro", "--dry").stdout


def test_a_number_of_jobs_is_a_number(project):
    project.env["DECANT_JOBS"] = "many"
    done = project.decant("train-student", "plain", check=False)
    assert done.returncode == 0  # nothing is left to train
    project.edit("students/plain/seed", 60)
    done = project.decant("train-student", "plain", check=False)
    assert done.returncode == 1
    assert "DECANT_JOBS: 'many' is not a number of networks" in done.stderr


def test_the_time_that_is_left():
    left = TimeLeft({"a": 10.0, "b": 10.0, "c": 20.0}, at_once=2, later=30.0)
    assert (left.done, left.running, left.waiting, left.seconds()) == (0, 0, 3, None)
    left.update(Tick("c", 0, 100), 0.0)
    left.update(Tick("a", 50, 100), 0.0)  # goes on from a checkpoint
    left.update(Tick("c", 25, 100), 5.0)
    left.update(Tick("a", 100, 100), 5.0)
    assert (left.done, left.running, left.waiting) == (1, 1, 1)
    # Two jobs did 10 in 5 s each, so 1 a second; 15 of c are left, b runs beside it, and 30 come in two.
    assert left.seconds() == pytest.approx(15.0 + 15.0)
