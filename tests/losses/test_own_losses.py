"""A loss of the user's own, in the folder own/losses: found, and trained again where it changes."""

import os
import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location

import pytest
from workspaces import ROOT, Workspace, digits_params

from pipeline.core.own import code_sha256

LOSS = """
def mine(student_logits, teacher_logits, *, weight):
    return weight * (student_logits - teacher_logits).square().mean()
"""


@pytest.fixture(scope="module")
def dumped(tmp_path_factory):
    """A workspace with a store, and a student with a loss of `mine.py`."""
    folder = tmp_path_factory.mktemp("own-loss")
    content = digits_params()
    content["methods"]["mine"] = {"loss": "own.losses.mine:mine", "weight": 0.5}
    content["students"]["plain"]["method"] = "mine"
    content["dumps"]["resnet8"]["mixed"] = None
    work = Workspace(folder, content)
    (folder / "own/losses").mkdir(parents=True)
    (folder / "own/losses/mine.py").write_text(LOSS)
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
    return weights, results.with_name("plain.timing.json").read_bytes()


def test_a_loss_in_own_is_found_and_trained_again_where_it_changes(dumped):
    first = train(dumped)
    assert train(dumped) == first, "done already"
    (dumped.folder / "own/losses/mine.py").write_text(LOSS.replace("square()", "abs()"))
    changed = train(dumped)
    assert changed[0] != first[0]
    (dumped.folder / "own/losses/mine.py").write_text(LOSS)
    assert train(dumped) == first, "the work of the first one is kept"


@pytest.mark.slow
def test_what_a_loss_imports_from_own_counts_too(dumped):
    first = train(dumped)
    mine, shared = dumped.folder / "own/losses/mine.py", dumped.folder / "own/losses/shared.py"
    shared.write_text("FACTOR = 2.0\n")
    mine.write_text(
        f"from own.losses.shared import FACTOR\n{LOSS.replace('weight *', 'FACTOR * weight *')}"
    )
    doubled = train(dumped)
    assert doubled[0] != first[0]
    shared.write_text("FACTOR = 1.0\n")
    assert train(dumped)[0] == first[0], "trained again: the factor is 1"
    shared.unlink()
    mine.write_text(LOSS)


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("own.losses.mine", "mine.py"),
        ("own.losses.mine", "mine/__init__.py"),
        ("own.losses.mine.inner", "mine/inner.py"),
        ("own.losses.mine.inner", "mine/inner/__init__.py"),
    ],
)
def test_all_of_the_folder_counts_wherever_the_loss_lies_in_it(tmp_path, name, file):
    folder = tmp_path / "own/losses"
    (folder / file).parent.mkdir(parents=True)
    (folder / file).write_text(LOSS)
    (folder / "shared.py").write_text("FACTOR = 2.0\n")
    spec = spec_from_file_location(name, folder / file)
    module = module_from_spec(spec)
    first = code_sha256(module)
    (folder / "shared.py").write_text("FACTOR = 1.0\n")
    changed = code_sha256(module)
    (tmp_path / "own/networks").mkdir()
    (tmp_path / "own/networks/mine.py").write_text("")
    assert first != changed == code_sha256(module)
    (folder / "similarity.npy").write_bytes(b"\0")
    with_data = code_sha256(module)
    assert with_data != changed
    (folder / "README.md").write_text("no code")
    (folder / ".#mine.py").symlink_to("nowhere")  # an editor's lock
    assert with_data == code_sha256(module)


def test_a_loss_elsewhere_in_the_working_folder_is_refused(dumped):
    (dumped.folder / "beside.py").write_text(LOSS)
    (dumped.folder / "own/elsewhere.py").write_text(LOSS)
    (dumped.folder / "package").mkdir()
    (dumped.folder / "package/inside.py").write_text(LOSS)
    before = (dumped.folder / "params.yaml").read_text()
    try:
        modules = ("beside", "package.inside", "own.elsewhere")
        for module, name in ((module, module.rpartition(".")[2]) for module in modules):
            text = before.replace("own.losses.mine:mine", f"{module}:mine")
            (dumped.folder / "params.yaml").write_text(text)
            for command in (["check"], ["train-student", "plain"]):
                done = decant(dumped, *command)
                assert done.returncode == 1
                assert f"{module} lies in the working folder" in done.stderr
                assert f"move it into own/losses/ and write own.losses.{name}" in done.stderr
                assert "Traceback" not in done.stderr
    finally:
        (dumped.folder / "params.yaml").write_text(before)


def test_a_loss_without_its_function(dumped):
    path = dumped.folder / "params.yaml"
    before = path.read_text()
    path.write_text(before.replace("own.losses.mine:mine", "own.losses.mine"))
    try:
        done = decant(dumped, "check")
        assert done.returncode == 1
        assert (
            "own.losses is a folder: name a file in it, too (own.losses.MODULE:NAME)" in done.stderr
        )
    finally:
        path.write_text(before)


def test_a_loss_that_is_not_there(dumped):
    (dumped.folder / "own/losses/mine.py").rename(dumped.folder / "own/losses/other.py")
    try:
        done = decant(dumped, "check")
        assert done.returncode == 1
        assert "cannot import own.losses.mine" in done.stderr
        assert "Traceback" not in done.stderr
    finally:
        (dumped.folder / "own/losses/other.py").rename(dumped.folder / "own/losses/mine.py")
