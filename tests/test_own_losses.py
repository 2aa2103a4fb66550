"""A loss of the user's own, in a file beside params.yaml: found, and trained again where it changes."""

import os
import subprocess
import sys

import pytest
from workspaces import ROOT, Workspace, digits_params

LOSS = """
def mine(student_logits, student_features, teacher_logits, teacher_features, targets, epoch, *, weight):
    return weight * (student_logits - teacher_logits).square().mean()
"""


@pytest.fixture(scope="module")
def dumped(tmp_path_factory):
    """A workspace with a store, and a student with a loss of `mine.py`."""
    folder = tmp_path_factory.mktemp("own-loss")
    content = digits_params()
    content["methods"]["mine"] = {"loss": "mine:mine", "weight": 0.5}
    content["students"]["plain"]["method"] = "mine"
    content["dumps"]["resnet8"]["mixed"] = None
    work = Workspace(folder, content)
    (folder / "mine.py").write_text(LOSS)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.delenv("DECANT_DATA", raising=False)
        for command in (["prepare"], ["train-teacher", "resnet8"], ["dump", "resnet8"]):
            work.run(*command)
    return work


def decant(work, *arguments):
    """Run a command as an installed one does: the working folder is not where modules come from."""
    command = [sys.executable, "-P", "-m", "stages.cli", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=work.folder, env=environment, capture_output=True, text=True)


def train(work):
    done = decant(work, "train-student", "plain")
    assert done.returncode == 0, done.stderr
    assert "student plain" in done.stdout
    results = work.folder / "data/students/plain"
    weights = work.record("data/students/plain")["replicates"][0]["weights_sha256"]
    return weights, (results / "timing.json").read_bytes()


def test_a_loss_beside_params_is_found_and_trained_again_where_it_changes(dumped):
    first = train(dumped)
    assert train(dumped) == first, "done already"
    (dumped.folder / "mine.py").write_text(LOSS.replace("square()", "abs()"))
    changed = train(dumped)
    assert changed[0] != first[0]
    (dumped.folder / "mine.py").write_text(LOSS)
    assert train(dumped) == first, "the work of the first one is kept"


def test_a_loss_that_is_not_there(dumped):
    (dumped.folder / "mine.py").rename(dumped.folder / "other.py")
    try:
        done = decant(dumped, "check")
        assert done.returncode == 1
        assert "cannot import mine" in done.stderr
        assert "Traceback" not in done.stderr
    finally:
        (dumped.folder / "other.py").rename(dumped.folder / "mine.py")
