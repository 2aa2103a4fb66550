"""Real Ray clusters of this machine: the bytes of a local run, also where a node is killed in the middle."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from threading import Thread

import pytest
import torch
from child_processes import running
from project_samples import new_project, small_params
from ray_cluster import ENVIRONMENT, RayCluster
from store_samples import tree

pytestmark = [
    pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed (decant[ray])"),
]
ROOT = Path(__file__).resolve().parents[2]
CHECKPOINTS = "data/.work/*/replicate-*/state.safetensors"

SMALL = """
import sys
from dataclasses import replace
from pathlib import Path

import torch

from pipeline.cluster.on_ray import session
from pipeline.cluster.tasks import Beat
from pipeline.core.machine import Machine
from pipeline.hard_labels.epochs import HardLabels, hard_label_loss
from pipeline.raw.load import DatasetParams, load_raw
from pipeline.training.jobs import Job, Replicate
from pipeline.training.params import Schedule, TrainingParams
from pipeline.training.replicates import run_replicates
from pipeline.views.params import Augmentation


class Quiet:
    def show(self, tick): pass
    def expect(self, costs, at_once): pass
    def tell(self, text): print(text)


def fetching(fetch, path):
    yield Beat()
    yield fetch(path)


def answers(engine, path):
    handle, found = engine.start(fetching, path), []
    while len(found) < 4:
        if news := engine.next([handle], 1.0):
            found.append(news[1])
    return found


params = DatasetParams(name="digits", image_size=16, test_fraction=0.2, subset_fraction=0.2)
data = load_raw(params, Path(), download=False)
augmentation = Augmentation(pad=2, flip=False)
job = Job(
    kind="teacher", name="t", entry={}, network="own.networks.ours:Ours", seed=3, replicates=2,
    training=TrainingParams(epochs=2, batch_size=64, learning_rate=0.05, momentum=0.9,
        weight_decay=5e-4, schedule=Schedule(name="one_cycle")),
    augmentation=augmentation, epochs=HardLabels(augmentation, None, 3, len(data.train.labels)),
    loss=hard_label_loss,
)
for cluster in (None, "local"):
    folder = Path(str(cluster))
    folder.mkdir()
    machine = Machine(data_root="", device="cpu", workers=1, cluster=cluster)
    replicates = [Replicate(job, number, folder) for number in range(2)]
    run_replicates(replicates, data, torch.device("cpu"), machine, Quiet())
engine = session(machine)
print(engine.places())
kept = Path.cwd().parent / "cached"  # as DVC links a file into its cache on another disk
kept.write_bytes(b"of the head")
Path("file").symlink_to(kept)
print(answers(engine, str(Path("file").absolute()))[2])
for path in ("/etc/hostname", f"{Path.cwd()}/../cached"):
    try:
        answers(engine, path)
    except ValueError as error:
        assert f"{path}: not below" in str(error)
        print("refused")
"""


def environment(**more):
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return {**os.environ, **ENVIRONMENT, "PATH": path, **more}


def results(folder):
    return {
        name: data
        for name, data in tree(folder).items()
        if not name.endswith(("timing.json", "metrics.jsonl"))
    }


def test_a_local_cluster_trains_what_this_process_trains(tmp_path):
    """With a network of the user's own, whose code has to cross."""
    shutil.copytree(ROOT / "own", tmp_path / "own")
    (tmp_path / "own/networks/ours.py").write_text(
        "from pipeline.models.registry import build\n\n\ndef Ours(num_classes):\n"
        "    return build('resnet8', num_classes)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", SMALL],
        cwd=tmp_path,
        env=environment(PYTHONPATH=f"{ROOT}:{tmp_path}"),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.split("\n")[-5:-1] == ["1", "b'of the head'", *["refused"] * 2]
    assert results(tmp_path / "None") == results(tmp_path / "local")
    assert len(results(tmp_path / "local")) == 10


def run(folder, *arguments, code=0, **more):
    """A command of decant in a project's folder; returns what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "stages.cli", *arguments],
        cwd=folder,
        env=environment(**more),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == code, done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A project with a trained teacher."""
    params = small_params()
    params["machine"]["device"] = "cpu"
    params["training"]["epochs"] = 12
    params["teachers"]["resnet8"]["training"] = {"epochs": 1}
    params["dumps"]["resnet8"]["mixed"]["views"] = 30
    project = new_project(tmp_path_factory.mktemp("home") / "project", params)
    run(project.folder, "prepare")
    run(project.folder, "train-teacher", "resnet8")
    return project


def copied(project, folder, cluster):
    """The same project elsewhere, on a cluster."""
    shutil.copytree(project.folder, folder, symlinks=True)
    other = type(project)(folder)
    other.edit("machine/cluster", cluster)
    return other


@pytest.fixture(scope="module")
def reference(home):
    """What this machine makes alone: the store, and the students."""
    run(home.folder, "dump", "resnet8")
    run(home.folder, "train-student", "--all")
    return results(home.folder / "data/stores"), results(home.folder / "data/students")


class Command:
    """A command that runs; `until` waits for something in its folder."""

    def __init__(self, folder, process):
        self.folder, self.process = folder, process

    @classmethod
    @contextlib.contextmanager
    def start(cls, folder, *arguments):
        with running(
            [sys.executable, "-m", "stages.cli", *arguments],
            cwd=folder,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        ) as process:
            yield cls(folder, process)

    def until(self, pattern, count):
        for _ in range(2400):
            if len(list(self.folder.glob(pattern))) >= count:
                return
            assert self.process.poll() is None, self.process.stdout.read()
            time.sleep(0.05)
        raise AssertionError(f"no {count} of {pattern}")

    def end(self, code=0):
        output, _ = self.process.communicate(timeout=300)
        assert self.process.returncode == code, output
        return output


@pytest.mark.slow
def test_a_dump_survives_the_loss_of_a_node(home, reference, tmp_path):
    with RayCluster(nodes=2) as cluster:
        project = copied(home, tmp_path / "p", cluster.address)
        shutil.rmtree(project.folder / "data/stores")
        shutil.rmtree(project.folder / "data/.work")
        with Command.start(project.folder, "dump", "resnet8") as command:
            command.until("data/.work/*/mixed/logits/c.*", 4)
            cluster.do("kill")
            output = command.end()
        assert "its worker was lost (its node is gone); sent out again" in output
        assert results(project.folder / "data/stores") == reference[0]


@pytest.mark.slow
def test_students_survive_a_node_that_hangs(home, reference, tmp_path):
    with RayCluster(nodes=2) as cluster:
        project = copied(home, tmp_path / "p", cluster.address)
        for name in ("plain", "half"):
            project.edit(f"students/{name}/replicates", 3)
            shutil.rmtree(project.folder / "data/students" / name)
        for folder in (project.folder / "data/.work").glob("*"):
            if (folder / "replicate-0").exists():
                shutil.rmtree(folder)
        with Command.start(project.folder, "train-student", "--all") as command:
            command.until(CHECKPOINTS, 2)
            cluster.do("hang")
            output = command.end()
        assert output.count("(no sign of life for 30 s); sent out again") == 1
        found = results(project.folder / "data/students")
        assert {name: found[name] for name in reference[1] if "record" not in name} == {
            name: data for name, data in reference[1].items() if "record" not in name
        }


@pytest.mark.slow
def test_students_survive_the_loss_of_a_node_and_use_a_new_one(home, reference, tmp_path):
    with RayCluster(nodes=2) as cluster:
        project = copied(home, tmp_path / "p", cluster.address)
        shutil.rmtree(project.folder / "data/students/plain")
        shutil.rmtree(project.folder / "data/students/half")
        for folder in (project.folder / "data/.work").glob("*"):
            if (folder / "replicate-0").exists():
                shutil.rmtree(folder)
        with Command.start(project.folder, "train-student", "--all") as command:
            command.until(CHECKPOINTS, 2)
            cluster.do("kill")
            cluster.do("add")
            output = command.end()
        assert output.count("its worker was lost (its node is gone); sent out again") == 1
        assert "Raylet" not in output
        assert results(project.folder / "data/students") == reference[1]
        # A head that is interrupted leaves nothing that runs, and goes on where it was.
        project.edit("students/plain/seed", 77)
        with Command.start(project.folder, "train-student", "plain") as command:
            command.until(CHECKPOINTS, 1)
            command.process.send_signal(signal.SIGINT)
            assert "the same command goes on from where it stopped" in command.end(code=130)
        assert len(list(project.folder.glob(CHECKPOINTS))) == 1
        first = run(project.folder, "train-student", "plain").split("/")[0]
        assert int(first.rpartition(" ")[2]) > 0, "not the first epoch again"


@pytest.mark.slow
def test_what_is_wrong_with_a_cluster_is_told_within_seconds(home, tmp_path):
    project = copied(home, tmp_path / "p", "127.0.0.1:1")

    def refusal(cluster, **more):
        project.edit("machine/cluster", cluster)
        began = time.monotonic()
        output = run(project.folder, "train-teacher", "resnet8", code=1, **more)
        assert "Traceback" not in output
        assert time.monotonic() - began < 30
        return output

    project.edit("teachers/resnet8/seed", 9)
    assert "no answer at 127.0.0.1:1 (Connection refused)" in refusal("127.0.0.1:1")
    nowhere = {"RAY_TMPDIR": str(tmp_path)}
    assert "this machine is a node of no cluster" in refusal("auto", **nowhere)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        assert f"no answer at {address} (silence)" in refusal(address)
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as web:
        Thread(target=web.serve_forever, daemon=True).start()
        assert "no cluster of Ray answers" in refusal(f"127.0.0.1:{web.server_port}")
        web.shutdown()
    if not torch.cuda.is_available():
        project.edit("machine/device", "cuda")
        assert "no node of the cluster has a GPU" in refusal("local")
