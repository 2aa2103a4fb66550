"""What a teammate's clone refuses: each by name, and what the message says mends it."""

import json
import re
import shlex
import shutil
import subprocess
import sys

import pytest
from sharing_team import STORE, Clone, Team, student

pytestmark = pytest.mark.slow
WHOLE, PLAIN = STORE, f"{STORE}/plain"


@pytest.fixture(scope="module")
def team(tmp_path_factory):
    """A team whose first clone has trained and pushed what two students need."""
    team = Team(tmp_path_factory.mktemp("team"))
    first = team.clone("first")
    first.repro("train_student@plain", "train_student@half")
    first.commit("Teacher, store and students")
    return team


@pytest.fixture
def clone(team, tmp_path):
    """A new clone that has pulled the plain group and the prepared data."""
    subprocess.run(
        ["git", "clone", "--quiet", str(team.origin), str(tmp_path / "clone")], check=True
    )
    clone = Clone(tmp_path / "clone", DECANT_DATA="/nowhere")
    clone.dvc("pull", PLAIN, "data/prepared")
    return clone


def refused(clone, name="plain"):
    """The message with which a student's stage refuses its store."""
    text = clone.decant("train-student", name, code=1)
    assert "Traceback" not in text
    (line,) = [line for line in text.splitlines() if line.startswith("error: ")]
    return line


def mend(clone, message):
    """Run the first command that a message names."""
    command = shlex.split(re.search(r"To mend it: `([^`]+)`", message)[1])
    return clone.run(*command)


@pytest.mark.parametrize(
    "name",
    ["manifest.json", "zarr.json", "logits/c.1.0.0", "crop_yx/c.0.0.0", "logits/zarr.json"],
)
def test_a_file_that_was_not_pulled(clone, name):
    (clone.folder / PLAIN / name).unlink()
    message = refused(clone)
    assert f"{PLAIN}/{name}: missing" in message
    assert f"`dvc pull {PLAIN}`" in message
    mend(clone, message)
    clone.decant("train-student", "plain")


def test_a_group_that_was_not_pulled(clone):
    shutil.rmtree(clone.folder / PLAIN)
    message = refused(clone)
    assert (
        f"{WHOLE}: no such store" in message or f"{PLAIN}: the store has no such group" in message
    )
    mend(clone, message)
    clone.decant("train-student", "plain")


def test_a_student_of_both_groups_wants_the_whole_store(clone):
    message = refused(clone, "half")
    assert f"{WHOLE}: was pulled in part, without clean" in message
    assert f"`dvc pull {WHOLE}`" in message
    mend(clone, message)
    assert clone.repro_students("half") == []
    clone.edit("students/half/seed", 6)
    assert clone.repro_students("half") == ["check", "train_student@half"]


def test_a_store_whose_teacher_has_changed_upstream(team, clone, tmp_path):
    clone.edit("students/mine", student("plain", 0.0, seed=77))
    assert clone.repro_students("mine") == ["check", "train_student@mine"]
    clone.git("add", "--all")
    clone.git("commit", "--quiet", "--message", "My student")
    old = weights_of(clone, "mine")
    branch_with_another_teacher(team, tmp_path)
    clone.git("pull", "--quiet", "--no-rebase", "--no-edit", "origin", "another-teacher")
    # DVC by itself would train from the old store: the stage refuses it.
    output = clone.dvc("repro", "--pull", "--allow-missing", "train_student@mine", code=255)
    message = next(line for line in output.splitlines() if line.startswith("error: "))
    assert f"{PLAIN}: stale: it has logits of a teacher with weights {old[:12]}..., not" in message
    assert "STALE" in clone.decant("store", "ls")
    assert "StaleStoreError" in clone.decant("store", "verify", "resnet8", "--json", code=1)
    assert "stale" in clone.decant("store", "info", "resnet8")
    mend(clone, message)
    assert "resnet8.zarr: good" in clone.decant("store", "verify", "resnet8", "--deep")
    assert clone.repro_students("mine") == ["train_student@mine"]
    assert weights_of(clone, "mine") != old


def test_decant_repro_fetches_the_store_of_another_teacher(team, clone, tmp_path):
    old = json.loads((clone.folder / "data/versions/resnet8.zarr/plain").read_text())
    branch_with_another_teacher(team, tmp_path)
    clone.git("pull", "--quiet", "origin", "another-teacher")
    clone.edit("students/plain/seed", 6)
    output = clone.decant("repro", "train_student@plain")
    assert f"Older than this commit, or here in part: dvc pull {PLAIN}\n" in output
    assert "dvc repro --pull --allow-missing train_student@plain" in output
    assert weights_of(clone, "plain") != old["teacher"]["weights_sha256"]
    assert clone.groups() == {"plain"}


def branch_with_another_teacher(team, folder):
    """Somebody trains another teacher and pushes it, its store and its students to a branch."""
    if (
        "another-teacher"
        in subprocess.run(
            ["git", "branch"], cwd=team.origin, capture_output=True, text=True, check=True
        ).stdout
    ):
        return
    subprocess.run(["git", "clone", "--quiet", str(team.origin), str(folder / "other")], check=True)
    other = Clone(folder / "other")
    other.git("switch", "--quiet", "--create", "another-teacher")
    other.dvc("pull", "data/prepared")
    other.edit("teachers/resnet8/seed", 1)
    assert other.repro_students("plain") == [
        "check",
        "train_teacher@resnet8",
        "dump@resnet8",
        "train_student@plain",
    ]
    other.git("add", "--all")
    other.git("commit", "--quiet", "--message", "Another teacher")
    other.dvc("push")
    other.git("push", "--quiet", "origin", "another-teacher")


def weights_of(clone, name):
    """Digest of the weights of a student's teacher."""
    record = json.loads((clone.folder / f"data/students/{name}/record.json").read_text())
    return record["teacher"]["weights_sha256"]


OTHER_DATA = {
    "another subset": {"subset_fraction": 0.3},
    "another normalisation": {"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]},
    "other images or labels, or another subset": {"seed": 3},
}


@pytest.mark.parametrize("what", OTHER_DATA)
def test_a_store_of_other_data(clone, what):
    before = (clone.folder / "params.yaml").read_text()
    for key, value in OTHER_DATA[what].items():
        clone.edit(f"dataset/{key}", value)
    clone.decant("prepare")
    message = refused(clone)
    assert f"{PLAIN}: made from" in message
    assert what in message
    mend(clone, message)
    (clone.folder / "params.yaml").write_text(before)
    clone.decant("train-student", "plain")


CHANGE = """
import sys
from dataclasses import replace
from pathlib import Path
from pipeline.core.dataset import fingerprint, load_prepared, save_prepared
folder = Path("data/prepared")
data = load_prepared(folder)
names = data.class_names
names = names[::-1] if sys.argv[1] == "order" else tuple(f"digit {name}" for name in names)
digest = fingerprint(data.train, data.test, names)
for file in folder.iterdir():
    file.unlink()
save_prepared(replace(data, class_names=names, fingerprint=digest), folder)
"""


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ("order", "made from digits with its classes in another order"),
        ("classes", "made from digits with other classes"),
    ],
)
def test_a_store_of_other_classes(clone, change, what):
    clone.run(sys.executable, "-c", CHANGE, change)
    message = refused(clone)
    assert what in message
    mend(clone, message)
    clone.decant("train-student", "plain")


@pytest.mark.parametrize("name", [f"{PLAIN}/manifest.json", f"{WHOLE}/zarr.json"])
def test_a_schema_from_the_future(clone, name):
    clone.dvc("pull", WHOLE)
    path = clone.folder / name
    text = path.read_text()
    path.unlink()
    path.write_text(re.sub(r'"schema": 1\b', '"schema": 2', text))
    message = refused(clone)
    assert f"{name}: schema 2, but this version reads 1" in message
    assert "`git pull` (update this checkout to the version that wrote the store)" in message


def test_a_version_file_that_is_damaged(clone):
    path = clone.folder / "data/versions/resnet8.zarr/plain"
    path.write_text("{")
    message = refused(clone)
    assert "damaged (`git checkout data/versions/resnet8.zarr/plain`)" in message
