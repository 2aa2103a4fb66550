"""Stages under torchrun: the bytes of the plain run on one rank, the same ones again on two, lost ranks."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from torchrun_samples import ended, started, torchrun
from workspaces import ROOT, Workspace, digits_params

from pipeline.results.tensors import read_tensors

RESULTS = ("record.json", "weights.safetensors", "curves.csv", "test_logits.npy")
BASELINE = ("-m", "stages.train_baseline", "alone")


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A prepared quarter of the digits, and a baseline of six epochs in small batches."""
    content = digits_params()
    content["dataset"]["subset_fraction"] = 0.25
    content["training"].update(epochs=6, batch_size=16)
    content["baselines"] = {"alone": {"network": "resnet8", "seed": 1, "replicates": 1}}
    work = Workspace(tmp_path_factory.mktemp("project"), content)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(work.folder)
        patch.delenv("DECANT_DATA", raising=False)
        work.run("prepare")
    return work.folder


def baseline(folder, processes, *options, code=0):
    """Train it to its end; the output."""
    return torchrun(processes, *BASELINE, *options, folder=folder, code=code)


def published(folder):
    files = {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*.*")}
    assert {Path(name).name for name in files} >= set(RESULTS)
    return files


def new_work(folder):
    """Forget what was trained; returns where work is kept."""
    work = folder / "data/.work"
    shutil.rmtree(work, ignore_errors=True)
    return work


@pytest.fixture(scope="module")
def undisturbed(project):
    """What two ranks publish."""
    new_work(project)
    baseline(project, 2, "--out", "two")
    return published(project / "two")


@pytest.mark.slow
def test_one_rank_is_the_plain_run(project):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "stages.train_baseline", "alone", "--out", "plain"]
    work = new_work(project)
    subprocess.run(command, cwd=project, env=environment, check=True, capture_output=True)
    (key,) = (folder.name for folder in work.iterdir())
    new_work(project)
    baseline(project, 1, "--out", "one")
    assert [folder.name for folder in work.iterdir()] == [key]
    assert published(project / "one") == published(project / "plain")
    assert b"ranks" not in (project / "one/record.json").read_bytes()


@pytest.mark.slow
def test_two_ranks_repeat_their_bytes(project, undisturbed):
    work = new_work(project)
    output = baseline(project, 2, "--out", "two")
    assert published(project / "two") == undisturbed
    assert output.count("baseline alone: ") == 1
    record = json.loads(undisturbed["record.json"])
    assert (record["ranks"], record["training"]["batch_statistics"]) == (2, "synchronised")
    assert record["replicates"][0]["top1_accuracy"] > 0.8
    assert len(list(work.iterdir())) == 1
    assert "were trained before" in baseline(project, 2, "--out", "two")


def ranks_of(process):
    """Rank -> process id of what torchrun started."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            variables = (folder / "environ").read_bytes().split(b"\0")
        except OSError:  # it has ended, or is not ours
            continue
        if parent == process.pid:
            (rank,) = (int(v[5:]) for v in variables if v.startswith(b"RANK="))
            found[rank] = int(folder.name)
    return found


def kill_after_an_epoch(process, work, victim):
    deadline = time.monotonic() + 120
    while not list(work.glob("*/replicate-0/state.safetensors")):
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.02)
    ranks = ranks_of(process)
    assert sorted(ranks) == [0, 1]
    os.kill(ranks[victim], signal.SIGKILL)
    return ranks


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="finds the ranks in /proc")
@pytest.mark.parametrize("victim", [0, 1])
def test_a_lost_rank_ends_all_and_the_next_start_goes_on(project, undisturbed, victim):
    work = new_work(project)
    with started(2, *BASELINE, "--out", f"killed-{victim}", folder=project) as process:
        ranks = kill_after_an_epoch(process, work, victim)
        output = ended(process, code=1)
    assert "Signal 9 (SIGKILL)" in output
    assert not [pid for pid in ranks.values() if Path(f"/proc/{pid}").exists()]
    assert not (project / f"killed-{victim}").exists()
    (checkpoint,) = work.glob("*/replicate-0/state.safetensors")
    epoch = int(read_tensors(checkpoint)[1]["epoch"])
    assert 1 <= epoch < 6
    output = baseline(project, 2, "--out", f"killed-{victim}")
    assert published(project / f"killed-{victim}") == undisturbed
    assert len(list(work.iterdir())) == 1


@pytest.mark.slow
def test_a_mistake_is_told_once(project):
    output = torchrun(2, *BASELINE[:-1], "nobody", folder=project, code=1)
    assert output.count("error: no baseline 'nobody'") == 1
    assert output.count("error: ") == 1


@pytest.mark.slow
def test_a_loss_that_is_no_number_is_told_once_and_kept_once(project):
    work = new_work(project)
    params = (project / "params.yaml").read_text()
    (project / "other.yaml").write_text(
        params.replace("learning_rate: 0.05", "learning_rate: 1e+30")
    )
    output = baseline(project, 2, "--params", "other.yaml", "--out", "bad", code=1)
    assert output.count("error: the ") == 1
    (kept,) = work.glob("*/replicate-0/non-finite.safetensors")
    tensors, metadata = read_tensors(kept)
    assert metadata["ranks"] == "2"
    assert len(tensors["batch.images"]) == len(tensors["batch.rows"]) / 2


@pytest.mark.slow
def test_a_student_of_relations_on_two_ranks(tmp_path, monkeypatch):
    content = digits_params()
    content["dataset"]["subset_fraction"] = 0.25
    content["dumps"]["resnet8"]["plain"] |= {"features": True}
    content["methods"]["relations"] = {"loss": "rkd", "gamma": 1.0, "distance": 25.0, "angle": 50.0}
    content["students"]["plain"] |= {"method": "relations", "training": {"batch_statistics": "own"}}
    work = Workspace(tmp_path, content)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DECANT_DATA", raising=False)
    for command in (["prepare"], ["train-teacher", "resnet8"], ["dump", "resnet8"]):
        work.run(*command)
    torchrun(2, "-m", "stages.train_student", "plain", folder=tmp_path)
    record = work.record("data/students/plain")
    assert (record["ranks"], record["training"]["batch_statistics"]) == (2, "own")
    assert record["method"]["loss"] == "rkd"
    work.run("train-student", "plain")
    assert "ranks" not in work.record("data/students/plain")
