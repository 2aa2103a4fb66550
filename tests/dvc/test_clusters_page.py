"""docs/clusters.md: its scripts, run by a stand-in for SLURM, against one `dvc repro`."""

import contextlib
import re
import signal
import socket
import subprocess
import time

import pytest
from child_processes import running
from cluster_queue import Queue
from project_samples import ROOT, new_project, small_params

PAGE = (ROOT / "docs/clusters.md").read_text(encoding="utf-8")
SCRIPTS = dict(re.findall(r"^```bash (\S+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))
PLAIN = re.findall(r"^```bash\n(.*?)\n```$", PAGE, re.MULTILINE | re.DOTALL)


class Cluster:
    """A project with the page's scripts, and a queue."""

    def __init__(self, folder, params):
        self.project = new_project(folder / "cluster", params)
        self.folder = self.project.folder
        self.queue = Queue(folder / "queue")
        self.environment = {
            **self.project.env,
            "PATH": f"{self.queue.path}:{self.project.env['PATH']}",
            "OMP_NUM_THREADS": "1",
        }
        for name, text in SCRIPTS.items():
            (self.folder / name).write_text(text)

    def submit(self):
        """Do as the page says, and run what is queued; the exit codes of each job's tasks."""
        show, command = PLAIN
        assert show == "decant plan --commands"
        self.call(command)
        return list(self.queue.run(self.environment).values())

    def call(self, command):
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", command],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def logs(self):
        """What the tasks printed."""
        files = sorted((self.folder / "data/waves").glob("*.log"))
        return "\n".join(file.read_text() for file in files)


def cluster_params():
    """The small project, and a student that shares another one's work."""
    params = small_params()
    params["students"]["again"] = dict(params["students"]["plain"])
    return params


def results(folder):
    """Every file of results with its bytes, dvc.lock too; none of times, or of work in progress."""
    files = [path for top in ("data", "reports") for path in (folder / top).rglob("*")]
    names = {path.relative_to(folder).as_posix(): path for path in files if path.is_file()}
    apart = ("data/.work/", "data/waves/")
    kept = {
        name: path.read_bytes()
        for name, path in names.items()
        if not name.startswith(apart) and not name.endswith(".timing.json")
    }
    return {**kept, "dvc.lock": (folder / "dvc.lock").read_bytes()}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """A project that has been through all waves."""
    made = Cluster(tmp_path_factory.mktemp("cluster"), cluster_params())
    made.codes = made.submit()
    return made


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_waves_give_what_one_dvc_repro_gives(cluster, tmp_path):
    assert cluster.codes == [[0], [0, 0], [0], [0, 0], [0]], cluster.logs()
    serial = new_project(tmp_path / "serial", cluster_params())
    serial.repro()
    ours, theirs = results(cluster.folder), results(serial.folder)
    assert ours.keys() == theirs.keys()
    assert len(ours) > 60
    assert [name for name in ours if ours[name] != theirs[name]] == []
    assert cluster.project.status() == set()
    assert cluster.call("decant plan --commands") == ""


@pytest.mark.slow
def test_the_last_wave_trains_nothing_again(cluster):
    text = (cluster.folder / "data/waves/104-1.log").read_text()
    for name in ("teacher resnet8", "baseline alone", "student plain", "student half"):
        assert f"{name}: 1 of 1 were trained before" in text
    assert "store of resnet8: all plain and mixed views were dumped before" in text
    logs = cluster.logs()
    assert f"{socket.gethostname()}: decant train-student half" in logs
    assert "decant train-student again && decant train-student plain" in logs


@contextlib.contextmanager
def held_student(cluster):
    """A student's training, stopped as soon as it has signed its lock."""
    command = ["decant", "train-student", "half"]
    locks = cluster.folder / "data/.work"
    with running(command, cwd=cluster.folder, env=cluster.environment) as process:
        mine = f'"pid": {process.pid},'
        while not any(mine in lock.read_text() for lock in locks.glob("*/lock")):
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGSTOP)
        yield process


@pytest.mark.slow
def test_work_that_another_task_is_doing_is_refused_by_name(cluster):
    cluster.project.edit("students/half/seed", 6)
    with held_student(cluster) as holder:
        codes = cluster.submit()
        holder.send_signal(signal.SIGCONT)
        assert holder.wait(timeout=300) == 0
    assert codes == [[0], [75], None]
    who = rf"process {holder.pid} on {socket.gethostname()} \(.*train-student half\)"
    assert re.search(f"in use by {who}", cluster.logs())
    assert cluster.submit() == [[0], [0]]
    assert cluster.project.status() == set()


def test_a_wave_that_fails_keeps_the_later_ones_from_running(tmp_path):
    params = small_params()
    params["dataset"].update(name="cifar10", image_size=32, test_fraction=None)
    params["evaluation"]["vscore"]["groups"] = {"some": ["cat", "dog"]}
    cluster = Cluster(tmp_path, params)
    codes = cluster.submit()
    assert len(codes) == 5
    assert [len(code) for code in codes if code is not None] == [1]
    assert codes[0] not in ([0], None)
    assert "there is no folder" in cluster.logs()
    assert [path.name for path in (cluster.folder / "data/waves").glob("*.log")] == ["100-1.log"]


def test_the_page_s_blocks_are_those_that_are_run():
    assert SCRIPTS.keys() == {"submit.sh", "wave.sh"}
    assert PLAIN == ["decant plan --commands", "bash submit.sh"]
    assert len(re.findall(r"^```bash", PAGE, re.MULTILINE)) == 4
