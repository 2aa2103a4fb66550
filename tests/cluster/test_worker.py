"""What gets out of a worker, and what it leaves behind; the machine that a cluster's section describes."""

import ast
import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
import torch

from pipeline.cluster import worker
from pipeline.cluster.tasks import Beat, Fault
from pipeline.cluster.worker import scratch_folder, streamed
from pipeline.compute import pick_device, work_device
from pipeline.core import files
from pipeline.core.errors import DecantError
from pipeline.core.files import StorageError
from pipeline.core.machine import Machine
from pipeline.core.params import ParamsError

ROOT = Path(__file__).resolve().parents[2]


def test_what_is_sent_comes_in_order_after_a_sign_of_life():
    messages = list(streamed(lambda send: [send(n) for n in range(5)]))
    assert messages == [Beat(), 0, 1, 2, 3, 4]


def test_long_silence_is_filled_with_signs_of_life(monkeypatch):
    monkeypatch.setattr(worker, "BEAT_SECONDS", 0.1)
    monkeypatch.setattr(worker, "POLL_SECONDS", 0.05)
    messages = list(streamed(lambda send: time.sleep(1)))
    assert len(messages) > 3
    assert set(messages) == {Beat()}


def test_a_mistake_is_told_in_words_and_a_fault_with_its_traceback():
    def mistaken(send):
        raise DecantError("give another number")

    def faulty(send):
        raise KeyError("x")

    _, mistake = streamed(mistaken)
    _, fault = streamed(faulty)
    assert isinstance(mistake, Fault)
    assert mistake.text.endswith(": give another number")
    assert mistake.text.startswith("on node ")
    assert "Traceback" in fault.text
    assert "KeyError" in fault.text


def test_work_that_nobody_wants_any_more_ends():
    sent = []

    def work(send):
        while True:
            sent.append(1)
            send(1)
            time.sleep(0.01)

    messages = streamed(work)
    assert next(messages) == Beat()
    assert next(messages) == 1
    messages.close()
    count = len(sent)
    time.sleep(0.1)
    assert len(sent) == count


def test_folders_of_killed_workers_are_removed(monkeypatch, tmp_path):
    monkeypatch.setattr(worker.tempfile, "gettempdir", lambda: str(tmp_path))
    code = (
        "import os, sys; from pipeline.cluster import worker\n"
        f"worker.tempfile.gettempdir = lambda: {str(tmp_path)!r}\n"
        "with worker.scratch_folder() as folder:\n"
        "    (folder / 'file').write_text('x'); print(folder, flush=True); os.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert done.returncode == -9, done.stderr
    left = Path(done.stdout.strip())
    assert (left / "file").exists()
    with scratch_folder() as ours:
        assert not left.exists()
        with scratch_folder() as other:
            assert ours.exists()
            assert other != ours
    assert list(left.parent.iterdir()) == []


def test_what_another_process_is_removing_is_no_reason_to_end(monkeypatch, tmp_path):
    monkeypatch.setattr(worker.tempfile, "gettempdir", lambda: str(tmp_path))
    with scratch_folder() as ours:
        root = ours.parent
    for name in ("left", "other.removed-1"):
        (root / name).mkdir(parents=True)
        (root / name / "file").write_bytes(b"x")

    def refused(folder):
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patches:
        patches.setattr(files, "_remove", refused)
        with suppress(StorageError), scratch_folder() as ours:
            assert ours.is_dir(), "a place is found although nothing can be removed"
            assert (root / "left").exists()
    with scratch_folder() as ours:
        assert [path.name for path in root.iterdir()] == [ours.name]


def test_a_user_without_a_name_has_a_folder(monkeypatch, tmp_path):
    """As in a container that is run under a number."""
    monkeypatch.setattr(worker.tempfile, "gettempdir", lambda: str(tmp_path))

    def nobody(number):
        raise KeyError("uid not found")

    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", nobody)
    with scratch_folder() as ours:
        assert ours.is_dir()


def test_with_a_cluster_the_device_is_declared():
    for device in ("auto", "cuda:1"):
        with pytest.raises(ParamsError, match="expected cpu or cuda where there is a cluster"):
            Machine(data_root="", cluster="local", device=device)
    for cluster in ("local", "auto", "10.0.0.1:6379", "head.cluster:6379"):
        assert Machine(data_root="", cluster=cluster, device="cuda").cluster == cluster
    for cluster in ("", "somewhere", "ray://head:10001", "head:port", "a b:1"):
        with pytest.raises(ParamsError, match="cluster"):
            Machine(data_root="", cluster=cluster, device="cpu")


def test_the_head_needs_no_gpu():
    machine = Machine(data_root="", cluster="local", device="cuda")
    assert work_device(machine) == torch.device("cuda")
    assert pick_device(machine) == pick_device(Machine(data_root=""))
    assert work_device(Machine(data_root="", device="cpu")) == torch.device("cpu")


def test_one_module_knows_ray():
    knowing = set()
    files = [*(ROOT / "pipeline").rglob("*.py"), *(ROOT / "stages").rglob("*.py")]
    assert len(files) > 150
    for file in files:
        for node in ast.walk(ast.parse(file.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            if any(name.split(".")[0] == "ray" for name in names):
                knowing.add(file.relative_to(ROOT).as_posix())
    assert knowing == {"pipeline/cluster/on_ray.py"}
