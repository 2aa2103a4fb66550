"""`decant repro` in real clones: what was asked for is there afterwards, or the exit code is not 0."""

import json
import os
import shutil
import subprocess
import sys

import pytest
from sharing_team import ROOT, Clone, Team, ran, student, tiny_params

REPORT = "reports/report.html"
# Notes at the end of each Python process which of these it has imported.
HOOK = """
import atexit, os, sys
def note():
    with open(os.environ["IMPORTS"], "a") as file:
        file.writelines(name + "\\n" for name in ("dvc", "torch") if name in sys.modules)
atexit.register(note)
"""
pytestmark = pytest.mark.timeout(1200)


@pytest.fixture(scope="module")
def team(tmp_path_factory):
    """A team whose first clone has made everything, and pushed it to the remote."""
    params = tiny_params()
    del params["students"]["half"]
    params["dumps"]["resnet8"]["mixed"] = None
    team = Team(tmp_path_factory.mktemp("team"), params=params)
    first = team.clone("first")
    first.decant("repro")
    first.commit("Everything")
    return team


@pytest.fixture
def clone(team, tmp_path):
    """A new clone, whose remote has everything."""
    subprocess.run(
        ["git", "clone", "--quiet", str(team.origin), str(tmp_path / "clone")], check=True
    )
    return Clone(tmp_path / "clone")


def recorded(clone):
    """DVC finds nothing to complain of in what evaluate reads and writes."""
    assert (clone.folder / REPORT).is_file()
    assert clone.status("evaluate") == {}


def test_with_a_remote_all_that_evaluate_reads_is_fetched(clone, team):
    output = clone.decant("repro")
    assert ran(output) == []
    recorded(clone)
    assert clone.files("reports") == Clone(team.folder / "first").files("reports")
    assert "not read now (`dvc pull` fetches it): data/stores/resnet8.zarr\n" in output
    assert not (clone.folder / "data/stores").exists()
    # What is asked for by name is fetched, too; then nothing is left to be done.
    output = clone.decant("repro", "dump@resnet8")
    assert ran(output) == []
    assert "not on this disk: dump@resnet8 (`dvc pull`)" in output
    assert "cache" not in output
    assert (clone.folder / "data/stores/resnet8.zarr/zarr.json").is_file()
    # With nothing to do one process imports DVC, and none torch.
    hook, log = clone.folder / "data/.work/hook", clone.folder / "data/.work/imports.txt"
    hook.mkdir(parents=True)
    (hook / "sitecustomize.py").write_text(HOOK)
    environment = clone.environment | {"PYTHONPATH": str(hook), "IMPORTS": str(log)}
    command = [sys.executable, "-m", "stages.cli", "repro"]
    subprocess.run(command, cwd=clone.folder, env=environment, capture_output=True, check=True)
    assert sorted(log.read_text().split()) == ["dvc"]


def test_a_remote_that_lacks_the_results_is_no_success(clone, tmp_path):
    clone.dvc("remote", "modify", "--local", "team", "url", str(tmp_path / "nothing"))
    output = clone.decant("repro", code=1)
    assert "Neither DVC's cache nor its remote has what 5 stages made: prepare" in output
    assert "To compute: 5 stages, about" in output
    assert "ask who made it for a `dvc push`" in output
    assert ran(output) == []
    assert not (clone.folder / REPORT).exists()


def test_a_remote_that_is_out_of_reach_is_no_reason_to_compute(clone):
    clone.dvc("remote", "modify", "--local", "team", "url", "ssh://127.0.0.1:9/nowhere")
    output = subprocess.run(
        [sys.executable, "-m", "stages.cli", "repro", "--yes"],
        cwd=clone.folder,
        env=clone.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert output.returncode not in (0, None)
    assert "failed to connect" in output.stderr
    assert ran(output.stdout) == []


@pytest.mark.slow
def test_without_a_remote_a_short_study_is_computed(clone):
    clone.dvc("remote", "remove", "team")
    # What would be done is said first, and nothing is written: not by DVC, not into dvc.yaml.
    files = clone.run("git", "status", "--porcelain")
    output = clone.decant("repro", "--dry")
    assert "To compute: 5 stages, about" in output
    assert "  train_student@plain\n" in output
    assert "Nothing has changed" not in output
    assert clone.run("git", "status", "--porcelain") == files
    output = clone.decant("repro")
    assert "DVC's cache lacks what 5 stages made, and there is no DVC remote: prepare" in output
    stages = ["prepare", "train_teacher@resnet8", "dump@resnet8", "train_student@plain", "evaluate"]
    assert [name for name in ran(output) if name != "check"] == stages
    recorded(clone)
    assert "not read now" not in output
    again = clone.decant("repro", "-f", "-s", "train_student@plain")
    assert "1 of 1 were trained before" in again
    assert "to train them again, run `decant clean` first" in again
    # DVC's cache is emptied, as by `dvc gc` in another clone that shares it; the results are here.
    shutil.rmtree(clone.folder / ".dvc/cache/files")
    output = clone.decant("repro")
    assert "no longer in DVC's cache:" in output
    assert ran(output) == []
    recorded(clone)


def test_a_long_study_wants_a_yes(clone):
    clone.dvc("remote", "remove", "team")
    clone.edit("training/epochs", 10**6)
    lock = clone.folder / "dvc.lock"
    lock.write_text(lock.read_text().replace("epochs: 1\n", "epochs: 1000000\n"))
    output = clone.decant("repro", code=1)
    assert "To compute: 5 stages, about" in output
    assert "add --yes" in output
    assert ran(output) == []


@pytest.mark.slow
def test_a_changed_student_in_a_clone_is_reported(clone):
    clone.edit("students/mine", student("plain", 0.0, seed=77))
    assert "train_student@mine" in clone.decant("repro", "--dry")
    output = clone.decant("repro")
    assert ran(output) == ["check", "train_student@mine", "evaluate"]
    recorded(clone)
    # Its entry goes: the results are named, and removed when that is asked for.
    content = (clone.folder / "params.yaml").read_text()
    clone.git("checkout", "--quiet", "params.yaml")
    output = clone.decant("clean")
    assert "data/students/mine" in output
    assert "in DVC's cache too" in output
    assert (clone.folder / "data/students/mine").is_dir()
    assert "1 removed" in clone.decant("clean", "--yes")
    assert not (clone.folder / "data/students/mine").exists()
    assert (clone.folder / "data/students/plain").is_dir()
    (clone.folder / "params.yaml").write_text(content)
    assert ran(clone.decant("repro")) == []
    recorded(clone)


@pytest.mark.slow
def test_store_extend_needs_no_activated_environment(clone):
    clone.environment["PATH"] = "/usr/bin:/bin"
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "stages.cli",
            *("store", "extend", "resnet8", "--views", "3", "--group", "plain"),
        ],
        cwd=clone.folder,
        env=clone.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert ran(done.stdout) == ["check", "dump@resnet8"]
    manifest = clone.folder / "data/stores/resnet8.zarr/plain/manifest.json"
    assert json.loads(manifest.read_text())["views"] == 3


def test_the_installed_command_runs_the_code_of_the_clone(tmp_path):
    command = [sys.executable, "-c", "from stages.cli import main; main()", "plan", "--help"]
    project = tmp_path / "clone"
    shutil.copytree(ROOT / "stages", project / "stages")
    shutil.copytree(ROOT / "pipeline", project / "pipeline")
    plan = project / "stages/commands/plan.py"
    plan.write_text(plan.read_text().replace("Show what PROFILE", "THE CLONE'S OWN: PROFILE"))
    # `-P`: as for a console script, the folder that one stands in is not searched for modules.
    command.insert(1, "-P")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    for folder, own in ((project, True), (ROOT, False), (tmp_path, False)):
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, check=True
        )
        assert ("THE CLONE'S OWN" in done.stdout) == own


@pytest.mark.slow
def test_a_shared_cache_that_another_clone_has_emptied(team, clone, tmp_path):
    cache = tmp_path / "shared"
    shutil.copytree(team.folder / "first/.dvc/cache", cache)
    other = Clone(tmp_path / "other")
    subprocess.run(["git", "clone", "--quiet", str(team.origin), str(other.folder)], check=True)
    for each in (clone, other):
        each.dvc("remote", "remove", "team")
        each.dvc("cache", "dir", "--local", str(cache))
    assert ran(clone.decant("repro")) == []
    recorded(clone)
    other.edit("students", {})
    (other.folder / "dvc.lock").write_text("schema: '2.0'\nstages: {}\n")
    other.dvc("gc", "--workspace", "--force")
    output = clone.decant("repro")
    assert "no longer in DVC's cache:" in output
    assert ran(output) == []
    # What is neither in the cache nor on the disk is computed.
    other.dvc("gc", "--workspace", "--force")
    shutil.rmtree(clone.folder / "data/students/plain")
    output = clone.decant("repro")
    assert "there is no DVC remote: dump@resnet8, train_student@plain" in output
    assert [name for name in ran(output) if name not in ("check", "evaluate")] == [
        "dump@resnet8",
        "train_student@plain",
    ]
    recorded(clone)
