"""`decant status`: what is done, stale and why, running and how far, missing; on projects that look done."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path, PurePosixPath

import pytest
from click.testing import CliRunner
from project_samples import small_params
from ruamel.yaml import YAML
from status_samples import done_project
from workspaces import ROOT

from pipeline.core.files import WORK, WorkFolder
from pipeline.core.notes import METRICS, WorkNote, log_epochs
from stages.cli import main
from stages.dvc.lock import Lock, digest_of, read_listing
from stages.dvc.running import seconds_left

STATES = ("running", "done", "elsewhere", "in part", "stale", "missing")
ROW = {
    "learning_rate": 0.1,
    "train_loss": 1.5,
    "test_top1_accuracy": 0.5,
    "test_loss": float("nan"),
}


@pytest.fixture
def project(tmp_path, monkeypatch):
    made = done_project(tmp_path, small_params())
    monkeypatch.chdir(tmp_path)
    return made


def run(*arguments, code=0):
    digest_of.cache_clear()
    read_listing.cache_clear()
    result = CliRunner().invoke(main, ["status", *arguments], catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result.output


def stages(*arguments):
    return {stage["name"]: stage for stage in json.loads(run("--json", *arguments))["stages"]}


def states():
    return {name: stage["state"] for name, stage in stages().items()}


def changes(stage):
    return [(c["what"], c["before"], c["now"]) for c in stages()[stage]["changes"]]


def test_all_done(project):
    assert set(states().values()) == {"done"}
    output = run("--exit-code")
    assert "not hashed" in output
    assert re.split("  +", output.splitlines()[0].strip()) == ["Stage", *STATES]
    assert "all" in output
    assert "\nStale" not in output


def test_all_missing(project):
    Path("dvc.lock").unlink()
    assert set(states().values()) == {"missing"}
    assert "train_student@half, train_student@plain" in run("--exit-code", code=1)


def test_what_is_gone_from_this_disk_is_elsewhere(project):
    shutil.rmtree("data/students/plain")
    assert {name for name, state in states().items() if state == "elsewhere"} == {
        "train_student@plain"
    }
    assert run("--exit-code")


def test_a_key_with_its_old_and_new_value(project):
    project.edit("students/plain/seed", 6)
    assert changes("train_student@plain") == [("students.plain.seed", 5, 6)]
    assert states()["train_student@half"] == "done"
    assert states()["evaluate"] == "stale"
    assert "students.plain.seed: 5 -> 6" in run()


def test_a_key_that_is_new_and_one_that_is_gone(project):
    params = project.params
    params["students"]["plain"]["views"] = 1
    del params["training"]["evaluate_every"]
    project.params = params
    found = changes("train_student@plain")
    assert ("students.plain.views", None, 1) in found
    assert ("training.evaluate_every", 4, None) in found


def test_a_file_of_code_is_named(project):
    file = project.folder / "pipeline/losses/hinton.py"
    file.write_text(file.read_text() + "# edited\n")
    reasons = stages()["train_student@plain"]["changes"]
    assert [change["what"] for change in reasons] == ["pipeline/losses"]
    assert reasons[0]["newer"] == ["pipeline/losses/hinton.py"]
    assert states()["train_teacher@resnet8"] == "done"
    assert "newer than dvc.lock: pipeline/losses/hinton.py" in run()


@pytest.mark.parametrize(
    ("file", "place"),
    [("config.local", "{}/shared"), ("config", "../shared"), ("config", '"../shared"')],
)
def test_a_cache_that_lies_elsewhere_is_read(project, file, place):
    """After another student was made alone, evaluate is stale: the cache's lists of files say so."""
    Path(".dvc/cache").rename("shared")
    config = Path(".dvc", file)
    text = config.read_text() if config.exists() else "[cache]\n"
    config.write_text(text.replace("[cache]\n", f"[cache]\n    dir = {place.format(Path.cwd())}\n"))
    assert set(states().values()) == {"done"}
    lock = YAML(typ="safe").load(Path("dvc.lock"))
    (out,) = lock["stages"]["train_student@plain"]["outs"]
    out["md5"] = lock["stages"]["train_student@half"]["outs"][0]["md5"]
    with Path("dvc.lock").open("w") as opened:
        YAML(typ="safe").dump(lock, opened)
    assert {name for name, state in states().items() if state == "stale"} == {"evaluate"}
    run("--exit-code", code=1)


def test_stale_inputs_are_named_by_their_stages(project):
    project.edit("teachers/resnet8/seed", 9)
    found = {name: stage for name, stage in stages().items() if stage["state"] == "stale"}
    assert set(found) == {
        "check",
        "train_teacher@resnet8",
        "dump@resnet8",
        "train_student@plain",
        "train_student@half",
        "evaluate",
    }
    assert found["dump@resnet8"]["changes"][0]["stages"] == ["train_teacher@resnet8"]
    assert "not done before them: dump@resnet8" in run()


def test_a_result_of_another_size(project):
    Path("data/students/plain/part-0").write_text("more")
    ((what, before, now),) = changes("train_student@plain")
    assert what == "data/students/plain"
    assert before.partition(",")[0] == now.partition(",")[0] == "8 files"
    assert before != now


@pytest.mark.parametrize("deep", [(), ("--deep",)])
def test_a_result_that_is_here_in_part(project, deep):
    Path("data/students/plain/part-0").unlink()
    (stage,) = (s for s in stages(*deep).values() if s["state"] != "done")
    assert (stage["name"], stage["state"]) == ("train_student@plain", "in part")
    text = run(*deep, "--exit-code", code=1)
    assert "Here in part (`dvc pull FOLDER` brings the rest)\n  data/students/plain: " in text
    assert "\nStale" not in text


def test_a_link_to_what_is_gone_from_the_cache_is_not_here(project):
    place = Path("data/students/plain/part-0")
    place.unlink()
    place.symlink_to("/nowhere/at/all")
    assert stages()["train_student@plain"]["state"] == "in part"


def test_status_of_a_profile_writes_nothing_beside_it(project):
    Path("mine").mkdir()
    profile = Path("mine/profile.yaml")
    profile.write_bytes(Path("params.yaml").read_bytes())
    assert "Stage" in run("--params", str(profile))
    assert [path.name for path in Path("mine").iterdir()] == ["profile.yaml"]


def test_a_result_of_the_same_size_is_seen_by_deep_alone(project):
    file = Path("data/students/plain/part-0")
    file.write_text("x" * file.stat().st_size)
    assert set(states().values()) == {"done"}
    output = run("--deep")
    assert "data/students/plain: " in output
    assert "not hashed" not in output


def begin(stage, epochs, done, replicate=0):
    """A work folder as a training leaves it after some epochs; returns it."""
    folder = WorkFolder(WORK, "f" * 16)
    folder.path.mkdir(parents=True)
    WorkNote((stage,), replicates=2, epochs=epochs).write(folder.path)
    place = folder.path / f"replicate-{replicate}"
    place.mkdir()
    for epoch in range(done):
        log_epochs(place / METRICS, epochs, [ROW] * (epoch + 1))
    return folder


def test_a_stage_in_another_process_s_hands(project):
    folder = begin("train_student@plain", epochs=7, done=3)
    with folder:
        found = stages()["train_student@plain"]
        output = run()
    assert found["state"] == "running"
    (work,) = found["work"]
    assert work["holder"]["pid"] > 0
    (training,) = work["training"]
    assert (training["epoch"], training["epochs"], training["replicate"]) == (3, 7, 0)
    assert training["seconds_left"] >= 0
    assert "train_student@plain #0: epoch 3 of 7, loss 1.500, accuracy 50.00%" in output
    assert f"process {work['holder']['pid']} on " in output
    assert states()["train_student@plain"] == "done"  # when the process has left it


def test_stages_that_wait_in_a_process_s_hands(project):
    with WorkFolder(WORK, "e" * 16) as folder:
        WorkNote(("train_student@plain",), replicates=1, epochs=3).write(folder.path)
        assert "waiting: train_student@plain" in run()


def test_views_of_a_dump_are_counted(project):
    with WorkFolder(WORK, "d" * 16) as folder:
        WorkNote(("dump@resnet8",), group="mixed", views=5).write(folder.path)
        (folder.path / "mixed/logits").mkdir(parents=True)
        for name in ("c.0.0.0", "c.0.1.0", "c.1.0.0", "zarr.json"):
            (folder.path / "mixed/logits" / name).touch()
        assert "dump@resnet8 mixed: 2 of 5 views" in run()


def test_work_of_a_process_that_was_killed_is_begun_and_not_running(project):
    code = (
        "import os, signal; from pathlib import Path; from pipeline.core.files import WORK, WorkFolder\n"
        f"WorkFolder(WORK, {'f' * 16!r}).__enter__(); os.kill(os.getpid(), signal.SIGKILL)"
    )
    Path("dvc.lock").unlink()
    begin("train_student@plain", epochs=7, done=3)
    done = subprocess.run([sys.executable, "-c", code], check=False, cwd=project.folder)
    assert done.returncode == -9
    assert states()["train_student@plain"] == "missing"
    output = run()
    assert "Begun, and not running\n  train_student@plain #0: epoch 3 of 7" in output


def test_notes_and_metrics_that_are_damaged_are_no_notes(project):
    for number, content in enumerate(("", "[]", '{"stages": 3}', '{"stages": [], "views": "x"}')):
        folder = WORK / f"{number:016}"
        folder.mkdir(parents=True)
        (folder / "note.json").write_text(content)
    folder = begin("train_student@plain", epochs=7, done=2)
    with (folder.path / "replicate-0" / METRICS).open("a") as file:
        file.write('{"epoch": 3, "epo')
    with folder:
        assert "epoch 2 of 7" in run()


def test_time_left_follows_the_last_epochs():
    lines = [{"epoch": n + 1, "time": t} for n, t in enumerate((0.0, 100.0, 110.0, 120.0, 130.0))]
    assert seconds_left(lines, 8, now=133.0) == pytest.approx(3 * 10 - 3)
    assert seconds_left(lines[:1], 8, now=1.0) is None
    assert seconds_left(lines, 5, now=500.0) == 0


def test_the_whole_study_takes_less_than_a_second(tmp_path):
    profile = YAML(typ="safe").load(ROOT / "profiles/cifar100-paper.yaml")
    done_project(tmp_path, profile, files=8)
    command = [sys.executable, "-m", "stages.cli", "status", "--json"]
    seconds = []  # of processor time: others may keep this machine busy
    for _ in range(3):
        before = os.times()
        output = subprocess.run(command, cwd=tmp_path, capture_output=True, check=True).stdout
        now = os.times()
        seconds.append(sum(now[2:4]) - sum(before[2:4]))
    found = json.loads(output)["stages"]
    assert len(found) == 192
    assert {stage["state"] for stage in found} == {"done"}
    assert min(seconds) < 1


def test_a_changed_network_counts_where_the_cache_lacks_the_listing_of_another(
    tmp_path, monkeypatch
):
    made = {
        f"train_student@{name}": {"outs": [{"path": f"data/students/{name}", "md5": f"{name}.dir"}]}
        for name in "ab"
    }
    (tmp_path / "dvc.lock").write_text(json.dumps({"schema": "2.0", "stages": made}))
    lock = Lock(tmp_path, {"students": {"a": {}, "b": {}}})
    states = {"train_student@a": "done", "train_student@b": "changed"}
    monkeypatch.setattr(lock, "state", states.get)
    students = PurePosixPath("data/students")
    assert not lock._all_unchanged(students, "of both")
    states["train_student@b"] = "done"
    assert lock._all_unchanged(students, "of both")  # so far as can be told here
