"""A copy of the project under git and DVC, with a small params.yaml, for tests that run stages."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parent.parent
TRACKED = [
    *("pipeline", "stages", "profiles", "own"),
    *("dvc.yaml", ".dvc/plots", ".dvc/plots_page.html", ".dvcignore", ".gitignore"),
    *(f"data/{section}/.gitignore" for section in ("teachers", "baselines", "students")),
]
# .dvc/config of the repository; that of a clone may name its owner's remotes and caches too.
DVC_CONFIG = """\
[core]
    analytics = false
    check_update = false
[cache]
    type = "hardlink,reflink,symlink,copy"
[plots]
    html_template = plots_page.html
"""
yaml = YAML(typ="safe")


class Project:
    """A copy of the project under git and DVC, with a small params.yaml."""

    def __init__(self, folder):
        self.folder = folder
        self.env = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        self.env.pop("DECANT_DATA", None)

    def run(self, *command, check=True):
        done = subprocess.run(
            [sys.executable, "-m", *command],
            cwd=self.folder,
            env=self.env,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0 or not check, done.stdout + done.stderr
        return done

    def decant(self, *arguments, check=True):
        return self.run("stages.cli", *arguments, check=check)

    def repro(self, *arguments):
        """Run `dvc repro`; returns the names of the stages that ran."""
        output = self.run("dvc", "repro", *arguments).stdout
        return set(re.findall(r"Running stage '([^']+)'", output))

    def status(self):
        """Names of the stages that DVC holds for changed."""
        return set(json.loads(self.run("dvc", "status", "--json").stdout))

    @property
    def params(self):
        return yaml.load(self.folder / "params.yaml")

    @params.setter
    def params(self, content):
        with (self.folder / "params.yaml").open("w") as file:
            yaml.dump(content, file)

    def edit(self, path, value):
        content = self.params
        part = content
        *parents, last = path.split("/")
        for key in parents:
            part = part[key]
        part[last] = value
        self.params = content


# The stages of `small_params`.
EVERYTHING = {
    "check",
    "prepare",
    "train_teacher@resnet8",
    "train_baseline@alone",
    "dump@resnet8",
    "train_student@plain",
    "train_student@half",
    "evaluate",
}


def small_params():
    """The digits profile with one teacher, few epochs and few views."""
    content = yaml.load(ROOT / "profiles" / "digits.yaml")
    content["machine"].update(device="cpu", threads=1)
    content["training"]["epochs"] = 2
    content["teachers"] = {"resnet8": {"network": "resnet8", "seed": 0}}
    content["baselines"] = {"alone": {"network": "resnet8", "seed": 1, "replicates": 1}}
    views = {"views": 2, "draw": "stratified"}
    content["dumps"] = {
        "resnet8": {
            "seed": 0,
            "batch_size": 256,
            "plain": views,
            "mixed": {**views, "alpha": 1.0},
        }
    }
    shared = {"network": "resnet8", "method": "kd", "seed": 5, "replicates": 1}
    content["students"] = {
        "plain": {"store": "resnet8.zarr/plain", "share": 0.0, **shared},
        "half": {"store": "resnet8.zarr", "share": 0.5, **shared},
    }
    content["evaluation"] = {"vscore": {"groups": {"some": ["3", "8"]}, "seed": 0, "n_init": 2}}
    return content


def copy_of_the_project(folder):
    """What git has of the project's code in a new folder."""
    for name in TRACKED:
        source, target = ROOT / name, folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target)
    (folder / ".dvc/config").write_text(DVC_CONFIG)
    return folder


def new_project(folder, params):
    """What git has of the project in a new folder, with other parameters."""
    project = Project(copy_of_the_project(folder))
    project.params = params
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    return project
