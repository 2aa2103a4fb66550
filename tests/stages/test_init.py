"""`decant init`: a project that works on its own, by its own code."""

import json
import os
import shlex
import subprocess
import sys

import pytest
from click.testing import CliRunner
from workspaces import ROOT, yaml

from stages.cli import main
from stages.commands.init import PARTS


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    folder = tmp_path_factory.mktemp("somewhere") / "study"
    environment = git_as("someone", "someone@example.org")
    done = run(folder.parent, "init", "study", environment=environment, code_of=ROOT)
    assert "study: a project with the profile digits" in done.stdout
    return folder


def git_as(name, email):
    return {
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_SYSTEM": os.devnull,
        **(
            {
                f"GIT_CONFIG_{part}_{n}": value
                for n, pair in enumerate((("user.name", name), ("user.email", email)))
                for part, value in zip(("KEY", "VALUE"), pair, strict=True)
            }
            if name
            else {}
        ),
        "GIT_CONFIG_COUNT": "2" if name else "0",
    }


def run(folder, *arguments, environment=(), code_of=None, code=0):
    command = [sys.executable, "-m", "stages.cli", *arguments]
    env = {**os.environ, **dict(environment)}
    env.pop("PYTHONPATH", None)
    if code_of is not None:
        env["PYTHONPATH"] = str(code_of)
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return done


def test_it_is_under_git_with_nothing_left_out(project):
    status = subprocess.run(
        ["git", "status", "--porcelain"], cwd=project, capture_output=True, text=True, check=True
    )
    assert status.stdout == ""
    log = ["git", "log", "--format=%an %s"]
    done = subprocess.run(log, cwd=project, capture_output=True, text=True, check=True)
    assert done.stdout == "someone A project of Decant\n"


def test_its_code_is_this_version_s(project):
    for part in ("decant", "pipeline", "stages", "own"):
        files = [path for path in (ROOT / part).rglob("*.py") if "__pycache__" not in path.parts]
        assert files or part == "own"
        for file in files:
            assert (project / file.relative_to(ROOT)).read_bytes() == file.read_bytes()
    assert not list(project.rglob("__pycache__"))
    assert not (project / "tests").exists()
    for name in ("dvc.yaml", "params.yaml"):
        assert (project / name).read_bytes() == (ROOT / name).read_bytes()


def test_its_commands_work(project):
    assert run(project, "check").stdout == "params.yaml is valid\n"
    assert "To compute: 14 stages" in run(project, "repro", "--dry").stdout
    stages = json.loads(run(project, "status", "--json").stdout)["stages"]
    assert {stage["state"] for stage in stages} == {"missing"}
    dag = [sys.executable, "-m", "dvc", "status", "--json"]
    done = subprocess.run(dag, cwd=project, capture_output=True, text=True, check=True)
    assert len(json.loads(done.stdout)) == len(stages)


def test_its_first_stages_are_made(project):
    run(project, "repro", "prepare")
    assert (project / "data/prepared/dataset.json").exists()
    assert (project / "dvc.lock").exists()


def test_without_a_name_git_has_the_files_and_no_commit(tmp_path, monkeypatch):
    for name, value in git_as(None, None).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(main, ["init", "my [x] study", "--profile", "cifar100-smoke"])
    assert result.exit_code == 0, result.output
    assert "my [x] study: a project with" in result.output
    assert "`git commit`" in result.output
    command = shlex.split(result.output.splitlines()[-1])
    assert command == ["Now:", "cd", "my [x] study", "&&", "decant", "repro"]
    with (tmp_path / "my [x] study/params.yaml").open() as file:
        assert yaml.load(file)["dataset"]["name"] == "cifar100"


def test_a_commit_that_git_refuses_is_told_and_the_project_is_whole(tmp_path, monkeypatch):
    signing = {"commit.gpgsign": "true", "gpg.program": "false", "user.useConfigOnly": "true"}
    for number, (key, value) in enumerate({"user.email": "a@example.org", **signing}.items()):
        monkeypatch.setenv(f"GIT_CONFIG_KEY_{number}", key)
        monkeypatch.setenv(f"GIT_CONFIG_VALUE_{number}", value)
    monkeypatch.setenv("GIT_CONFIG_COUNT", "4")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(main, ["init", "mine"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert "git made no commit of the files" in result.output
    assert "Now: cd mine" in result.output


def test_a_folder_that_is_not_empty_is_refused(tmp_path):
    (tmp_path / "mine").touch()
    result = CliRunner().invoke(main, ["init", str(tmp_path)])
    assert result.exit_code == 1
    assert "not empty" in result.output
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_a_profile_that_is_none(tmp_path):
    result = CliRunner().invoke(main, ["init", str(tmp_path / "x"), "--profile", "digitss"])
    assert result.exit_code == 1
    assert not (tmp_path / "x").exists()


def test_every_part_is_there():
    assert [part for part in PARTS if not (ROOT / part).exists()] == []
