"""A team in a folder: a bare git repository, a DVC remote, and clones that work as teammates do."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

from project_samples import ROOT, copy_of_the_project, yaml

STORE = "data/stores/resnet8.zarr"


def tiny_params():
    """A fifth of the digits, one teacher, one epoch and two views of each kind."""
    content = yaml.load(ROOT / "profiles" / "digits.yaml")
    content["machine"].update(device="cpu", threads=1)
    content["dataset"]["subset_fraction"] = 0.2
    content["training"]["epochs"] = 1
    content["teachers"] = {"resnet8": {"network": "resnet8", "seed": 0}}
    content["baselines"] = {}
    views = {"views": 2, "draw": "stratified"}
    content["dumps"] = {
        "resnet8": {
            "seed": 0,
            "batch_size": 256,
            "plain": views,
            "mixed": {**views, "alpha": 1.0},
        }
    }
    content["students"] = {"plain": student("plain", 0.0), "half": student("", 0.5)}
    content["evaluation"] = {"vscore": {"groups": {"some": ["3", "8"]}, "seed": 0, "n_init": 2}}
    return content


def student(group, share, seed=5):
    """An entry of `students` that reads a group of the store, or all of it."""
    return {
        "store": "resnet8.zarr" + (f"/{group}" if group else ""),
        "network": "resnet8",
        "method": "kd",
        "share": share,
        "seed": seed,
        "replicates": 1,
    }


class Clone:
    """A clone of the project: commands run in it as its owner would type them."""

    def __init__(self, folder, **environment):
        self.folder = folder
        self.environment = {
            **{name: value for name, value in os.environ.items() if name != "DECANT_DATA"},
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "OMP_NUM_THREADS": "1",
            "COLUMNS": "200",
            **environment,
        }

    def run(self, *command, code=0):
        """Run a command; its output and errors, which end with the given code."""
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            check=False,
        )
        assert done.returncode == code, f"{command}: exit code {done.returncode}\n{done.stdout}"
        return done.stdout

    def dvc(self, *arguments, code=0):
        return self.run(sys.executable, "-m", "dvc", *arguments, code=code)

    def decant(self, *arguments, code=0):
        return self.run(sys.executable, "-m", "stages.cli", *arguments, code=code)

    def git(self, *arguments):
        return self.run("git", *arguments)

    def repro(self, *arguments):
        """The stages that `dvc repro` ran, in order."""
        return ran(self.dvc("repro", *arguments))

    def repro_students(self, *names):
        """The stages that ran for students, in the way of a clone that has only what it needs."""
        return self.repro("--pull", "--allow-missing", *(f"train_student@{name}" for name in names))

    def edit(self, path, value):
        """Change or add an entry of params.yaml."""
        file = self.folder / "params.yaml"
        content = yaml.load(file)
        part = content
        *parents, last = path.split("/")
        for key in parents:
            part = part[key]
        part[last] = value
        with file.open("w") as stream:
            yaml.dump(content, stream)

    def commit(self, message):
        """Commit everything and share it: results first, so that nobody finds a commit without them."""
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", message)
        self.dvc("push")
        self.git("push", "--quiet")

    def status(self, *targets):
        """What DVC holds for changed, by stage."""
        return json.loads(self.dvc("status", "--json", *targets))

    def files(self, folder):
        """Every file below a folder with its bytes."""
        root = self.folder / folder
        return {
            path.relative_to(root).as_posix(): path.read_bytes()
            for path in sorted(root.rglob("*"))
            if path.is_file()
        }

    def groups(self):
        """The groups of the store that are on this clone's disk."""
        return {path.parent.name for path in (self.folder / STORE).glob("*/manifest.json")}


def ran(output):
    """Names of the stages that an output of `dvc repro` says to have run."""
    return re.findall(r"Running stage '([^']+)'", output)


class Team:
    """A bare repository in which a small project is committed, and clones of it."""

    def __init__(self, folder, remote=None, params=None):
        self.folder, self.remote = folder, str(remote or folder / "remote")
        self.origin = folder / "team.git"
        project = Clone(copy_of_the_project(folder / "start"))
        with (project.folder / "params.yaml").open("w") as file:
            yaml.dump(params or tiny_params(), file)
        project.git("init", "--quiet", "--initial-branch", "main")
        project.dvc("remote", "add", "--default", "team", self.remote)
        project.git("add", "--all")
        project.git("commit", "--quiet", "--message", "A small project")
        project.git("clone", "--quiet", "--bare", ".", str(self.origin))

    @property
    def remote_exists(self):
        """Whether anything was pushed to a remote that is a folder."""
        return Path(self.remote).exists()

    def clone(self, name, **environment):
        """A new clone of what is pushed."""
        subprocess.run(
            ["git", "clone", "--quiet", str(self.origin), str(self.folder / name)], check=True
        )
        return Clone(self.folder / name, **environment)
