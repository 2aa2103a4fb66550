"""The commands, run by hand in a folder of their own: what they accept, refuse and leave behind."""

import json
import os
import shutil
import subprocess
import sys

import pytest
import torch
from workspaces import ROOT, Workspace, digits_params

from pipeline.core.dataset import load_prepared
from pipeline.models.registry import build
from pipeline.models.weights import save_weights


@pytest.fixture
def work(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DECANT_DATA", raising=False)
    return Workspace(tmp_path, digits_params())


def test_validation_takes_the_place_of_the_test_set(work):
    work.run("prepare")
    test = load_prepared(work.folder / "data/prepared").test
    work.content["dataset"]["validation_fraction"] = 0.25
    output = work.run("prepare")
    data = load_prepared(work.folder / "data/prepared")
    assert "validation images" in output
    assert data.evaluated_on == "validation"
    seen = {image.tobytes() for image in data.train.images}
    held_out = {image.tobytes() for image in data.test.images}
    assert not held_out & {image.tobytes() for image in test.images} - seen
    work.run("train-teacher", "resnet8")
    record = work.record("data/teachers/resnet8")
    assert record["dataset"]["evaluated_on"] == "validation"
    assert record["dataset"]["test_images"] == len(data.test.labels)


def test_another_data_set_is_refused_by_name(work):
    work.run("prepare")
    work.run("train-teacher", "resnet8")
    work.run("dump", "resnet8")
    work.content["dataset"]["seed"] = 1  # another split
    work.run("prepare")
    output = work.run("train-student", "plain", code=1)
    assert "resnet8.zarr" in output
    assert "data set" in output
    assert "dvc" in output
    output = work.run("dump", "resnet8", code=1)
    assert "data/teachers/resnet8 was trained on another data set than the prepared one" in output


def test_an_imported_teacher_is_used_as_it_is(work):
    work.run("prepare")
    torch.manual_seed(1)
    network = build("resnet14", 10)
    torch.save({"model": network.state_dict(), "best_acc": 71.0}, work.folder / "teacher.pth")
    output = work.run("import-teacher", "teacher.pth", "--arch", "resnet14")
    digest = output.split("sha256:")[1].split()[0]
    weights = {"path": "data/imported/resnet14.safetensors", "sha256": digest}
    work.content["teachers"]["resnet8"] = {"network": "resnet14", "seed": 0, "weights": weights}
    work.run("train-teacher", "resnet8")
    record = work.record("data/teachers/resnet8")
    assert record["replicates"][0]["weights_sha256"] == digest
    work.run("dump", "resnet8")
    work.run("train-student", "plain")
    assert work.record("data/students/plain")["teacher"]["weights_sha256"] == digest


def test_other_weights_than_the_named_ones_are_refused(work):
    work.run("prepare")
    save_weights(build("resnet8", 10), work.folder / "w.safetensors")
    weights = {"path": "w.safetensors", "sha256": "0" * 64}
    work.content["teachers"]["resnet8"]["weights"] = weights
    assert "correct weights.sha256" in work.run("train-teacher", "resnet8", code=1)


def test_a_checkpoint_of_another_network_is_refused(work):
    work.run("prepare")
    torch.save(build("resnet20", 100).state_dict(), work.folder / "teacher.pth")
    output = work.run("import-teacher", "teacher.pth", "--arch", "resnet8", code=1)
    assert "layer1.1" in output
    assert not (work.folder / "data/imported").exists()


def test_a_loss_that_explodes_is_reported_and_keeps_the_checkpoint(work):
    work.run("prepare")
    work.content["training"].update(learning_rate=1e30, epochs=3)
    work.content["training"]["schedule"] = {"name": "step", "milestones": []}
    output = work.run("train-teacher", "resnet8", code=1)
    assert "epoch 1, step" in output
    assert "learning_rate" in output
    assert not (work.folder / "data/teachers").exists()


def test_a_missing_data_root_says_how_to_mend_it(work):
    work.content["dataset"].update(name="cifar100", image_size=32, test_fraction=None)
    output = work.run("prepare", code=1)
    assert "DECANT_DATA" in output
    assert "download" in output


def test_dumping_needs_a_trained_teacher(work):
    work.run("prepare")
    output = work.run("dump", "resnet8", code=1)
    assert "data/teachers/resnet8" in output
    assert "dvc repro" in output


def test_a_device_that_is_not_there(work):
    work.run("prepare")
    work.content["machine"]["device"] = "cuda:9"
    assert "machine.device: cuda:9 is not there" in work.run("train-teacher", "resnet8", code=1)
    work.content["machine"]["device"] = "quantum"
    assert "expected a text (auto, cpu, cuda or cuda:N)" in work.run(
        "train-teacher", "resnet8", code=1
    )


def test_a_damaged_view_stops_training_before_it_is_used(work):
    work.run("prepare")
    work.run("train-teacher", "resnet8")
    work.run("dump", "resnet8")
    chunk = work.folder / "data/stores/resnet8.zarr/plain/logits/c.0.0.0"
    content = bytearray(chunk.read_bytes())
    content[100] ^= 1
    os.unlink(chunk)  # never in place: the file is shared with the work folder
    chunk.write_bytes(content)
    output = work.run("train-student", "plain", code=1)
    assert "c.0.0.0" in output
    assert not (work.folder / "data/students").exists()


def test_weights_that_are_not_those_of_the_record_are_not_dumped(work):
    """A store carries the sha256 of the record, so its logits have to be of these very weights."""
    work.run("prepare")
    work.run("train-teacher", "resnet8")
    weights = work.folder / "data/teachers/resnet8/replicate-0/weights.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1  # one bit of one weight
    os.unlink(weights)  # never in place: the file is shared with the work folder
    weights.write_bytes(content)
    output = work.run("dump", "resnet8", code=1)
    assert "weights.safetensors: not the weights of its record" in output
    assert "dvc pull data/teachers/resnet8" in output
    assert not (work.folder / "data/stores").exists()


def test_a_store_in_bfloat16_says_what_that_costs(work):
    work.content["dumps"]["resnet8"] |= {"precision": "bfloat16", "mixed": None}
    work.run("prepare")
    work.run("train-teacher", "resnet8")
    work.run("dump", "resnet8")
    facts = json.loads(work.run("store", "info", "resnet8", "--json"))["groups"]
    assert (facts["clean"]["precision"], facts["plain"]["precision"]) == ("float32", "bfloat16")
    assert facts["clean"]["measured_error"] == {}
    error = facts["plain"]["measured_error"]
    assert {"kl_t1", "kl_t4", "top1_disagreement"} < error.keys()
    assert 1e-4 < error["mean_abs_difference"] < error["max_abs_difference"] < 1
    teacher = ("--teacher", "data/teachers/resnet8")
    found = json.loads(work.run("store", "verify", "resnet8", *teacher, "--json"))["recomputed"]
    plain = next(group for group in found if group["group"] == "plain")
    assert plain["max_abs_difference"] > 0.3 * error["max_abs_difference"]  # against float32
    work.run("train-student", "plain")


def test_a_networks_smallest_image(work):
    work.content["baselines"] = {"mobile": {"network": "mobilenetv2", "seed": 0, "replicates": 1}}
    work.run("prepare")
    assert "too small" in work.run("train-baseline", "mobile", code=1)


def test_clean_removes_kept_work_and_leaves_results(work):
    work.run("prepare")
    work.run("train-teacher", "resnet8")
    assert list((work.folder / "data/.work").iterdir())
    work.run("clean")
    assert not list((work.folder / "data/.work").iterdir())
    assert work.record("data/teachers/resnet8")["name"] == "resnet8"


def outputs(folder):
    """What a training leaves, but for how long it took."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    assert files
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in files
        if path.name != "timing.json"
    }


def test_several_students_at_once_are_what_each_is_alone(work):
    shared = work.content["students"]["plain"]
    work.content["students"] |= {
        "half": {**shared, "store": "resnet8.zarr", "share": 0.5, "replicates": 2},
        "twin": shared,  # the same but for its name
    }
    for command in ("prepare", "train-teacher", "dump"):
        work.run(command, *([] if command == "prepare" else ["resnet8"]))
    work.run("train-student", "half", "--out", "alone")
    shutil.rmtree(work.folder / "data/.work")
    work.content["machine"]["workers"] = 2
    output = work.run("train-student", "--all")
    assert output.count(" -> data/students/") == 3
    students = work.folder / "data/students"
    assert outputs(students / "half") == outputs(work.folder / "alone")
    plain, twin = outputs(students / "plain"), outputs(students / "twin")
    record = plain.pop("record.json")
    assert record == twin.pop("record.json").replace(b'"twin"', b'"plain"')
    assert plain == twin


def test_work_done_by_hand_is_what_dvc_s_stage_finds(work):
    for command in ("prepare", "train-teacher", "dump"):
        work.run(command, *([] if command == "prepare" else ["resnet8"]))
    decant = [sys.executable, "-m", "stages.cli", "train-student", "plain"]
    stage = [sys.executable, "-m", "stages.train_student", "plain"]
    found = []
    for command in (decant, stage):
        shutil.rmtree(work.folder / "data/students", ignore_errors=True)
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        subprocess.run(command, check=True, capture_output=True, env=environment)
        found.append((work.folder / "data/students/plain.timing.json").read_bytes())
    assert found[0] == found[1], "trained again"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "name the students to train"),
        (["plain", "--all"], "not both"),
        (["plain", "plain", "--out", "x"], "--out is for one student"),
    ],
)
def test_which_entries_is_said_in_one_way(work, arguments, message):
    assert message in work.run("train-student", *arguments, code=2)
