"""New, removed and renamed raw images reach the prepared data set, or are told of."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from project_samples import copy_of_the_project
from workspaces import digits_params, yaml

from pipeline.core.dataset import load_prepared
from pipeline.raw.changes import raw_changes
from stages.prepare import prepare
from stages.shared.options import console


def add_image(path, seed):
    pixels = np.random.default_rng(seed).integers(0, 256, (9, 9, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


class Project:
    """A project under git and DVC whose raw images lie outside it."""

    def __init__(self, folder):
        self.folder, self.raw = folder / "project", folder / "raw"
        copy_of_the_project(self.folder)
        for number in range(12):
            add_image(self.raw / "ab"[number % 2] / f"{number}.png", number)
        content = digits_params()
        content["machine"]["data_root"] = str(self.raw)
        content["dataset"].update(name="imagefolder", test_fraction=0.25)
        content["evaluation"]["vscore"]["groups"] = {}
        with (self.folder / "params.yaml").open("w") as file:
            yaml.dump(content, file)
        subprocess.run(["git", "init", "-q"], cwd=self.folder, check=True)

    def repro(self, *arguments):
        env = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        env.pop("DECANT_DATA", None)
        command = [sys.executable, "-m", "stages.cli", "repro", *arguments]
        done = subprocess.run(
            command, cwd=self.folder, env=env, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def told(self, monkeypatch):
        """What `decant repro` says of the raw images before it goes on, by its arguments."""
        monkeypatch.chdir(self.folder)
        monkeypatch.delenv("DECANT_DATA", raising=False)
        content = yaml.load(self.folder / "params.yaml")

        return lambda *arguments: raw_changes(content, arguments)

    def prepared(self):
        files = sorted((self.folder / "data" / "prepared").iterdir())
        return {file.name: file.read_bytes() for file in files}


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    return Project(tmp_path_factory.mktemp("own-images"))


def test_changed_images_are_told_and_taken_in_by_the_command_that_is_named(project, monkeypatch):
    assert "have changed since" not in project.repro("prepare")
    before = project.prepared()
    add_image(project.raw / "a" / "new.png", 99)
    (project.raw / "b" / "1.png").rename(project.raw / "b" / "renamed.png")
    output = project.repro("prepare")
    assert f"The images in {project.raw} have changed since data/prepared was made" in output
    assert "2 new (a/new.png, b/renamed.png); 1 removed (b/1.png)" in output
    assert "To use them, run `decant repro --force prepare`" in output
    assert project.prepared() == before  # DVC sees nothing
    output = project.repro("--force", "prepare")
    assert "by hand" not in output
    assert "since the last time: 2 new (a/new.png, b/renamed.png); 1 removed (b/1.png)" in output
    data = load_prepared(project.folder / "data" / "prepared")
    assert len(data.train.labels) + len(data.test.labels) == 13
    told = project.told(monkeypatch)
    assert told() == ""
    taken = project.prepared()
    os.utime(project.raw / "a" / "new.png", (1, 1))
    assert "1 of another size or time (a/new.png)" in told()
    assert told("--force", "prepare") == ""
    assert "have changed since" in told("--force", "evaluate")
    with console.capture() as capture:
        CliRunner().invoke(prepare, [], catch_exceptions=False)
    assert "DVC does not record data prepared by hand" in capture.get()
    assert project.prepared() == taken  # no byte depends on the times
    assert told() == ""
    shutil.rmtree(project.raw / "b")
    assert "cannot be used as they are now: " in told()
    shutil.move(project.raw, project.raw.with_name("away"))
    assert told() == ""  # they are not asked for
