"""`decant doctor`: nothing to mend in a project that is well; each thing that is not, with what helps."""

import json
import os
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import pytest
from click.testing import CliRunner
from packaging.requirements import Requirement
from project_samples import new_project, small_params
from status_samples import done_project

from pipeline.core.files import WORK, WorkFolder
from pipeline.core.notes import WorkNote
from stages.cli import main
from stages.doctor import dvc, environment, project
from stages.doctor.finding import Finding, examined

Usage = namedtuple("Usage", "total used free")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("project")
    new_project(folder, small_params())
    return folder


@pytest.fixture
def here(folder, monkeypatch):
    monkeypatch.chdir(folder)
    return folder


def findings(*checks):
    return {finding.topic: finding for check in checks for finding in check()}


def project_findings(name, **machine):
    """What a check of the project finds with other settings of `machine`."""
    content = small_params()
    content["machine"].update(machine)
    return content, findings(*checks_of(content, name))


def checks_of(content, name):
    Path("other.yaml").write_text(json.dumps(content))
    looked_at = project.Project(Path("other.yaml"))
    list(looked_at.check_params())
    return [getattr(looked_at, name)]


def test_a_project_that_is_well(here):
    result = CliRunner().invoke(main, ["doctor", "--json"], catch_exceptions=False)
    found = json.loads(result.output)["findings"]
    assert result.exit_code == 0
    topics = {finding["topic"] for finding in found}
    assert topics >= {"Python", "packages", "torch", "torchvision", "DVC", "remote", "links"}
    assert topics >= {"parameters", "device", "data", "disk", "locks"}
    assert not [finding for finding in found if finding["level"] == "problem"]
    assert all(finding["advice"] for finding in found if finding["level"] != "ok")


def test_a_folder_that_is_no_project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(main, ["doctor"], catch_exceptions=False)
    assert result.exit_code == 1
    assert "decant init NAME" in result.output
    assert "decant use PROFILE" in result.output
    assert result.output.count("PROBLEM") == 2


def test_packages_that_are_missing_or_of_another_version(monkeypatch):
    needed = [Requirement("no-such-package>=1"), Requirement("click<1"), Requirement("rich")]
    monkeypatch.setattr(environment, "needed_packages", lambda: needed)
    (finding,) = environment.check_packages()
    assert finding.level == "problem"
    assert finding.text.startswith("no-such-package is not installed; click ")
    assert "rich" not in finding.text


def test_the_packages_are_those_of_pyproject():
    names = {need.name for need in environment.needed_packages()}
    assert {"torch", "dvc", "zarr"} <= names
    assert "pytest" not in names


def test_a_gpu_that_torch_cannot_use(monkeypatch, tmp_path):
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    (finding,) = environment.check_torch()
    assert finding.level == "warning"
    assert "CUDA" in finding.advice


def test_mistakes_in_the_parameters_are_told_once(here):
    content = small_params()
    content["training"]["epochs"] = -1
    content["machine"]["device"] = "cuda:99"
    Path("other.yaml").write_text(json.dumps(content))
    looked_at = project.Project(Path("other.yaml"))
    (finding,) = looked_at.check_params()
    assert "training.epochs" in finding.text
    for check in (looked_at.check_device, looked_at.check_data, looked_at.check_disk):
        assert list(check()) == []


def test_a_device_that_is_not_there(here):
    _, found = project_findings("check_device", device="cuda:99")
    assert found["device"].level == "problem"
    assert "auto" in found["device"].advice


@pytest.mark.parametrize("download", [False, True])
def test_data_that_are_not_there(here, download, tmp_path):
    content = small_params()
    content["machine"].update(data_root=str(tmp_path), download=download)
    content["dataset"] = {"name": "cifar100", "image_size": 32, "seed": 0}
    content["evaluation"]["vscore"]["groups"] = {"some": ["apple", "bowl"]}
    (check,) = checks_of(content, "check_data")
    (finding,) = check()
    assert finding.level == ("ok" if download else "problem")
    assert f"there is no {tmp_path}/cifar-100-python" in finding.text
    (tmp_path / "cifar-100-python").mkdir()
    (tmp_path / "cifar-100-python/train").touch()
    (finding,) = check()
    assert finding.level == "ok"


def test_a_clone_without_the_raw_images_has_their_counts(tmp_path, monkeypatch):
    """A teammate's: folders of images, of which only the prepared ones were pulled."""
    content = small_params()
    content["machine"].update(data_root=str(tmp_path / "nowhere"))
    content["dataset"] = {
        "name": "imagefolder",
        "image_size": 16,
        "test_fraction": 0.2,
        "seed": 0,
    }
    content["evaluation"]["vscore"]["groups"] = {}
    done_project(tmp_path / "project", content)
    monkeypatch.chdir(tmp_path / "project")
    facts = {"schema": 1, "name": "imagefolder", "class_names": ["ant", "bee"]}
    counts = {"train_images": 80, "test_images": 20, "image_shape": [16, 16, 3]}
    Path("data/prepared/dataset.json").write_text(json.dumps(facts | counts))
    for name in ("check_data", "check_disk"):
        (check,) = checks_of(content, name)
        (finding,) = check()
        assert finding.level == "ok", finding
    Path("dvc.lock").unlink()  # then nobody knows of which images these are
    with pytest.raises(ValueError, match="there is no folder"):
        list(check())


def test_a_full_disk(here, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda path: Usage(10, 9, 1))
    _, found = project_findings("check_disk")
    assert found["disk"].level == "problem"
    assert found["disk"].text.startswith("1 B free, ")
    assert "decant clean" in found["disk"].advice


def test_a_disk_without_locks(here, monkeypatch):
    monkeypatch.setattr("fcntl.flock", lambda *_: None)  # says yes to everybody
    (finding,) = project.check_locks()
    assert finding.level == "problem"
    assert "flock" in finding.advice


def test_processes_at_work_are_named(here):
    with WorkFolder(WORK, "a" * 16) as work:
        WorkNote(("train_teacher@resnet8",), replicates=1, epochs=2).write(work.path)
        texts = [finding.text for finding in project.check_locks()]
    assert any(f"process {os.getpid()} " in text and "1 work folder:" in text for text in texts)
    assert len(list(project.check_locks())) == 1


def test_remotes(tmp_path, here):
    def of(url):
        (finding,) = dvc.check_remote({"core.remote": "r", "remote.r.url": url})
        return finding.level

    assert of(str(tmp_path)) == "ok"
    assert of(str(tmp_path / "gone")) == "problem"
    assert of("s3://bucket") == "ok"
    assert of("") == "problem"
    (finding,) = dvc.check_remote({})
    assert "none" in finding.text


def test_links_are_tried(here, monkeypatch):
    assert dvc.link_that_works(["hardlink", "copy"], Path(".dvc/cache")) == "hardlink"
    assert dvc.link_that_works(["symlink", "copy"], Path(".dvc/cache")) == "symlink"

    def refuse(source, target):
        raise PermissionError

    monkeypatch.setitem(dvc.LINKS, "hardlink", refuse)
    assert dvc.link_that_works(["hardlink", "copy"], Path(".dvc/cache")) == "copy"
    (finding,) = dvc.check_links({"cache.type": "hardlink,copy"})
    assert finding.level == "warning"
    assert not list(Path().glob(".tmp-links-*"))


def test_a_folder_under_no_git(tmp_path, monkeypatch):
    (tmp_path / ".dvc").mkdir()
    monkeypatch.chdir(tmp_path)
    assert findings(dvc.check_dvc)["DVC"].level == "problem"


@pytest.mark.parametrize(
    ("content", "found"),
    [("{}", 0), ("[", 1), ('{"x": {"read": [{"pid": PID, "cmd": "dvc repro"}]}}', 1)],
)
def test_the_lock_of_dvc(here, content, found):
    file = Path(".dvc/tmp/rwlock")
    file.parent.mkdir(exist_ok=True)
    file.write_text(content.replace("PID", str(os.getpid())))
    assert len(list(dvc.check_busy())) == found
    file.unlink()


def test_a_check_that_fails_is_a_finding():
    def check():
        yield Finding("x", "ok", "first")
        raise ImportError("libcudart is not there")

    first, second = examined("torch", check)
    assert (first.text, second.level) == ("first", "problem")
    assert "libcudart" in second.text


def test_the_command_itself(here):
    command = [sys.executable, "-m", "stages.cli", "doctor"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "ok       Python" in done.stdout
